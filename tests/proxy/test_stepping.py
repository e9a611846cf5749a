"""How steps are taken: what is put back is what was there, and looking later changes nothing."""

import numpy as np
import pytest
import torch

from halosearch.families.known import parse_candidate, twin_of
from halosearch.proxy import stepping
from halosearch.proxy.data.scenes import Scenes
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.stepping import copy_state, restore, set_rate
from halosearch.proxy.training import Trainer, TrainingJob

REFUSED = "CUDA error: operation not permitted when stream is capturing\nmore"
CPU = torch.device("cpu")
TWIN = twin_of(parse_candidate("s=48,b=6,h=2,rv=1,rb=1.5,l3=2,df=256"), 0.25)
JOB = TrainingJob(TWIN, Recipe(batch=16, warmup_steps=2), (64, 128), 0, 64)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def test_a_snapshot_is_put_back_in_place_and_a_captured_graph_would_go_on_with_it():
    running = Trainer(JOB, Scenes("scenes-easy-1", 0, 64), CPU)._build()
    network, optimizer = running.network, running.optimizer
    batch = running.stepping.data.batch("train", np.arange(16), 48, None)
    running.stepping.run(batch, 0.5)
    before = copy_state(network, optimizer)
    places = [value.data_ptr() for state in optimizer.state.values() for value in state.values()]
    for _ in range(3):
        running.stepping.run(batch, 1.0)
    assert not same(copy_state(network, optimizer)["network"], before["network"])
    restore(network, optimizer, before)
    after = copy_state(network, optimizer)
    assert same(after["network"], before["network"])
    assert same(after["optimizer"]["state"], before["optimizer"]["state"])
    assert places == [value.data_ptr() for state in optimizer.state.values() for value in state.values()]


def test_every_group_has_its_own_rate():
    running = Trainer(JOB, Scenes("scenes-easy-1", 0, 64), CPU)._build()
    set_rate(running.optimizer, 0.25, CPU)
    assert len({group["rate"] for group in running.optimizer.param_groups}) > 1
    assert all(group["lr"] == 0.25 * group["rate"] for group in running.optimizer.param_groups)


@pytest.mark.slow
def test_losses_that_are_looked_at_later_are_the_same(monkeypatch):
    data = Scenes("scenes-easy-1", 0, 64)
    once = Trainer(JOB, data, CPU).run()
    monkeypatch.setattr(stepping.Stepping, "unlooked", property(lambda _: 3))
    shown = []
    later = Trainer(JOB, data, CPU, on_step=lambda done, total, loss: shown.append(done)).run()
    assert later.curve == once.curve
    assert later.scores == once.scores
    assert shown == [48, 64, 96, 128]  # every third step, and whatever is left at a rung's end


def test_a_step_that_no_graph_can_hold_is_taken_as_it_is_and_memory_that_runs_out_is_not_hidden(monkeypatch):
    network = torch.nn.Linear(2, 2)
    steps = stepping.Stepping(network, torch.optim.AdamW(network.parameters()), None, JOB.recipe, CPU, 1)
    errors = iter([torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(REFUSED)])

    def failing(*_):
        raise next(errors)

    monkeypatch.setattr(stepping.Stepping, "_capture", failing)
    with pytest.raises(torch.OutOfMemoryError):
        steps._captured(None)
    with pytest.warns(UserWarning, match="not replayed as a graph: CUDA error: operation not permitted"):
        assert not steps._captured(None)
    assert not steps._capturable


def test_waiting_for_steps_that_were_launched_counts_as_training(monkeypatch):
    """On a GPU a step returns before it is done; whoever reads its loss waits."""
    now = [0.0]
    plain = Trainer._look

    def waiting(self, running, progress):
        now[0] += 1.0 if running.losses else 0.0
        return plain(self, running, progress)

    monkeypatch.setattr(stepping, "UNLOOKED", 1000)
    monkeypatch.setattr(stepping.Stepping, "unlooked", property(lambda _: 1000))
    monkeypatch.setattr(Trainer, "_look", waiting)
    done = Trainer(JOB, Scenes("scenes-easy-1", 0, 64), CPU, clock=lambda: now[0]).run()
    assert done.seconds == len(JOB.rungs)
