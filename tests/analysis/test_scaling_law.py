"""Scaling laws: found again where they are known, in published data, refused where there is too little, intervals that cover."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halosearch.analysis.law_choice import check_losses, check_trainings, choose_law, noise_of, sizes_of
from halosearch.analysis.scaling_law import (
    Losses,
    bootstrap,
    fit_law,
    fitted_with,
    forecast,
    limit_of,
    profile_intervals,
)
from halosearch.analysis.scaling_region import joint_region
from halosearch.errors import UsageError
from halosearch.report.law_summary import law_summary

TRUE = {"E": 0.5, "alpha": 0.4, "beta": 0.5}
SIZES, LENGTHS = (2e6, 4e6, 8e6, 16e6, 32e6), (512.0, 1024.0, 2048.0, 4096.0)


def loss_of(params, images):
    return 0.5 + 0.15 * (params / 1e7) ** -0.4 + 0.25 * (images / 3000) ** -0.5


def drawn(rng, noise, seeds=2, sizes=SIZES, lengths=LENGTHS):
    """Losses of a law with multiplicative noise: every size at every length, several seeds."""
    params, images = (np.repeat(axis.ravel(), seeds) for axis in np.meshgrid(sizes, lengths))
    loss = loss_of(params, images) * np.exp(noise * rng.normal(size=len(params)))
    return Losses(params, images, loss, np.arange(len(params)).astype(str))


def test_a_law_without_noise_is_found_to_many_digits():
    law = fit_law(drawn(np.random.default_rng(0), 0.0), delta=1e-3)
    found = law.coefficients()
    assert {name: found[name] for name in TRUE} == pytest.approx(TRUE, rel=1e-4)
    assert float(law.predict(1e8, 1e5)) == pytest.approx(loss_of(1e8, 1e5), rel=1e-5)


def test_the_published_points_of_chinchilla_give_what_their_authors_print():
    """Besiroglu et al. (arXiv:2404.10102, their notebook): 240 of 245 points, Huber delta 1e-3 on ln L, D = FLOP / 6N."""
    path = Path(__file__, "../../../benchmarks/published/chinchilla.csv").resolve()
    table = pd.read_csv(path, comment="#")
    assert len(table) == 245
    table = table.sort_values("loss").iloc[:-5]
    data = Losses(*(table[name].to_numpy(float) for name in ("params", "images", "loss")), np.arange(240).astype(str))
    law = fit_law(data, delta=1e-3)
    found = law.coefficients()
    printed = {"E": 1.8172225, "A": 477.92377, "B": 2143.06903, "alpha": 0.34732267, "beta": 0.36716416}
    assert found == pytest.approx(printed, rel=1e-3)
    # the paper's table 1: standard errors 0.03, 0.02, 0.02 by bootstrap
    laws = bootstrap(data, law, 100)
    for name, error in (("E", 0.03), ("alpha", 0.02), ("beta", 0.02)):
        assert np.std([each.coefficients()[name] for each in laws]) == pytest.approx(error, rel=0.35)
    for name, ends in profile_intervals(data, law).items():
        assert ends.low < printed[name] < ends.high


@pytest.mark.slow
@pytest.mark.parametrize("draws", [pytest.param(40, id="40"), pytest.param(200, id="200", marks=pytest.mark.long)])
def test_intervals_hold_the_true_exponents_in_95_of_100_laws(draws):
    """Noise of 1 %, 40 losses; within the error of so many draws."""
    held = dict.fromkeys(TRUE, 0)
    for seed in range(draws):
        data = drawn(np.random.default_rng(seed), 0.01)
        for name, ends in profile_intervals(data, fit_law(data)).items():
            above = ends.low is None or ends.low <= TRUE[name]
            held[name] += above and (ends.high is None or TRUE[name] <= ends.high)
    error = 2.5 * math.sqrt(0.95 * 0.05 / draws)
    for name, n in held.items():
        assert 0.95 - error <= n / draws, (name, n)
    if draws >= 200:
        assert 0.93 <= sum(held.values()) / (3 * draws) <= 0.97 + error


@pytest.mark.slow
@pytest.mark.parametrize("draws", [pytest.param(12, id="12"), pytest.param(100, id="100", marks=pytest.mark.long)])
def test_the_forecast_s_interval_holds_the_true_loss_of_twice_the_largest_budget(draws):
    held, params, images = 0, 2 * SIZES[-1], 2 * LENGTHS[-1]
    for seed in range(draws):
        data = drawn(np.random.default_rng(seed), 0.01)
        law = fit_law(data)
        _, low, high = forecast(bootstrap(data, law, 100, seed), law, params, images, len(set(data.runs_R)))
        held += low <= loss_of(params, images) <= high
    assert held / draws >= 0.95 - 2.5 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.slow
def test_runs_are_drawn_whole():
    """Rows of a run share their noise: an interval that took them for independent would be half as wide."""
    rng = np.random.default_rng(3)
    one = drawn(rng, 0.0, seeds=1)
    shared = {(p, s): 0.02 * rng.normal() for p in SIZES for s in range(4)}
    params, images = np.repeat(one.params_R, 4), np.repeat(one.images_R, 4)
    seeds = np.tile(np.arange(4), len(one.params_R))
    noise = np.array([shared[p, s] for p, s in zip(params, seeds, strict=True)])
    runs = np.array([f"{p}-{s}" for p, s in zip(params, seeds, strict=True)])
    loss = loss_of(params, images) * np.exp(noise)
    whole, apart = Losses(params, images, loss, runs), Losses(params, images, loss, np.arange(len(loss)).astype(str))
    law = fit_law(whole)
    widths = []
    for data in (whole, apart):
        _, low, high = forecast(bootstrap(data, law, 200), law, 6.4e7, 4096.0, len(set(data.runs_R)))
        widths.append(math.log(high / low))
    assert widths[0] > 1.4 * widths[1]


def test_the_form_is_the_one_that_says_best_what_it_has_not_seen():
    rng = np.random.default_rng(4)
    both = drawn(rng, 0.003)
    assert choose_law(both).law.form == "params and images"
    flat = Losses(
        both.params_R,
        both.images_R,
        (0.5 + 0.2 * (both.images_R / 3000) ** -0.5) * np.exp(0.003 * rng.normal(size=40)),
        both.runs_R,
    )
    found = choose_law(flat)
    assert found.missed["images"] < found.missed["params"]
    assert set(found.missed) == {"params and images", "params", "images", "nothing"}
    still = Losses(both.params_R, both.images_R, 0.8 * np.exp(0.01 * rng.normal(size=40)), both.runs_R)
    assert choose_law(still).missed["nothing"] <= min(choose_law(still).missed.values()) + 0.005


def test_the_region_s_neighbours_lead_to_the_fits_that_the_law_leads_to():
    data = drawn(np.random.default_rng(5), 0.01, sizes=(5e6, 1e7, 2e7, 4e7))
    law = fit_law(data)
    region, limit = joint_region(data, law), limit_of(data, law, 2)
    for i, j in ((0, 0), (3, 20), (8, 8), (12, 1), (14, 14), (20, 23), (24, 24)):
        _, cost = fitted_with(data, law, math.log(max(region["E"][i], 1e-9)), region["alpha"][j])
        assert law.cost + region["share"][i][j] * (limit - law.cost) == pytest.approx(cost, rel=1e-5)


@pytest.mark.slow
def test_e_and_alpha_of_one_decade_are_held_together_only():
    """The region is a valley: alpha may be anything between ends several times apart, if E follows."""
    data = drawn(np.random.default_rng(5), 0.01, sizes=(5e6, 1e7, 2e7, 4e7))
    region = joint_region(data, fit_law(data))
    share = np.array(region["share"])
    inside = [np.array(region["alpha"])[row <= 1] for row in share if (row <= 1).any()]
    assert min(each.min() for each in inside) < 0.6 * max(each.max() for each in inside)
    ends = [np.array(region["E"])[column <= 1] for column in share.T if (column <= 1).any()]
    assert ends[0].mean() < ends[-1].mean()


def refused(data):
    with pytest.raises(UsageError) as error:
        check_losses(data)
    assert error.value.hint
    return str(error.value)


def test_too_little_is_refused_with_the_reason():
    rng = np.random.default_rng(6)
    assert "4 different sizes" in refused(drawn(rng, 0.01, sizes=(1e6, 2e6), lengths=(512.0, 1024.0)))
    assert "no law is to be seen" in refused(drawn(rng, 0.3))
    data = drawn(rng, 0.01)
    assert "positive" in refused(Losses(data.params_R, data.images_R, -data.loss_R, data.runs_R))
    check_losses(data)


def test_points_along_one_training_are_no_trainings_of_that_length():
    data = drawn(np.random.default_rng(7), 0.01)
    check_trainings(data)
    with pytest.raises(UsageError, match="points along one training"):
        check_trainings(Losses(data.params_R, data.images_R, data.loss_R, np.repeat(["a", "b"], 20)))


def test_truncated_schedules_bend_the_exponent_which_is_why_they_are_refused():
    """A loss read before the cooldown is higher by a share that falls with length: beta comes out steeper than it is."""
    data = drawn(np.random.default_rng(8), 0.002)
    truncated = data.loss_R * (1 + 0.3 * (data.images_R.max() / data.images_R - 1) / 8)
    right = fit_law(data).coefficients()["beta"]
    wrong = fit_law(Losses(data.params_R, data.images_R, truncated, data.runs_R)).coefficients()["beta"]
    assert wrong > right + 0.1


def test_a_head_left_out_of_the_count_bends_the_exponent_which_is_why_parameters_are_whole():
    data = drawn(np.random.default_rng(9), 0.002)
    right = fit_law(data).coefficients()["alpha"]
    wrong = fit_law(Losses(data.params_R - 1.5e6, data.images_R, data.loss_R, data.runs_R)).coefficients()["alpha"]
    assert wrong < right - 0.1


def test_noise_is_that_of_equal_budgets_and_near_sizes_are_one():
    data = drawn(np.random.default_rng(10), 0.02, seeds=20)
    assert noise_of(data) == pytest.approx(0.02, rel=0.15)
    assert noise_of(drawn(np.random.default_rng(10), 0.02, seeds=1)) is None
    assert sizes_of(np.array([1.0, 1.04, 2.0, 2.05, 4.0])) == [1.0, 2.0, 4.0]


def test_a_constant_has_an_interval_too():
    data = drawn(np.random.default_rng(11), 0.02, sizes=(1e7,), lengths=(1e4,), seeds=30)
    law = fit_law(data, "nothing")
    ends = profile_intervals(data, law)["E"]
    true = loss_of(1e7, 1e4)
    assert ends.low < true < ends.high
    assert ends.high / ends.low == pytest.approx(math.exp(2 * 2.045 * 0.02 / math.sqrt(30)), rel=0.3)


def test_lengths_that_are_too_few_for_an_exponent_are_not_pooled():
    """Three lengths: only the longest is fitted, and that is said; pooled, they would bend the law of sizes."""
    data = drawn(np.random.default_rng(12), 0.005, lengths=LENGTHS[:3])
    choice = choose_law(data)
    assert set(choice.used.images_R) == {2048.0}
    assert "Only one of 3 lengths is fitted (2,048)" in choice.left_out
    law = choice.law
    assert float(law.predict(4e6, 2048.0)) == pytest.approx(loss_of(4e6, 2048.0), rel=0.02)
    ahead = law_summary(data, ["here"], cooled=True)["forecast"]
    assert (ahead["params"], ahead["images"]) == (2 * SIZES[-1], 2048.0)  # of another length it knows nothing


def test_equal_budgets_hold_out_the_largest_networks():
    sizes = np.array(SIZES)
    data = Losses(
        np.repeat(sizes, 2),
        np.repeat(1e11 / sizes, 2),
        np.repeat(loss_of(sizes, 1e11 / sizes), 2),
        np.arange(10).astype(str),
    )
    assert choose_law(data).held_out == 4  # and the longest trainings, which are of the smallest


@pytest.mark.slow
def test_rows_of_a_run_that_vary_together_do_not_make_an_interval_narrow():
    """Runs share 1 % of noise over four lengths, and have little of their own: the interval of alpha still holds."""
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = drawn(rng, 0.003)
        runs = np.array([f"{p}-{n % 2}" for n, p in enumerate(data.params_R)])
        shared = {run: 0.01 * rng.normal() for run in set(runs)}
        data = Losses(data.params_R, data.images_R, data.loss_R * np.exp([shared[run] for run in runs]), runs)
        ends = profile_intervals(data, fit_law(data))["alpha"]
        held += (ends.low is None or ends.low <= 0.4) and (ends.high is None or ends.high >= 0.4)
    assert held >= 40 * 0.95 - 2.5 * math.sqrt(40 * 0.95 * 0.05)


@pytest.mark.slow
def test_an_interval_whose_fits_from_one_side_end_in_a_worse_optimum_is_found_all_the_same():
    """Losses of one length at which the profile's search once met two ends on the same side of its limit; and others like them."""
    sizes = np.geomspace(4e6, 128e6, 6)
    given = [np.array([0.6912, 0.6188, 0.5559, 0.5201, 0.4735, 0.4362])]
    for seed in range(12):
        given.append((0.3 + 30 * sizes**-0.3) * np.exp(0.02 * np.random.default_rng(seed).normal(size=6)))
    for loss in given:
        data = Losses(sizes, np.full(6, 2048.0), loss, np.arange(6).astype(str))
        law = fit_law(data, "params")
        for name, ends in profile_intervals(data, law).items():
            value = law.coefficients()[name]
            assert ends.low is None or ends.low <= value
            assert ends.high is None or value <= ends.high


def test_the_form_is_not_left_to_one_noisy_loss():
    """Losses that fall with images alone, one of the largest budget far off: images all the same."""
    rng, right = np.random.default_rng(0), 0
    for _ in range(6):
        params, images = (each.ravel() for each in np.meshgrid([4e6, 8e6, 16e6, 32e6], [256.0, 512, 1024, 2048]))
        loss = (0.5 + 4 * images**-0.4) * np.exp(0.02 * rng.normal(size=16))
        loss[-1] *= 1.1
        right += "images" in choose_law(Losses(params, images, loss, np.arange(16).astype(str))).law.form
    assert right >= 5


def test_what_is_asked_for_is_forecast_and_too_few_trainings_have_no_interval():
    data = drawn(np.random.default_rng(3), 0.01, sizes=(1e7,))
    found = law_summary(data, ["here"], cooled=True, target=(6.4e7, None))
    assert found["forecast"]["params"] == 6.4e7
    one_run = Losses(data.params_R, data.images_R, data.loss_R, np.array(["a", "b"] * (len(data.loss_R) // 2)))
    found = law_summary(one_run, ["here"], cooled=True)
    assert found["forecast"]["low"] is None
    assert found["band"] == []
    assert any("2 trainings cannot hold a law of" in sentence for sentence in found["answer"])


def test_the_length_with_enough_sizes_is_fitted_and_what_is_left_is_checked_again():
    sizes = np.geomspace(4e6, 128e6, 6)
    loss = 0.3 + 30 * sizes**-0.3
    for more in (1, 2):  # rows of a longer training, too few to fit
        params, images = np.append(sizes, sizes[:more]), np.append(np.full(6, 1000.0), np.full(more, 2000.0))
        data = Losses(params, images, np.append(loss, 0.9 * loss[:more]), np.arange(6 + more).astype(str))
        choice = choose_law(data)
        assert "(1,000)" in choice.left_out
        assert len(choice.used.loss_R) == 6


def test_losses_without_noise_have_no_interval_and_no_crash():
    data = drawn(np.random.default_rng(13), 0.0)
    law = fit_law(data, delta=1e-3)
    assert all(ends.low is None for ends in profile_intervals(data, law).values()) or law.cost > 1e-12
    with pytest.raises(UsageError, match="no losses"):
        check_losses(Losses(*(np.array([]) for _ in range(4))))
