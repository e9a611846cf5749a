"""What a candidate might score: data, short training, scores on a fixed test set."""
