"""Which trial goes on to a longer training: successive halving with several objectives.

Of the searched trials that have a score at a rung, one in `eta` may go on. First come those that no other trial of the rung beats
in score and cost together (then those beaten by these alone, and so on); within such a layer the best score first, then
whatever lies farthest from those already chosen, so that the whole front is followed and not one end of it.
Source: Schmucker et al., "Multi-objective Asynchronous Successive Halving", arXiv:2106.12639. Unlike there, decisions are taken
in the order of the moves and not of arrivals, so that they do not depend on workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a trial is: its scores by rung, its cost, whether it was searched for (not drawn evenly), the rung it was sent to."""

    scores: tuple[float, ...]
    cost: float
    searched: bool
    sent_to: int


def next_promotion(standings: Mapping[int, Standing], top: int, eta: int) -> tuple[int, int] | None:
    """(trial, rung to go to), highest rung first; None where no trial is due. Failed trials are left out by the caller."""
    for rung in range(top - 1, -1, -1):
        here = {n: s for n, s in standings.items() if len(s.scores) > rung}
        searched = [n for n, s in here.items() if s.searched]
        sent_on = sum(here[n].sent_to > rung for n in searched)
        waiting = [n for n in searched if here[n].sent_to == rung]
        if waiting and sent_on < len(searched) // eta:
            numbers = sorted(here)
            order = ranking([here[n].scores[rung] for n in numbers], [here[n].cost for n in numbers])
            return next(numbers[i] for i in order if numbers[i] in waiting), rung + 1
    return None


def ranking(scores: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices by layer of non-dominance, and within a layer so that its first members are spread over it."""
    points = np.column_stack([-np.asarray(scores, dtype=float), np.log(np.asarray(costs, dtype=float))])
    scale = np.ptp(points, axis=0)
    unit = (points - points.min(0)) / np.where(scale > 0, scale, 1.0)
    ranks = moocore.pareto_rank(points)
    return [i for rank in range(int(ranks.max()) + 1) for i in _spread(unit, np.flatnonzero(ranks == rank))]


def _spread(unit: np.ndarray, layer: np.ndarray) -> list[int]:
    """Best score first, then always the one farthest from those taken; the lower index of equals."""
    taken = [int(layer[np.lexsort((unit[layer, 1], unit[layer, 0]))[0]])]
    gaps = np.square(unit[layer] - unit[taken[0]]).sum(1)
    free = layer != taken[0]
    while free.any():
        best = int(np.where(free, gaps, -1.0).argmax())
        taken.append(int(layer[best]))
        free[best] = False
        gaps = np.minimum(gaps, np.square(unit[layer] - unit[layer[best]]).sum(1))
    return taken
