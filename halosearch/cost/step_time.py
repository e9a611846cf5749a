"""Predicting step times: a table of measured parts, a regression on their rooflines for the parts never measured.

A network is a sum of parts: stem, first and further blocks of each stage, head. Parts are timed alone (`parts.measure_parts`)
beside the parts of the anchor model, so that what is known of a part is its share of the anchor's step, which survives other
load and drifting clocks. A part that was never timed is predicted from its FLOPs, bytes and scores by least squares with
non-negative coefficients on relative errors; measured whole networks then set one factor for all (what parts alone miss).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from halosearch.cost.cell import dials_of_rows
from halosearch.cost.counts import Dials
from halosearch.cost.roofline import Setting, kernels
from halosearch.halonet.cuts import cached_cut
from halosearch.space.config import ATTENTION, CONV

TERMS = (
    "conv1x1.flops",
    "conv1x1.bytes",
    "conv3x3.flops",
    "stem.flops",
    "norm.bytes",
    "attention.flops",
    "attention.bytes",
    "scores",
    "cut_scores",
    "optimiser.bytes",
    "kernels",
)
MIN_PARTS = {ATTENTION: 12, CONV: 4, "head": 2, "stem": 1}
"""Distinct timed parts of a kind below which a regression says nothing (a cell may have a single image size, so one stem)."""
MIN_MODELS = 4
CONFIDENCE = 0.95


def kind_of(d: Dials, part: str) -> str:
    """What a part is: stem, head, conv or attention."""
    return d.kinds[int(part.split(".")[1])] if part.startswith("stages") else part


def part_terms(d: Dials, setting: Setting) -> dict[str, tuple[Any, np.ndarray]]:
    """Of every part: how often it occurs, and its terms (rows, terms) for one occurrence; arrays where the dials are."""
    sums: dict[str, dict[str, Any]] = {}
    repeats: dict[str, Any] = {}
    for each in kernels(d, setting):
        terms = sums.setdefault(each.part, dict.fromkeys(TERMS, 0.0))
        block = each.part.endswith(".rest")
        repeats.setdefault(each.part, each.repeat if block else 1)
        present = 1 if block else each.repeat  # shortcut and final convolution may be absent
        for name, value in ((f"{each.family}.flops", each.flops), (f"{each.family}.bytes", each.bytes)):
            if name in terms:
                terms[name] = terms[name] + present * value
        terms["kernels"] = terms["kernels"] + present
        terms["scores"] = terms["scores"] + present * each.scores
    for stage, kind in enumerate(d.kinds):
        if kind == ATTENTION:
            _add_cut_scores(d, stage, setting, sums)
    return {part: (repeats[part], _matrix(terms)) for part, terms in sums.items()}


def _add_cut_scores(d: Dials, stage: int, setting: Setting, sums: dict[str, dict[str, Any]]) -> None:
    """Scores that the tiled backend computes, hidden ones included."""
    side = -(-d.image_size // (4 << max(stage - 1, 0)))
    for which, across, stride in (("0", side, 2 if stage else 1), ("rest", -(-side // (2 if stage else 1)), 1)):
        pairs = _cut_pairs(across, d.block_size, d.halo_size, stride)
        sums[f"stages.{stage}.{which}"]["cut_scores"] = setting.batch * d.heads[stage] * pairs**2


def _cut_pairs(side: Any, block_size: Any, halo_size: Any, stride: int) -> Any:
    geometry = np.stack(np.broadcast_arrays(side, block_size, halo_size), -1).reshape(-1, 3)
    distinct, index = np.unique(geometry, axis=0, return_inverse=True)
    pairs = np.array([cached_cut(*map(int, row), stride).pairs for row in distinct], dtype=float)[index.reshape(-1)]
    return pairs if isinstance(side, np.ndarray) else float(pairs[0])


def _matrix(terms: dict[str, Any]) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*(np.asarray(terms[name], dtype=float) for name in TERMS)), -1)


@dataclass(frozen=True, slots=True)
class TimedPart:
    """A part timed alone: `share` of the anchor's step that one occurrence takes."""

    kind: str
    key: str
    terms: tuple[float, ...]
    share: float


@dataclass(frozen=True, slots=True)
class TimedModel:
    """A whole network timed beside the anchor: its dials and the ratio of its step to the anchor's."""

    dials: Dials
    ratio: float


@dataclass(frozen=True, slots=True)
class Predicted:
    """Ratios to the anchor's step (rows,), with the interval that held for 95 % of networks left out in turn."""

    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class StepTimeModel:
    """A fitted predictor. `factor`: measured over predicted of whole networks; `spread`: relative half-width (one-sided, log)."""

    setting: Setting
    coefficients: dict[str, np.ndarray]
    table: dict[str, float]
    factor: float
    spread: float
    parts: int
    models: int

    def predict(self, d: Dials) -> Predicted:
        """For every row of the dials, from the regression alone."""
        total: Any = 0.0
        for part, (repeat, terms) in part_terms(d, self.setting).items():
            total = total + repeat * (terms @ self.coefficients[kind_of(d, part)])
        return self._with_interval(np.atleast_1d(total))

    def predict_one(self, d: Dials, keys: dict[str, str]) -> Predicted:
        """For one network, parts that were timed from the table; `keys` names its parts."""
        total = 0.0
        for part, (repeat, terms) in part_terms(d, self.setting).items():
            known = self.table.get(keys.get(part, ""))
            total += float(repeat) * (
                known if known is not None else float(terms @ self.coefficients[kind_of(d, part)])
            )
        return self._with_interval(np.array([total]))

    def _with_interval(self, total: np.ndarray) -> Predicted:
        ratio = self.factor * total
        return Predicted(ratio, ratio * np.exp(-self.spread), ratio * np.exp(self.spread))


def fit(parts: Iterable[TimedPart], models: Iterable[TimedModel], setting: Setting) -> StepTimeModel | None:
    """Fit the table, the regression and the factor; None while too little is timed to say anything."""
    timed, whole = _distinct(parts), list(models)
    kinds = {kind for model in whole for kind in (*model.dials.kinds, "stem", "head")}
    by_kind = {kind: [part for part in timed if part.kind == kind] for kind in kinds}
    few = {kind for kind, group in by_kind.items() if len(group) < MIN_PARTS[kind]}
    if len(whole) < MIN_MODELS or few:
        return None
    coefficients = {kind: _regress(group) for kind, group in by_kind.items()}
    fitted = StepTimeModel(
        setting, coefficients, {part.key: part.share for part in timed}, 1.0, 0.0, len(timed), len(whole)
    )
    errors = np.log([model.ratio / float(fitted.predict(model.dials).ratio[0]) for model in whole])
    factor = float(np.exp(np.median(errors)))
    return StepTimeModel(setting, coefficients, fitted.table, factor, _spread(errors), len(timed), len(whole))


def _distinct(parts: Iterable[TimedPart]) -> list[TimedPart]:
    """One for each key, with the median of its shares."""
    frame = pd.DataFrame([(part.key, part.share) for part in parts], columns=["key", "share"])
    medians = frame.groupby("key")["share"].median()
    first = {part.key: part for part in parts}
    return [TimedPart(part.kind, key, part.terms, float(medians[key])) for key, part in first.items()]


def _regress(parts: list[TimedPart]) -> np.ndarray:
    """Non-negative coefficients of the terms that make the relative errors least."""
    terms, shares = np.array([part.terms for part in parts]), np.array([part.share for part in parts])
    scale = np.maximum(terms.max(0), 1e-30)
    solution, _ = nnls(terms / scale / shares[:, None], np.ones(len(shares)))
    return np.asarray(solution / scale)


def _spread(errors: np.ndarray) -> float:
    """Half-width, in logarithms, that holds for CONFIDENCE of new networks (order statistics, as in split conformal)."""
    around = np.sort(np.abs(errors - np.median(errors)))
    rank = int(np.ceil(CONFIDENCE * (len(around) + 1)))
    if rank <= len(around):
        return float(around[rank - 1])
    return float(around[-1] * 1.5)  # too few networks for the order statistic: wider than the worst seen


def predict_rows(model: StepTimeModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Ratio to the anchor's step of every row of dials, with its interval: columns ratio, low, high."""
    out = np.empty((len(rows), 3))
    for at, dials in dials_of_rows(rows):
        predicted = model.predict(dials)
        out[at] = np.stack([predicted.ratio, predicted.low, predicted.high], -1)
    return pd.DataFrame(out, columns=["ratio", "low", "high"], index=rows.index)
