"""Every word of our own, or of statistics, that a page uses: what it means, in one sentence. The page shows it on hover and tap."""

from __future__ import annotations

TERMS: dict[str, str] = {
    "score": "How much of what is asked about pictures a trained copy explains: 0 is what guessing gives, 1 is everything. "
    "It is no accuracy, and it compares networks of one study only.",
    "copy": "The network with a fraction of its channels and everything else the same. Copies are what is trained here, because they are "
    "cheap; parameters, MACs and step times are always those of the full network. Also called a twin.",
    "proxy": "A short training of a narrow copy, which stands for the full training of the full network. Whether it ranks networks "
    "rightly is tested in every study.",
    "held-out": "Pictures that no network was trained on and that the search never looked at. Scores on them are the ones to quote.",
    "interval": "In square brackets: the range in which the true value lies with 95 % confidence, as far as the noise that was measured goes.",
    "seed": "The number that fixes the random start of a training and the order of its pictures. Another seed gives a somewhat other score.",
    "noise": "How much the score of one and the same network differs from seed to seed.",
    "tie": "Two networks whose difference is smaller than the noise of that difference.",
    "trial": "One candidate network that was trained and scored, with its number in order of begin.",
    "candidate": "A network that the budget admits.",
    "pool": "All candidates that the budget admits, listed before anything is trained.",
    "drawn at random": "The first trials of a study, drawn evenly from the pool: they show what is there and test the proxy.",
    "search": "After the random draws the search proposes what promises most at the price, having learned from all trials so far.",
    "front": "The trials that no other beats in score without costing more. What is best lies on it, whatever you are ready to pay.",
    "P(front)": "How often the trial is on the front if all scores are drawn anew within their noise.",
    "training step": "Forward, backward and update of the full network on one batch, measured on the study's own device.",
    "MACs": "Multiply-adds of one picture through the full network; a multiplication with its addition counts once.",
    "activations": "Numbers that the layers of the full network put out for one picture.",
    "parameters": "Weights of the full network, with a classifier of 1,000 classes.",
    "rival": "A network of another family, trained and timed in the same way beside the candidates.",
    "H0–H7": "The HaloNets that its authors published (arXiv:2103.12731), scaled by hand; B0–B7 are the EfficientNets.",
    "Kendall τ": "How far two rankings agree: 1 is the same order, 0 is no relation, −1 is the reverse order.",
    "dial": "One number by which candidates differ, such as image size or depth.",
    "importance": "How much of the differences in score goes with a dial (PED-ANOVA); what chance gives is drawn beside it.",
    "hypervolume": "The area under the front: it grows as better or cheaper networks are found.",
    "window": "The square of neighbours that a position attends to: its own block and a halo around it.",
    "s": "Image size: pixels of a side.",
    "b": "Block size: attention is computed in blocks of so many positions a side.",
    "h": "Halo size: how many positions around its block a block sees.",
    "rv": "Value width ratio: channels of values over channels of queries.",
    "rb": "Bottleneck ratio: a block's output channels over its inner width.",
    "l3": "Blocks in the third stage.",
    "df": "Channels of the last layer before the classifier; 0 is none.",
    "heads": "Attention heads of the four stages; “published” is 4, 8, 8, 8, and “width” grows with the channels.",
    "conv": "How many early stages use convolutions instead of attention.",
    "w": "Width: in HaloNets and ResNets the base width (64 as published), in EfficientNets a multiplier of all channels.",
    "d": "Depth multiplier of all stages of an EfficientNet.",
    "rqk": "Channels of queries and keys over the stage's width.",
    "kinds": "What each stage does: a is attention, c convolution.",
    "depths": "Blocks of every stage.",
    "mask": "Every position sees only so many neighbours a side, within its window.",
    "down": "How attention stages shrink the map: strided queries, or attention and an average behind it (pooled).",
    "pos": "How attention knows places: relative embeddings, absolute ones, or none.",
    "act": "The activation function.",
    "se": "Squeeze-excite: channels weighted by the mean of the whole map.",
    "finalist": "A trial of the front that was trained again with further seeds and scored on held-out pictures.",
    "knee": "The trial of the front where more score begins to cost much more.",
    "anchor": "One fixed network that is timed in the same rounds as every other; ratios to it do not hang on how busy the machine was.",
    "ICC": "Intraclass correlation: the share of the differences between scores that is the networks' own; the rest is the seed's.",
}  # fmt: skip
"""By the word as pages write it."""
GLOSSARY = tuple(TERMS)


def meaning(word: str) -> str:
    """What a word means.

    Raises:
        KeyError: no page may use a word that nobody explains.
    """
    return TERMS[word]
