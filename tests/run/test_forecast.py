"""What a study would cost, from speeds given by hand."""

import pytest
import torch

from halosearch.cost.pools import pool_of
from halosearch.run import forecast as module
from halosearch.run.begin import Request, resolve
from halosearch.run.forecast import forecast, images_shown
from halosearch.search.design import price_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    said = {"budget": {"params": 6_000_000}, "name": "by-hand", "workers": 2}
    spec, *_ = resolve(Request(None, tmp_path_factory.mktemp("by-hand"), said, print), lambda name: "cpu")
    return spec, pool_of(spec)


def test_the_whole_is_the_sum_of_its_parts_over_the_workers(study):
    spec, pool = study
    speeds = iter([(100.0, 0.5, 8.0), (50.0, 1.0, 10.0), (20.0, 2.0, 20.0)])

    def probe(_, config, device):
        speed, begin, timing = next(speeds)
        assert device == torch.device("cpu")
        return {
            "candidate": config.image_size,
            "step_time_s": {},
            "twin_images_per_s": speed,
            "begin_s": begin,
            "timing_s": timing,
        }

    found = forecast(spec, pool, probe)
    price = price_of(spec)
    jobs = price.whole + spec.preset.rungs[0] / spec.preset.rungs[-1] * (price.searched - price.promoted)
    slow = (jobs * (images_shown(spec) / 20 + 2.0) + price.timings * 20.0) / 2
    fast = (jobs * (images_shown(spec) / 100 + 0.5) + price.timings * 8.0) / 2
    assert found["study_seconds"] == pytest.approx([fast, slow])
    assert sum(low for low, _ in found["parts"].values()) == pytest.approx(fast)
    assert found["probes"][0]["trial_s"] == pytest.approx(images_shown(spec) / 100 + 0.5)
    assert found["promised_s"] == 600


def test_a_probe_trains_as_a_trial_does(study, monkeypatch):
    """The study's recipe, batch and pictures, on the candidate's own twin."""
    spec, pool = study
    seen = []
    plain = module.Trainer

    def watched(job, data, device, **more):
        seen.append((job.recipe.batch, job.recipe.learning_rate, job.config.image_size, data.dense != ()))
        return plain(job, data, device, **more)

    monkeypatch.setattr(module, "Trainer", watched)
    config = module._at_quantile(pool, 0.0)
    speed, begin = module.twin_speed(spec, config, torch.device("cpu"))
    assert seen == [(spec.preset.batch, spec.preset.learning_rate, config.image_size, True)]
    assert speed > 0
    assert begin >= 0
