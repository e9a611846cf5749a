"""Predicting step times: a table of measured parts, a regression on their rooflines for the parts never measured.

A network is a sum of parts: stem, first and further blocks of each stage, head. Parts are timed alone (`parts.measure_parts`)
beside a block of the anchor, the yardstick, so that what is known of a part is a ratio, which survives other load and drifting
clocks. A part that was never timed is predicted from its FLOPs, bytes and scores by least squares with non-negative
coefficients on relative errors. Measured whole networks then set one factor, from yardsticks to the anchor's whole step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from halosearch.cost.candidate_pool import dials_of_rows
from halosearch.cost.roofline import Setting, kernels
from halosearch.families.halonet.attention.block_geometry import block_geometry
from halosearch.families.halonet.config import ATTENTION, CONV
from halosearch.families.halonet.counts import Dials

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
    "cut_windows",
    "cut_features",
    "optimiser.bytes",
    "kernels",
)
MIN_PARTS = {ATTENTION: 12, CONV: 4, "head": 2, "stem": 1}
"""Distinct timed parts of a kind below which a regression says nothing (a pool may have a single image size, so one stem)."""
MIN_MODELS = 4
CONFIDENCE = 0.95
TOO_FEW = 1.5
"""Under 19 networks no order statistic holds for 95 %: the interval is this much wider than the worst error seen."""
FOLDS = 10
BEYOND = 2.0


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
            _add_cuts(d, stage, setting, sums)
    return {part: (repeats[part], _matrix(terms)) for part, terms in sums.items()}


def _add_cuts(d: Dials, stage: int, setting: Setting, sums: dict[str, dict[str, Any]]) -> None:
    """What the tiled backend does beside the seen scores: hidden ones, channels copied to windows, features of q and k."""
    side = -(-d.image_size // (4 << max(stage - 1, 0)))
    channels = (d.base_width << stage) * (d.query_ratio + d.value_ratio)
    for which, across, stride in (("0", side, 2 if stage else 1), ("rest", -(-side // (2 if stage else 1)), 1)):
        pairs, keys, slots, window = _cut_columns(across, d.block_size, d.halo_size, stride)
        terms, heads = sums[f"stages.{stage}.{which}"], setting.batch * d.heads[stage]
        terms["cut_scores"] = heads * pairs**2
        terms["cut_windows"] = setting.batch * keys**2 * channels
        terms["cut_features"] = heads * 2 * window * (keys**2 + slots**2)


def _cut_columns(side: Any, block_size: Any, halo_size: Any, stride: int) -> tuple[Any, Any, Any, Any]:
    """Of the cuts along an axis: pairs, window positions and query slots of all cuts together, and the window's length."""
    geometry = np.stack(np.broadcast_arrays(side, block_size, halo_size), -1).reshape(-1, 3)
    distinct, index = np.unique(geometry, axis=0, return_inverse=True)
    cuts = [block_geometry(*map(int, row), stride) for row in distinct]
    rows = [(each.pairs, each.blocks * each.window, each.blocks * each.slots, each.window) for each in cuts]
    columns = np.array(rows, dtype=float)[index.reshape(-1)].T
    if isinstance(side, np.ndarray):
        return columns[0], columns[1], columns[2], columns[3]
    return float(columns[0, 0]), float(columns[1, 0]), float(columns[2, 0]), float(columns[3, 0])


def _matrix(terms: dict[str, Any]) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*(np.asarray(terms[name], dtype=float) for name in TERMS)), -1)


@dataclass(frozen=True, slots=True)
class TimedPart:
    """A part timed alone: `share` is its time over the yardstick's, a block of the anchor, in the same rounds."""

    kind: str
    key: str
    terms: tuple[float, ...]
    share: float


@dataclass(frozen=True, slots=True)
class TimedModel:
    """A network timed beside the anchor: its dials, the ratio of its step to the anchor's, its timed parts."""

    dials: Dials
    ratio: float
    parts: tuple[TimedPart, ...]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Ratios to the anchor's step (rows,) with their interval; NaN where a kind of part was never timed.

    The interval is as wide as it had to be for 95 % of the timed networks when fits that had not seen them predicted them.
    `extrapolated`: a part is over twice as large, in some term, as any of its kind that was timed; there the interval is no
    promise.
    """

    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray
    extrapolated: np.ndarray


@dataclass(frozen=True, slots=True)
class StepTimeModel:
    """A fitted predictor.

    `table`: shares of timed parts by key; `coefficients` and `largest` terms by kind; `factor` turns the sum of shares into
    the ratio to the anchor's step; `spread` is the interval's half-width in logarithms; `unseen` holds, by their index, the
    ratios of the timed networks as fits that had not seen them predicted them.
    """

    setting: Setting
    table: dict[str, float]
    coefficients: dict[str, np.ndarray]
    largest: dict[str, np.ndarray]
    factor: float
    spread: float
    unseen: tuple[tuple[int, float], ...]

    def predict(self, d: Dials, keys: Mapping[str, str] | None = None) -> Predicted:
        """For every row of the dials; for a single network `keys` of its parts take what was timed from the table."""
        total: Any = 0.0
        beyond: Any = False
        for part, (repeat, terms) in part_terms(d, self.setting).items():
            known = self.table.get((keys or {}).get(part, ""))
            kind = kind_of(d, part)
            if known is not None:
                total = total + repeat * known
            elif kind not in self.coefficients:
                total = total + repeat * np.nan
            else:
                total = total + repeat * (terms @ self.coefficients[kind])
                beyond = beyond | (terms > BEYOND * self.largest[kind]).any(-1)
        ratio = self.factor * np.atleast_1d(total)
        width = np.exp(self.spread)
        return Predicted(ratio, ratio / width, ratio * width, np.broadcast_to(np.atleast_1d(beyond), ratio.shape))


def fit(models: Iterable[TimedModel], setting: Setting) -> StepTimeModel | None:
    """Fit the table, the regression and the factor; the interval by folds. None while too little is timed to say anything."""
    whole = list(models)
    fitted, unseen = _fit(whole, setting), tuple(_unseen(whole, setting))
    if fitted is None or not unseen:
        return None
    errors = np.log([whole[index].ratio / predicted for index, predicted in unseen])
    return replace(fitted, spread=spread_of(errors), unseen=unseen)


def _unseen(models: list[TimedModel], setting: Setting) -> Iterator[tuple[int, float]]:
    """Index and ratio of every network as predicted by a fit that has not seen it; those without one are left out."""
    for fold in range(min(FOLDS, len(models))):
        fitted = _fit([model for index, model in enumerate(models) if index % FOLDS != fold], setting)
        for index in range(fold, len(models), FOLDS):
            predicted = np.nan if fitted is None else float(fitted.predict(models[index].dials).ratio[0])
            if np.isfinite(predicted):
                yield index, predicted


def _fit(models: list[TimedModel], setting: Setting) -> StepTimeModel | None:
    """Without an interval; None where a kind of part that these networks have was timed too seldom."""
    timed = _distinct([part for model in models for part in model.parts])
    kinds = {kind for model in models for kind in (*model.dials.kinds, "stem", "head")}
    by_kind = {kind: [part for part in timed if part.kind == kind] for kind in sorted(kinds)}
    if len(models) < MIN_MODELS or any(len(group) < MIN_PARTS[kind] for kind, group in by_kind.items()):
        return None
    fitted = StepTimeModel(
        setting,
        {part.key: part.share for part in timed},
        {kind: _regress(group) for kind, group in by_kind.items()},
        {kind: np.max([part.terms for part in group], 0) for kind, group in by_kind.items()},
        1.0,
        np.nan,
        (),
    )
    factors = [model.ratio / float(fitted.predict(model.dials).ratio[0]) for model in models]
    return replace(fitted, factor=float(np.median(factors)))


def _distinct(parts: list[TimedPart]) -> list[TimedPart]:
    """One for each key, with the median of its shares."""
    shares: dict[str, list[float]] = {}
    for part in parts:
        shares.setdefault(part.key, []).append(part.share)
    first = {part.key: part for part in parts}
    return [replace(part, share=float(np.median(shares[key]))) for key, part in first.items()]


def _regress(parts: list[TimedPart]) -> np.ndarray:
    """Non-negative coefficients of the terms that make the relative errors least."""
    terms, shares = np.array([part.terms for part in parts]), np.array([part.share for part in parts])
    scale = np.maximum(terms.max(0), 1e-30)
    solution, _ = nnls(terms / scale / shares[:, None], np.ones(len(shares)))
    return np.asarray(solution / scale)


def spread_of(errors: np.ndarray) -> float:
    """Half-width, in logarithms, that holds for CONFIDENCE of new networks, from errors on unseen ones (order statistics)."""
    size = np.sort(np.abs(errors))
    rank = int(np.ceil(CONFIDENCE * (len(size) + 1)))
    if rank <= len(size):
        return float(size[rank - 1])
    return float(size[-1] * TOO_FEW)


def predict_rows(model: StepTimeModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Of every row of dials the ratio to the anchor's step, its interval, and whether it is extrapolated."""
    out = np.empty((len(rows), 3))
    beyond = np.empty(len(rows), dtype=bool)
    for at, dials in dials_of_rows(rows):
        predicted = model.predict(dials)
        out[at] = np.stack([predicted.ratio, predicted.low, predicted.high], -1)
        beyond[at] = predicted.extrapolated
    return pd.DataFrame(out, columns=["ratio", "low", "high"], index=rows.index).assign(extrapolated=beyond)
