"""What repeats say: the finalists' held-out scores, and how sure the front is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from halosearch.analysis.attainment import DRAWS, attainment
from halosearch.record.evaluation import COMPLETE, HELD_OUT, RETEST, Evaluation
from halosearch.record.trials import Trial, repeats

if TYPE_CHECKING:
    import pandas as pd

FEWEST_DRAWS, MOST_NUMBERS = 400, 4_000_000
"""Draws times trials: seconds in studies of thousands of trials, whose report says how many draws it made."""


def final_scores(trials: list[Trial], rows: Sequence[Evaluation], noise: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The finalists, best first: mean score over further seeds on images that the search never saw, 95 % interval where noise is known."""
    found, finalists = [], {row.trial for row in rows if row.kind == HELD_OUT}
    for trial in (each for each in trials if each.number in finalists):
        again = repeats(rows, HELD_OUT, trial.number)
        done = [row.result for row in again]
        if done:
            scores = [float(result["score"]) for result in done]
            mean, low, high = mean_with_interval(scores, noise)
            found.append(
                {
                    "trial": trial.number,
                    "seeds": len(scores),
                    "images": done[0]["final"]["images"],
                    "scores": scores,
                    "repeats": [row.repeat for row in again],
                    "score": mean,
                    "low": low,
                    "high": high,
                    "search_score": trial.result["score"],
                }
            )
    return sorted(found, key=lambda final: (-final["score"], final["trial"]))


def mean_with_interval(
    scores: Sequence[float], noise: dict[str, Any] | None
) -> tuple[float, float | None, float | None]:
    """Mean of scores of one network with the ends of its 95 % interval, None where the noise of a score is not known."""
    mean = sum(scores) / len(scores)
    if noise is None:
        return mean, None, None
    half = 1.96 * noise["sd"] / len(scores) ** 0.5
    return mean, mean - half, mean + half


def front_certainty(
    done: pd.DataFrame, noise: dict[str, Any] | None, means: list[float], seeds: list[int]
) -> dict[str, Any] | None:
    """P(on the front) by trial and the band of the front, from the known noise of a score; None without it."""
    if noise is None or done.empty:
        return None
    draws = max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // len(done)))
    found = attainment(means, done["step_time_s"].tolist(), seeds, noise["sd"], draws).to_dict()
    return {
        "draws": found["draws"],
        "on_front": {str(number): p for number, p in zip(done["trial"], found["on_front"], strict=True)},
        "band": _where_it_moves(found["band"]),
    }


def _where_it_moves(band: list[list[float]]) -> list[list[float]]:
    """The staircase without the points at which no bound moves by a ten-thousandth of a score; its ends stay."""
    kept: list[list[float]] = []
    for place, point in enumerate(band):
        heights = [round(value, 4) for value in point[1:]]
        if not kept or place == len(band) - 1 or heights != kept[-1][1:]:
            kept.append([point[0], *heights])
    return kept


def mean_scores(done: pd.DataFrame, rows: Sequence[Evaluation]) -> tuple[list[float], list[int]]:
    """Mean score of every complete trial over its seeds (the search's and the retests'), and how many seeds these are."""
    if done.empty:
        return [], []
    again: dict[int, list[float]] = {}
    for row in sorted(
        (row for row in rows if row.kind == RETEST and row.state == COMPLETE), key=lambda row: row.repeat
    ):
        again.setdefault(row.trial, []).append(float(row.result["score"]))
    scores = [
        [float(score), *again.get(number, ())] for number, score in zip(done["trial"], done["score"], strict=True)
    ]
    return [sum(each) / len(each) for each in scores], [len(each) for each in scores]
