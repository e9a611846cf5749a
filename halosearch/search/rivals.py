"""The evaluations of rivals: networks of other families, trained, timed and repeated like the finalists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from halosearch.families.known import count, parse_candidate
from halosearch.record.evaluation import NETWORK, RIVAL, RIVAL_HELD_OUT, Evaluation
from halosearch.search.repeats import final_seed


def rival_rows(rivals: Sequence[str], seed: int, final_seeds: int) -> list[Evaluation]:
    """Of each rival one training like a candidate's, and as many as a finalist has, with the finalists' seeds. Rows come without id."""
    found = []
    for place, text in enumerate(rivals):
        first = Evaluation(-1, RIVAL, {NETWORK: text}, asdict(count(parse_candidate(text))), seed, place)
        found.append(first)
        found += [
            replace(first, kind=RIVAL_HELD_OUT, seed=final_seed(seed, repeat), repeat=repeat)
            for repeat in range(1, final_seeds + 1)
        ]
    return found
