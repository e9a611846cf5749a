import numpy as np
import pytest

from halosearch.analysis.attainment import attainment, true_scores


def test_without_noise_the_front_is_certain_and_the_band_is_the_line():
    found = attainment([0.1, 0.3, 0.2, 0.3], [1.0, 2.0, 3.0, 4.0], [1] * 4, 0.0)
    assert found.on_front == (1.0, 1.0, 0.0, 0.0)
    assert [point[1:] for point in found.band] == [(0.1,) * 3, (0.3,) * 3, (0.3,) * 3, (0.3,) * 3]


def test_equal_candidates_share_the_front():
    found = attainment([0.2] * 4 + [0.9, 0.1], [1.0] * 4 + [2.0, 0.5], [1] * 6, 0.1, draws=20_000)
    four = np.array(found.on_front[:4])
    assert four.sum() == pytest.approx(four[0] * 4, abs=0.05)
    assert found.on_front[5] == 1.0


def test_noise_widens_the_band_and_more_seeds_narrow_it():
    rng = np.random.default_rng(0)
    scores, costs = rng.random(20).tolist(), rng.random(20).tolist()

    def width(noise, seeds):
        return np.mean([high - low for _, low, _, high in attainment(scores, costs, [seeds] * 20, noise).band])

    assert width(0.0, 1) == 0 < width(0.05, 4) < width(0.05, 1) < width(0.2, 1)


def test_true_scores_are_shrunk_as_far_as_noise_spread_them():
    """Against a simulation: candidates with known truths, measured once; the drawn means must come nearer than the measured ones."""
    rng = np.random.default_rng(1)
    truth = 0.3 * rng.standard_normal(400)
    measured = truth + 0.3 * rng.standard_normal(400)
    drawn = true_scores(measured.tolist(), [1] * 400, 0.3, draws=500)
    assert np.std(drawn.mean(0) - truth) < 0.8 * np.std(measured - truth)
    assert np.mean([drawn[:, i].std() for i in range(400)]) == pytest.approx(np.std(drawn.mean(0) - truth), rel=0.15)


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5], [0.1, 0.2]])
def test_few_candidates_are_no_error(scores):
    found = attainment(scores, [1.0] * len(scores), [1] * len(scores), 0.05)
    assert max(found.on_front) > 0
