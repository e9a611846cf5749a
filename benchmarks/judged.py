"""Arms trained with the same seeds, outside of a study, judged as an experiment's are: paired by seed, all verdicts together."""

from statistics import fmean, stdev

from halosearch.analysis.expectations import SCORE, parse_expectation
from halosearch.analysis.verdicts import judge
from halosearch.report.experiment_summary import plain_verdict, sentence_of
from halosearch.spec.experiment import arm_name


def verdicts_of(expect, scores):
    """What became of every expectation, as a line of Markdown; scores are arm -> seed -> value."""
    scores = {arm_name(arm): by_seed for arm, by_seed in scores.items()}
    verdicts = judge([parse_expectation(text, list(scores)) for text in expect], {SCORE: scores})
    plain = [plain_verdict(each, len(verdicts)) for each in verdicts]
    return [
        "- "
        + sentence_of(each).replace(f"{each['text']}: {each['verdict']}", f"`{each['text']}`: **{each['verdict']}**", 1)
        for each in plain
    ]


def spread(values):
    """Mean, and standard deviation over seeds, of shares."""
    values = list(values)
    return f"{fmean(values):.4f}" + (f" ({stdev(values):.4f})" if len(values) > 1 else "")
