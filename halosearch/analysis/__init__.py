"""What the trials say: frontier, agreement of ranks, noise. Many rows in, plain values out."""
