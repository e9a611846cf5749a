"""A Gaussian process over the rows of a pool and over fidelities: what trials of any length say of every row at full length.

Covariance of (row x, rung r) and (x', r'), on values of unit spread:

    MEAN_VARIANCE [r = r'] + a_r a_r' exp(-w |z_r - z_r'|) (s_l^2 linear-and-quadratic(x, x') + s_m^2 Matern-5/2 ARD(x, x'))

z is the logarithm of the fidelity (images seen) and a_top = 1: short trials may spread less and agree in part with long ones.
The hyperparameters are the maximum a posteriori under wide log-normal priors, from one fixed start, on the CPU in float64.
Sources: Rasmussen & Williams, "Gaussian Processes for Machine Learning" (2006), ch. 2, 4, 5; lengths growing with the square
root of the dimension: Hvarfner et al., arXiv:2402.02229.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.optimize import minimize

MEAN_VARIANCE = 9.0
JITTER = 1e-8
MAX_FITTED = 256
"""Hyperparameters are found on at most so many observations, spread evenly over all of them; the rest still counts."""
MAX_ITERATIONS = 60
ROWS_AT_A_TIME = 128
MAX_RANK = 128
"""Above so many observations the variance uses the leading eigenvectors only; what is left out is below the noise."""
SQRT5 = 5**0.5
_NOISE_PRIOR = (np.log(0.3), 1.0)


@dataclass(frozen=True, slots=True)
class Observations:
    """Points (n, D) in the unit cube, the index of each one's rung (n,), values (n,).

    `groups` (D,): the feature that each column is of; the columns of one feature share a length. None: every column is one.
    """

    points: np.ndarray
    rungs: np.ndarray
    values: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, index: np.ndarray) -> Observations:
        """Some of them."""
        return Observations(self.points[index], self.rungs[index], self.values[index], self.groups)

    def joined(self, other: Observations) -> Observations:
        """These, then the others."""
        pairs = zip((self.points, self.rungs, self.values), (other.points, other.rungs, other.values), strict=True)
        points, rungs, values = (np.concatenate(pair) for pair in pairs)
        return Observations(points, rungs, values, self.groups)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Lengths (D,), amplitudes of the Matern and the linear part, noise (standard deviation), amplitude per rung, rung decay.

    `shift` and `scale` bring values to about zero mean and unit spread. `depths` are the rungs' log fidelities.
    """

    lengths: np.ndarray
    matern: float
    linear: float
    noise: float
    rung_amplitudes: np.ndarray
    decay: float
    depths: np.ndarray
    shift: float
    scale: float


def main_effects(points: np.ndarray) -> np.ndarray:
    """Linear and quadratic terms of every feature, (n, 2 D), of unit variance over the cube, divided by sqrt(2 D)."""
    linear = np.sqrt(3) * (2 * points - 1)
    quadratic = np.sqrt(5) * (6 * points * points - 6 * points + 1)
    return np.asarray(np.concatenate([linear, quadratic], 1) / np.sqrt(2 * points.shape[1]))


def matern(squared: np.ndarray) -> np.ndarray:
    """Matern-5/2 of squared scaled distances."""
    distance = np.sqrt(5 * squared)
    return np.asarray((1 + distance + distance * distance / 3) * np.exp(-distance))


class _Problem:
    """Negative log posterior of the hyperparameters and its gradient, for L-BFGS."""

    def __init__(self, data: Observations, depths: np.ndarray, values: np.ndarray, noise: float | None) -> None:
        self.values, self.depths, self.rungs = values, depths, data.rungs
        self.count = len(data)
        delta = data.points[:, None] - data.points[None]
        self.squares = np.ascontiguousarray((delta * delta).transpose(2, 0, 1))
        if data.groups is not None:
            starts = np.flatnonzero(np.diff(data.groups, prepend=-1))
            self.squares = np.add.reduceat(self.squares, starts, axis=0)
        self.dims = len(self.squares)
        effects = main_effects(data.points)
        self.effects = effects @ effects.T
        self.same_rung = MEAN_VARIANCE * (self.rungs[:, None] == self.rungs[None])
        gap = depths[self.rungs]
        self.gaps = np.abs(gap[:, None] - gap[None])
        lower = len(depths) - 1
        about = _NOISE_PRIOR if noise is None else (np.log(noise), 0.3)
        prior = [(0.5 * np.log(self.dims), 1.0)] * self.dims + [(0.0, 1.0), (-0.5, 1.0), about]
        prior += [(0.0, 0.7)] * lower + [(np.log(0.3), 1.0)] * (lower > 0)
        self.centre, self.width = np.array(prior).T

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, float, float, float, np.ndarray, float]:
        """Lengths, Matern and linear amplitude, noise, rung amplitudes, decay."""
        values, dims, lower = np.exp(theta), self.dims, len(self.depths) - 1
        amplitudes = np.append(values[dims + 3 : dims + 3 + lower], 1.0)
        return (
            values[:dims],
            float(values[dims]),
            float(values[dims + 1]),
            float(values[dims + 2]),
            amplitudes,
            float(values[-1]) if lower else 0.0,
        )

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        lengths, s_m, s_l, noise, amplitudes, decay = self.split(theta)
        distance = np.sqrt(5 * np.tensordot(1 / lengths**2, self.squares, 1))
        falling = np.exp(-distance)
        scale = amplitudes[self.rungs]
        between = scale[:, None] * scale[None] * np.exp(-decay * self.gaps)
        smooth = between * s_m**2 * (1 + distance + distance * distance / 3) * falling
        straight = between * s_l**2 * self.effects
        covariance = self.same_rung + smooth + straight
        covariance[np.diag_indices(self.count)] += noise**2 + JITTER
        factor = cho_factor(covariance, lower=True, check_finite=False)
        inverse = cho_solve(factor, np.eye(self.count), check_finite=False)
        alpha = inverse @ self.values
        loss = 0.5 * self.values @ alpha + np.log(np.diag(factor[0])).sum()
        pull = 0.5 * (inverse - np.outer(alpha, alpha))
        by_length = np.tensordot(self.squares, pull * between * (5 / 3 * s_m**2) * (1 + distance) * falling, 2)
        explained = pull * (smooth + straight)
        gradient = [
            *(by_length / lengths**2),
            2 * (pull * smooth).sum(),
            2 * (pull * straight).sum(),
            2 * noise**2 * np.trace(pull),
        ]
        if len(self.depths) > 1:
            by_row = explained.sum(1)
            gradient += [2 * by_row[self.rungs == rung].sum() for rung in range(len(self.depths) - 1)]
            gradient.append(-decay * (explained * self.gaps).sum())
        off = (theta - self.centre) / self.width
        return float(loss + 0.5 * off @ off), np.array(gradient) + off / self.width


def fit(data: Observations, fidelities: tuple[float, ...], noise: float | None = None) -> Hyperparameters:
    """Hyperparameters for observations at these fidelities (rising; one where there are no rungs).

    Args:
        data: at least one observation, all finite.
        fidelities: images seen at each rung.
        noise: known standard deviation of one value, in the values' own unit; learned where None.
    """
    depths = np.log(np.asarray(fidelities, dtype=float))
    residual = data.values.copy()
    for rung in np.unique(data.rungs):
        residual[data.rungs == rung] -= data.values[data.rungs == rung].mean()
    shift, spread = float(data.values.mean()), float(np.sqrt(np.mean(residual**2)))
    scale = spread if spread > 1e-12 * (1 + abs(shift)) else 1.0
    if len(data) > MAX_FITTED:
        data = data.subset(np.linspace(0, len(data) - 1, MAX_FITTED).round().astype(int))
    problem = _Problem(
        data, depths, (data.values - shift) / scale, None if not noise else min(3.0, max(0.01, noise / scale))
    )
    low, high = problem.centre - 4 * problem.width, problem.centre + 4 * problem.width
    found = minimize(
        problem,
        problem.centre,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": MAX_ITERATIONS},
    )
    lengths, s_m, s_l, sigma, amplitudes, decay = problem.split(found.x)
    if data.groups is not None:
        lengths = lengths[data.groups]
    return Hyperparameters(lengths, s_m, s_l, sigma, amplitudes, decay, depths, shift, scale)


class Posterior:
    """What observations say of any row at the top rung."""

    def __init__(self, data: Observations, hyper: Hyperparameters) -> None:
        """Factorise once, n^3 / 3 multiplications; deviations take about n^3 more, above `MAX_RANK` for the eigenvectors."""
        self.data, self.hyper = data, hyper
        scaled = data.points / hyper.lengths
        squared = np.maximum(_squared_distances(scaled, scaled), 0)
        effects = main_effects(data.points)
        base = hyper.linear**2 * effects @ effects.T + hyper.matern**2 * matern(squared)
        depth, amplitude = hyper.depths[data.rungs], hyper.rung_amplitudes[data.rungs]
        between = amplitude[:, None] * amplitude[None] * np.exp(-hyper.decay * np.abs(depth[:, None] - depth[None]))
        covariance = MEAN_VARIANCE * (data.rungs[:, None] == data.rungs[None]) + between * base
        covariance[np.diag_indices(len(data))] += hyper.noise**2 + JITTER
        self._covariance = covariance
        self._factor = cho_factor(covariance, lower=True, check_finite=False)
        self._alpha = cho_solve(self._factor, (data.values - hyper.shift) / hyper.scale, check_finite=False)
        top = len(hyper.depths) - 1
        self._to_top = amplitude * np.exp(-hyper.decay * np.abs(depth - hyper.depths[top]))
        self._at_top = MEAN_VARIANCE * (data.rungs == top)
        self._scaled, self._effects = scaled, effects

    @cached_property
    def _whitening(self) -> np.ndarray:
        """W with W W' the inverse of the covariance, or the share of it that its leading eigenvectors make up."""
        count = len(self.data)
        if count <= MAX_RANK:
            inverse = cho_solve(self._factor, np.eye(count), check_finite=False)
            return np.linalg.cholesky((inverse + inverse.T) / 2)
        leading = [count - MAX_RANK, count - 1]
        values, vectors = eigh(self._covariance, subset_by_index=leading, check_finite=False)
        return np.asarray(vectors / np.sqrt(values))

    def mean(self, points: np.ndarray) -> np.ndarray:
        """Mean (m,) of the noiseless value of points (m, D) at the top rung, in the values' unit."""
        return self._evaluate(points, None)[0]

    def predict(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (m,) each."""
        return self._evaluate(points, self._whitening.astype(np.float32))

    def _evaluate(self, points: np.ndarray, whitening: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Kernels in float32, a block of rows at a time that stays in the cache (3 times faster than float64)."""
        hyper = self.hyper
        kind = np.float32
        to_top, at_top = self._to_top.astype(kind), self._at_top.astype(kind)
        scaled, effects = (5 * self._scaled).astype(kind).T, (hyper.linear**2 * self._effects).astype(kind).T
        own = (5 * np.square(self._scaled).sum(1)).astype(kind)
        alpha = self._alpha.astype(kind)
        mean, variance = np.empty(len(points)), np.zeros(len(points))
        for start in range(0, len(points), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            rows = (points[part] / hyper.lengths).astype(kind)
            terms = main_effects(points[part]).astype(kind)
            squared = rows @ (-2 * scaled)
            squared += own
            squared += 5 * np.square(rows).sum(1)[:, None]
            np.maximum(squared, 0, out=squared)
            distance = np.sqrt(squared)
            squared *= kind(1 / 3)
            squared += distance
            squared += 1
            np.negative(distance, out=distance)
            squared *= np.exp(distance, out=distance)
            squared *= kind(hyper.matern**2)
            squared += terms @ effects
            squared *= to_top
            squared += at_top
            mean[part] = squared @ alpha
            if whitening is not None:
                explained = squared @ whitening
                prior = MEAN_VARIANCE + hyper.matern**2 + hyper.linear**2 * np.square(terms).sum(1)
                variance[part] = prior - np.einsum("ij,ij->i", explained, explained)
        floor = 1e-6 * (hyper.matern**2 + hyper.linear**2)
        return mean * hyper.scale + hyper.shift, np.sqrt(np.maximum(variance, floor)) * hyper.scale

    def with_pending(self, points: np.ndarray) -> Posterior:
        """As if the rows that are running had come out as expected (Kriging believer): the mean stays, the doubt shrinks."""
        if not len(points):
            return self
        top = np.full(len(points), len(self.hyper.depths) - 1)
        return Posterior(self.data.joined(Observations(points, top, self.mean(points))), self.hyper)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T)
