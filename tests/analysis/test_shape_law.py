"""How a dial's best value moves with compute: found again where it is known, intervals that cover, refused where there is too little."""

import math

import numpy as np
import pytest

from halosearch.analysis.log_sum import jacobian, log_loss
from halosearch.analysis.shape_law import ShapeLosses, _Terms, fit_shape, missed_without
from halosearch.errors import UsageError

VALUES, COMPUTES = (1.0, 2.0, 4.0, 8.0, 16.0), np.geomspace(1.0, 64.0, 4)
SLOPE = 0.35 / (0.6 + 0.5)


def loss_of(x, t):
    return 0.3 * x**-0.6 + (0.02 * x**0.5 + 0.1) * t**-0.35 + 0.4


def drawn(seed, noise, seeds=3, values=VALUES, computes=COMPUTES):
    rng = np.random.default_rng(seed)
    x, t = (np.repeat(axis.ravel(), seeds) for axis in np.meshgrid(values, computes))
    loss = loss_of(x, t) * np.exp(noise * rng.normal(size=len(x)))
    return ShapeLosses(x, t, loss, np.arange(len(x)).astype(str))


def test_a_law_without_noise_is_found_and_its_best_value_is_that_of_a_fine_grid():
    law = fit_shape(drawn(0, 1e-5))
    assert law.slope == pytest.approx(SLOPE, rel=0.02)
    grid = np.geomspace(0.01, 10_000, 200_001)
    for compute in (1.0, 64.0, 1000.0):
        assert law.best(compute) == pytest.approx(grid[loss_of(grid, compute).argmin()], rel=0.05)
    assert law.predict(np.array([3.0]), np.array([10.0])) == pytest.approx([loss_of(3.0, 10.0)], rel=1e-3)


@pytest.mark.parametrize(
    "draws",
    [
        pytest.param(30, id="30", marks=pytest.mark.slow),
        pytest.param(200, id="200", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_intervals_of_the_exponent_hold_it_in_95_of_100_laws(draws):
    held = decided = 0
    for seed in range(draws):
        law = fit_shape(drawn(seed, 0.005))
        held += (law.low is None or law.low <= SLOPE) and (law.high is None or law.high >= SLOPE)
        decided += law.decided
    assert held / draws >= 0.95 - 2.5 * math.sqrt(0.95 * 0.05 / draws)
    assert decided > 0.9 * draws, "an interval that is always open holds everything"


def test_where_the_dial_does_nothing_the_exponent_is_not_held():
    rng = np.random.default_rng(3)
    data = drawn(3, 0.0)
    flat = (0.4 + 0.3 * data.compute_R**-0.3) * np.exp(0.005 * rng.normal(size=len(data.loss_R)))
    law = fit_shape(ShapeLosses(data.value_R, data.compute_R, flat, data.runs_R))
    assert not law.decided


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["falls", "rises"])
def test_a_loss_without_a_minimum_in_the_dial_holds_no_exponent(kind, seed):
    data, rng = drawn(seed, 0.0), np.random.default_rng(seed)
    x, t = data.value_R, data.compute_R
    loss = 0.3 * x**-0.6 + 0.1 * t**-0.35 + 0.4 if kind == "falls" else (0.02 * x**0.5 + 0.1) * t**-0.35 + 0.4
    law = fit_shape(ShapeLosses(x, t, loss * np.exp(0.002 * rng.normal(size=len(x))), data.runs_R))
    assert not law.decided


@pytest.mark.slow
def test_lengths_of_one_run_do_not_make_the_interval_narrow():
    """Rows of a run share most of their noise; the interval holds in 95 of 100."""
    held = 0
    for seed in range(30):
        rng, data = np.random.default_rng(seed), drawn(seed, 0.001)
        runs = np.array([f"{x:g}-{n % 3}" for n, x in enumerate(data.value_R)])
        shared = {run: 0.004 * rng.normal() for run in set(runs)}
        law = fit_shape(
            ShapeLosses(data.value_R, data.compute_R, data.loss_R * np.exp([shared[run] for run in runs]), runs)
        )
        held += (law.low is None or law.low <= SLOPE) and (law.high is None or law.high >= SLOPE)
    assert held / 30 >= 0.95 - 2.5 * math.sqrt(0.95 * 0.05 / 30)


def test_rows_said_five_times_are_no_more_runs():
    data = drawn(5, 0.005)
    often = ShapeLosses(*(np.repeat(each, 5) for each in (data.value_R, data.compute_R, data.loss_R, data.runs_R)))
    once, five = fit_shape(data), fit_shape(often)
    assert (five.low, five.high) == pytest.approx((once.low, once.high), rel=0.02)


def test_a_best_value_that_stays_misses_more_where_it_moves():
    data = drawn(4, 0.003)
    moving, still = missed_without(data, fit_shape(data))
    assert moving == pytest.approx(0.003, rel=0.3)
    assert still > 1.5 * moving


def test_slopes_of_the_terms_are_those_of_differences():
    rng = np.random.default_rng(5)
    terms = _Terms(rng.normal(size=7), rng.normal(size=7))
    values = np.array([-1.0, -0.5, -2.0, -1.5, 0.6, 0.4, 0.3])
    step = 1e-6
    for place in range(7):
        up, down = values.copy(), values.copy()
        up[place] += step
        down[place] -= step
        numeric = (log_loss(terms, up) - log_loss(terms, down)) / (2 * step)
        assert jacobian(terms, values)[:, place] == pytest.approx(numeric, abs=1e-7)


@pytest.mark.parametrize(
    ("values", "computes", "why"),
    [((1.0, 2.0, 4.0), COMPUTES, "3 values"), (VALUES, COMPUTES[:2], "2 amounts"), ((), (), "0 values")],
)
def test_too_little_is_refused_with_the_reason(values, computes, why):
    with pytest.raises(UsageError, match=why):
        fit_shape(drawn(0, 0.01, values=values, computes=computes))


def test_what_has_no_logarithm_is_refused():
    data = drawn(0, 0.01)
    with pytest.raises(UsageError, match="positive"):
        fit_shape(ShapeLosses(data.value_R - 1.0, data.compute_R, data.loss_R, data.runs_R))
