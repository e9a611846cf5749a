"""The surrogate against the textbook formulas, written out for a handful of points in float64."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from halosearch.search import gp as surrogate
from halosearch.search.gp import MEAN_VARIANCE, Hyperparameters, Observations, Posterior, fit


def data(n, dims=3, rungs=1, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    points, which = rng.random((n, dims)), rng.integers(0, rungs, n)
    truth = np.sin(3 * points[:, 0]) + points[:, 1] ** 2
    return Observations(points, which, truth * (1 + which) + 2.0 + noise * rng.standard_normal(n))


def kernel(x, r, y, q, h):
    """One entry of the covariance, by the formula of the module's docstring."""
    distance = np.sqrt(5 * (((x - y) / h.lengths) ** 2).sum())
    smooth = h.matern**2 * (1 + distance + distance**2 / 3) * np.exp(-distance)
    straight = 0.0
    for a, b in zip(x, y, strict=True):
        straight += 3 * (2 * a - 1) * (2 * b - 1) + 5 * (6 * a * a - 6 * a + 1) * (6 * b * b - 6 * b + 1)
    straight *= h.linear**2 / (2 * len(x))
    fall = np.exp(-h.decay * abs(h.depths[r] - h.depths[q]))
    return MEAN_VARIANCE * (r == q) + h.rung_amplitudes[r] * h.rung_amplitudes[q] * fall * (smooth + straight)


HYPER = Hyperparameters(
    np.array([0.4, 0.9, 2.0]), 0.8, 0.5, 0.1, np.array([0.6, 1.0]), 0.3, np.log([100.0, 400.0]), 1.5, 0.7
)


def test_mean_and_doubt_are_those_of_the_formula():
    seen, rng = data(12, rungs=2), np.random.default_rng(1)
    new = rng.random((5, 3))
    n = len(seen)
    k = np.array(
        [
            [kernel(seen.points[i], seen.rungs[i], seen.points[j], seen.rungs[j], HYPER) for j in range(n)]
            for i in range(n)
        ]
    ) + np.eye(n) * (HYPER.noise**2 + surrogate.JITTER)
    across = np.array([[kernel(x, 1, seen.points[j], seen.rungs[j], HYPER) for j in range(n)] for x in new])
    own = np.array([kernel(x, 1, x, 1, HYPER) for x in new])
    mean = across @ np.linalg.solve(k, (seen.values - HYPER.shift) / HYPER.scale) * HYPER.scale + HYPER.shift
    sd = np.sqrt(own - np.einsum("ij,ji->i", across, np.linalg.solve(k, across.T))) * HYPER.scale
    found_mean, found_sd = Posterior(seen, HYPER).predict(new)
    assert found_mean == pytest.approx(mean, abs=1e-4)
    assert found_sd == pytest.approx(sd, abs=1e-3)


@pytest.mark.parametrize("groups", [None, [0, 1, 1]])
@pytest.mark.parametrize("rungs", [1, 3])
def test_the_gradient_is_the_derivative(rungs, groups):
    seen = data(15, rungs=rungs)
    seen = replace(seen, groups=None if groups is None else np.array(groups))
    depths = np.log(np.array([1.0, 4.0, 16.0])[:rungs])
    problem = surrogate._Problem(seen, depths, (seen.values - 2) / 0.5, 0.1)
    theta = problem.centre + 0.3 * np.random.default_rng(2).standard_normal(len(problem.centre))
    numeric = approx_fprime(theta, lambda t: problem(t)[0], 1e-6)
    assert problem(theta)[1] == pytest.approx(numeric, abs=1e-3)


def test_columns_of_one_feature_share_a_length():
    seen = replace(data(25), groups=np.array([0, 1, 1]))
    lengths = fit(seen, (1.0,)).lengths
    assert lengths[1] == lengths[2] != lengths[0]
    alone = fit(replace(seen, groups=None), (1.0,)).lengths
    assert alone[1] != alone[2]
    assert seen.subset(np.arange(3)).groups is seen.joined(seen).groups is seen.groups


def test_a_fit_explains_unseen_values_and_knows_how_well():
    seen, unseen = data(40), data(300, seed=9, noise=0.0)
    mean, sd = Posterior(seen, fit(seen, (1.0,))).predict(unseen.points)
    assert 1 - np.var(mean - unseen.values) / np.var(unseen.values) > 0.97
    assert 0.7 < np.std((mean - unseen.values) / sd) < 1.5


def test_short_trials_inform_of_long_ones():
    rng = np.random.default_rng(0)
    points = rng.random((60, 3))
    truth = np.sin(3 * points[:, 0]) + points[:, 1] ** 2
    short = Observations(points[:50], np.zeros(50, dtype=int), 0.5 * truth[:50] + 0.02 * rng.standard_normal(50))
    long = Observations(points[50:54], np.ones(4, dtype=int), truth[50:54] + 0.02 * rng.standard_normal(4))
    errors = {}
    for name, seen in (("both", short.joined(long)), ("long only", long)):
        mean, _ = Posterior(seen, fit(seen, (512.0, 2048.0))).predict(points[:50])
        errors[name] = np.std(mean - truth[:50])
    assert errors["both"] < 0.5 * errors["long only"]


def test_pending_rows_shrink_the_doubt_and_leave_the_mean():
    seen, rng = data(20), np.random.default_rng(3)
    hyper = fit(seen, (1.0,))
    posterior, pending = Posterior(seen, hyper), rng.random((3, 3))
    believing = posterior.with_pending(pending)
    new = rng.random((40, 3))
    (mean, sd), (mean_after, sd_after) = posterior.predict(new), believing.predict(new)
    assert mean_after == pytest.approx(mean, abs=2e-3)
    assert (sd_after <= sd + 1e-3).all()
    assert believing.predict(pending)[1].max() < posterior.predict(pending)[1].max()


def test_leading_eigenvectors_keep_the_doubt_of_many_observations():
    seen = data(surrogate.MAX_RANK + 150)
    hyper = fit(seen, (1.0,))
    new = np.random.default_rng(4).random((200, 3))
    many = Posterior(seen, hyper).predict(new)
    surrogate_rank = surrogate.MAX_RANK
    try:
        surrogate.MAX_RANK = len(seen)
        exact = Posterior(seen, hyper).predict(new)
    finally:
        surrogate.MAX_RANK = surrogate_rank
    assert many[0] == pytest.approx(exact[0], abs=1e-6)
    assert (many[1] >= exact[1] - 1e-3).all()
    assert np.abs(many[1] - exact[1]).max() < 0.1 * hyper.noise * hyper.scale


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [1.0, 1.0 + 1e-15]])
def test_one_value_or_equal_values_are_fitted(values):
    seen = Observations(np.random.default_rng(0).random((len(values), 2)), np.zeros(len(values), int), np.array(values))
    mean, sd = Posterior(seen, fit(seen, (1.0,))).predict(np.random.default_rng(1).random((5, 2)))
    assert mean == pytest.approx(np.full(5, values[0]), abs=0.5)
    assert np.isfinite(sd).all()
