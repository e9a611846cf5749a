"""What a study would cost, from speeds given by hand."""

import json
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from halosearch.cost.pools import pool_of
from halosearch.run import forecast as module
from halosearch.run.begin import Request, resolve
from halosearch.run.forecast import forecast, images_shown
from halosearch.search.design import price_of

ROOT = Path(__file__).parent.parent.parent


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


def test_a_gpu_s_hour_from_the_speeds_that_one_had_is_what_the_docs_say(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=141e9))
    rows = json.loads((ROOT / "benchmarks/results/study-h200.json").read_text())["rows"]
    rates = sorted(row["images_per_s"] for row in rows)
    said = {"budget": {"params": 20_000_000}, "name": "by-hand", "preset": {"name": "gpu-1h"}, "workers": 1}
    spec, *_ = resolve(Request(None, tmp_path, said, print), lambda name: "cuda")
    speeds = iter([rates[-1], statistics.median(rates), rates[0]])

    def probe(_, config, device):
        assert device.type == "cuda"
        return {
            "candidate": str(config),
            "step_time_s": {},
            "twin_images_per_s": next(speeds),
            "begin_s": 1.5,
            "timing_s": 26.0,
        }

    found = forecast(spec, pool_of(spec), probe)
    parts, whole = found["parts"], [round(seconds / 60) for seconds in found["study_seconds"]]
    trainings, beginnings, timings = (
        [round(seconds / 60) for seconds in parts[f"{name}_s"]] for name in ("trainings", "beginnings", "timings")
    )
    median = round((123 * found["probes"][1]["trial_s"] + parts["timings_s"][0]) / 60)
    said = (ROOT / "docs/gpu.md").read_text()
    assert (
        f"trainings {trainings[0]} to {trainings[1]} minutes, beginnings {beginnings[0]}, timings {timings[0]}; "
        in said
    )
    assert f"**together {whole[0]} to {whole[1]} minutes**, {median} at the median speed" in said
