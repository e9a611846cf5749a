"""What an evaluation makes of memory that runs out: smaller parts of a batch first, then an infeasible row."""

import pytest
import torch

from halosearch.cost.timing import TimingPlan
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.scenes import Scenes
from halosearch.proxy.recipe import Recipe
from halosearch.record.evaluation import REFERENCE, RETEST, STEP_TIME, TRIAL, Evaluation
from halosearch.run import evaluate
from halosearch.run.evaluate import Settings, _evaluate
from halosearch.run.protocol import ProcessBrokenError

DIALS = {
    "image_size": 48,
    "block_size": 6,
    "halo_size": 1,
    "value_ratio": 1.0,
    "expansion_ratio": 1.0,
    "stage3_depth": 1,
    "final_width": 0,
    "heads": "published",
    "conv_stages": 2,
}


class World:
    def should_stop(self):
        return False

    def report(self, images, total, loss):
        pass


class Exhausting(Scenes):
    """Scenes on a device whose allocator fails the first times that a training batch is asked for."""

    def __init__(self, failures, error):
        super().__init__("scenes-easy-1", 0, 16)
        self.failures, self.error = failures, error

    def batch(self, split, ids, image_size, augment_key):
        if self.failures:
            self.failures -= 1
            raise self.error
        return super().batch(split, ids, image_size, augment_key)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    MemoryError(),
]


def evaluated(data, tmp_path):
    request = DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path)
    settings = Settings(request, Recipe(batch=16), (64,), 0.125, TimingPlan(2, 2), "cpu", 1, tmp_path)
    return _evaluate(settings, data, Evaluation(0, RETEST, DIALS, trial=0), World())


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
def test_memory_that_runs_out_is_answered_with_smaller_parts_and_then_recorded(error, tmp_path):
    assert evaluated(Exhausting(0, error), tmp_path)["batch_parts"] == 1
    retried = evaluated(Exhausting(2, error), tmp_path)
    assert (retried["state"], retried["batch_parts"]) == ("complete", 4)
    given_up = evaluated(Exhausting(99, error), tmp_path)
    assert given_up["state"] == "infeasible"
    assert given_up["reason"] == "out of memory on cpu"
    assert "score" not in given_up


def test_any_other_error_is_not_taken_for_memory(tmp_path):
    with pytest.raises(RuntimeError, match="shape"):
        evaluated(Exhausting(1, RuntimeError("shape mismatch")), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("timed", "kind", "measures"),
    [
        ("all", TRIAL, True),
        ("front", TRIAL, False),
        ("front", REFERENCE, True),
        ("none", REFERENCE, False),
    ],
)
def test_a_step_is_timed_with_its_training_or_alone_or_not_at_all(timed, kind, measures, tmp_path):
    request = DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path)
    settings = Settings(request, Recipe(batch=16), (16,), 0.125, TimingPlan(2, 2), "cpu", 1, tmp_path, timed=timed)
    found = _evaluate(settings, Scenes("scenes-easy-1", 0, 16), Evaluation(0, kind, DIALS, trial=0), World())
    assert ("step_time" in found) == ("parts" in found) == measures
    assert ("zero_cost" in found) == (kind == TRIAL)
    assert found["state"] == "complete"


@pytest.mark.slow
def test_a_step_time_alone_trains_nothing(tmp_path):
    request = DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path)
    settings = Settings(request, Recipe(), (16,), 0.125, TimingPlan(2, 2), "cpu", 1, tmp_path, timed="front")
    found = _evaluate(settings, None, Evaluation(0, STEP_TIME, DIALS, trial=0), World())
    assert set(found) == {"step_time", "parts", "state", "seconds"}


@pytest.mark.parametrize(("stops", "known", "scored"), [(True, 5, [16, 32]), (False, 0, [16, 32]), (False, 5, [32])])
def test_lower_rungs_are_scored_where_they_stop_a_trial_or_tell_of_the_proxy(stops, known, scored, tmp_path):
    request = DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path)
    plan = TimingPlan(2, 2)
    settings = Settings(
        request, Recipe(batch=16), (16, 32), 0.125, plan, "cpu", 1, tmp_path, timed="none", zero_cost=False, stops=stops
    )
    row = Evaluation(0, TRIAL, DIALS, trial=0, rung=1, known=known)
    found = _evaluate(settings, Scenes("scenes-easy-1", 0, 16), row, World())
    assert [score["images_seen"] for score in found["scores"]] == scored
    again = _evaluate(settings, Scenes("scenes-easy-1", 0, 16), Evaluation(0, TRIAL, DIALS, trial=0, rung=1), World())
    assert found["score"] == again["score"]  # what is scored on the way changes nothing


def test_a_score_that_decides_nothing_fails_nothing_unless_the_process_is_broken(monkeypatch, tmp_path):
    from halosearch.run import evaluate

    class OutOfResourcesError(Exception):
        """Triton's, which is no RuntimeError."""

    def raising(error):
        def scores(*_):
            raise error

        return scores

    plain = Settings(
        DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path), Recipe(batch=16), (32,), 0.125, TimingPlan(2, 2, anchor_size=32),
        "cpu", 1, tmp_path, timed="none",
    )  # fmt: skip
    data, row = Scenes("scenes-easy-1", 0, 16), Evaluation(0, TRIAL, DIALS, trial=0)
    monkeypatch.setattr(evaluate, "zero_cost_scores", raising(OutOfResourcesError("out of resource: shared memory")))
    found = _evaluate(plain, data, row, World())
    assert (found["state"], found["zero_cost"]) == ("complete", {})
    monkeypatch.setattr(evaluate, "zero_cost_scores", raising(RuntimeError("CUDA error: misaligned address")))
    with pytest.raises(RuntimeError, match="misaligned"):
        _evaluate(plain, data, row, World())


def test_a_fault_of_the_gpu_s_context_ends_the_process_of_the_evaluation(tmp_path, monkeypatch):
    def raising(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    request = DataRequest("scenes-easy-1", 0, 64, 16, 48, tmp_path)
    settings = Settings(request, Recipe(batch=16), (64,), 0.125, TimingPlan(2, 2), "cpu", 1, tmp_path)
    monkeypatch.setattr(
        torch, "set_flush_denormal", lambda _: None
    )  # of the whole process, whose other tests want them
    evaluated_by = evaluate.make_evaluate(settings)
    monkeypatch.setattr(evaluate, "_evaluate", raising)
    with pytest.raises(ProcessBrokenError, match=r"illegal memory access was encountered$"):
        evaluated_by(Evaluation(0, RETEST, DIALS, trial=0), World())
