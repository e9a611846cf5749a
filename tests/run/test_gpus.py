"""Machines with GPUs, pretended: which worker sees which, who times when, what a broken one takes with it."""

import multiprocessing
import os
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from halosearch.cost import devices
from halosearch.cost.devices import memory_of_others, resolve_device
from halosearch.errors import EnvironmentFault, UsageError
from halosearch.gpu_faults import is_broken
from halosearch.record.evaluation import TRIAL, Evaluation
from halosearch.run import choose_engine
from halosearch.run.begin import Request, resolve
from halosearch.run.engines import gpus
from halosearch.run.engines.gpus import gpus_for
from halosearch.run.engines.local import LocalWorkers
from halosearch.run.place import RAY, Place
from halosearch.run.protocol import DIED, DONE, PROGRESS
from tests.run.evaluations import make_on_gpus

EIGHT = tuple(str(index) for index in range(8))


@pytest.mark.parametrize(
    ("device", "kinds", "visible", "expected"),
    [
        ("cpu", 8 * ["H100"], "", ()),
        ("cuda", 8 * ["H100"], "", EIGHT),
        ("cuda:5", 8 * ["H100"], "", ("5",)),
        ("cuda", 2 * ["H100"], "3,7", ("3", "7")),
        ("cuda:1", ["RTX 4090", "T400"], "3,7", ("7",)),
        ("cuda", 2 * ["H100"], "MIG-aa, MIG-bb", ("MIG-aa", "MIG-bb")),
        ("cuda", ["H100"], "GPU-1f,GPU-2f", ("GPU-1f",)),  # torch sees fewer than are named: the first ones
        ("cuda", ["RTX 4090", "T400", "RTX 4090"], "", ("0", "2")),
        ("cuda", 0 * ["H100"], "", ()),
    ],
)
def test_a_worker_is_shown_the_gpu_that_the_name_means_here(device, kinds, visible, expected):
    assert gpus_for(device, kinds, {"CUDA_VISIBLE_DEVICES": visible} if visible else {}) == expected


def row(do, number, **more):
    return Evaluation(number, TRIAL, {"do": do, **more}, trial=number)


def news(workers, count, seconds=60):
    events, end = [], time.monotonic() + seconds
    while len(events) < count and time.monotonic() < end:
        events += [event for event in workers.poll(0.2) if event.kind != PROGRESS]
    return events


def test_eight_workers_have_eight_gpus_and_a_killed_one_is_replaced_on_its_own(tmp_path):
    workers = LocalWorkers(8, make_on_gpus, str(tmp_path), tmp_path / "logs", gpus=EIGHT)
    try:
        for number in range(8):
            workers.submit(row("work", number))
        first = {event.result["gpu"]: event.result["pid"] for event in news(workers, 8)}
        assert set(first) == set(EIGHT)
        for number in range(8):
            workers.submit(row("die" if number == 3 else "work", 8 + number))
        events = news(workers, 8)
        assert [event.row.trial for event in events if event.kind == DIED] == [11]
        for number in range(8):
            workers.submit(row("work", 16 + number))
        last = {event.result["gpu"]: event.result["pid"] for event in news(workers, 8)}
        assert set(last) == set(EIGHT)
        assert sum(first[gpu] != last[gpu] for gpu in EIGHT) == 1
    finally:
        workers.close()


def test_two_workers_of_one_gpu_never_time_together(tmp_path):
    """`make_on_gpus` fails where another is timing on the GPU: its mark is there."""
    workers = LocalWorkers(4, make_on_gpus, str(tmp_path), tmp_path / "logs", gpus=("0",))
    try:
        for turn in range(3):
            for number in range(4):
                workers.submit(row("work", 4 * turn + number))
            assert {event.result["state"] for event in news(workers, 4)} == {"complete"}
    finally:
        workers.close()


def test_who_waits_for_another_measurement_is_told_once(tmp_path):
    told, order = [], []

    def second():
        with gpus.timing_on("0", tmp_path, lambda: told.append("waiting")):
            order.append("second")

    with gpus.timing_on("0", tmp_path, lambda: told.append("first waits")):
        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            time.sleep(0.01)
        order.append("first")
    thread.join(30)
    assert (told, order) == (["waiting"], ["first", "second"])


def test_a_broken_context_ends_its_process_and_nothing_else(tmp_path):
    workers = LocalWorkers(1, make_on_gpus, str(tmp_path), tmp_path / "logs", gpus=("0",))
    try:
        workers.submit(row("break", 0, until=1))
        [event] = news(workers, 1)
        assert (event.kind, event.row.trial) == (DIED, 0)
        assert "CUDA error" in event.reason
        assert not event.blameless
        workers.submit(row("work", 1))
        [following] = news(workers, 1)
        assert (following.kind, following.result["state"]) == (DONE, "complete")
        workers.submit(row("break", 0, until=1))  # tried again, in a fresh process
        assert news(workers, 1)[0].result["state"] == "complete"
        assert "ProcessBrokenError" in (tmp_path / "logs" / "trial-0.log").read_text()
    finally:
        workers.close()
    assert not multiprocessing.active_children()


def test_only_faults_of_the_context_are_broken():
    assert is_broken(RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ..."))
    assert is_broken(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert not is_broken(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_broken(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_broken(ValueError("CUDA error"))
    assert not is_broken(RuntimeError("CUDA error: operation not permitted when stream is capturing"))


class FakeGPU:
    """What torch.cuda says of a GPU that is not there."""

    def __init__(self, monkeypatch, capability=(9, 0), free=40, reserved=20, count=2):
        total = 80 * 2**30
        for name, value in {
            "is_available": True,
            "device_count": count,
            "get_device_capability": capability,
            "get_device_name": "Fake GPU",
            "mem_get_info": (free * 2**30, total),
            "memory_reserved": reserved * 2**30,
            "set_device": None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)


def test_memory_that_others_hold_is_told_from_our_own(monkeypatch):
    FakeGPU(monkeypatch, free=40, reserved=20)
    assert memory_of_others(torch.device("cuda")) == pytest.approx((80 - 40 - 20 - 1) / 80)
    FakeGPU(monkeypatch, free=59, reserved=20)
    assert memory_of_others(torch.device("cuda")) == 0
    assert memory_of_others(torch.device("cpu")) == 0


def test_names_of_devices_mean_what_torch_means_by_them(monkeypatch):
    FakeGPU(monkeypatch)
    assert str(resolve_device("cuda:1")) == "cuda:1"
    assert str(resolve_device("auto")) == "cuda"
    with pytest.raises(EnvironmentFault, match=r"2 CUDA device\(s\) are visible"):
        resolve_device("cuda:9")
    FakeGPU(monkeypatch, capability=(7, 5))
    with pytest.raises(EnvironmentFault, match=r"bfloat16 by emulation only \(compute capability 7.5\)"):
        resolve_device("cuda")


def test_a_gpu_has_one_worker_while_steps_are_timed(monkeypatch, tmp_path):
    from dataclasses import dataclass

    from halosearch.run import choose_engine

    @dataclass
    class Spec:
        device: str
        workers: int
        max_in_flight: int = 16

        @property
        def preset(self):
            return type("Preset", (), {"timed": "front"})

    FakeGPU(monkeypatch, count=2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose_engine._gpus(Spec("cuda", 2)) == ("0", "1")
    assert choose_engine._gpus(Spec("cpu", 8)) == ()
    with pytest.raises(UsageError, match="8 workers would share 2 GPU"):
        choose_engine._gpus(Spec("cuda", 8))


def test_out_of_memory_counts_only_for_a_candidate_that_was_alone(monkeypatch):
    from halosearch.run import evaluate
    from halosearch.run.protocol import ProcessBrokenError

    error, device = torch.OutOfMemoryError("CUDA out of memory"), torch.device("cuda")
    monkeypatch.setattr(evaluate, "memory_of_others", lambda _: 0.0)
    assert evaluate._out_of_memory(error, device)["state"] == "infeasible"
    monkeypatch.setattr(evaluate, "memory_of_others", lambda _: 0.4)
    with pytest.raises(ProcessBrokenError, match="while other processes held 40%"):
        evaluate._out_of_memory(error, device)
    with pytest.raises(RuntimeError, match="shapes"):
        evaluate._out_of_memory(RuntimeError("shapes"), device)


def test_the_version_of_triton_is_asked_of_the_module(monkeypatch):
    """A distribution of another name (ROCm, nightly, Windows) has the module all the same."""
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="9.9"))
    monkeypatch.setattr(devices, "triton_is_there", lambda: True)
    assert devices.triton_version() == "9.9"
    monkeypatch.setattr(devices, "triton_is_there", lambda: False)
    assert devices.triton_version() is None


def test_a_gpu_that_is_too_old_is_passed_over_where_none_was_named_and_that_is_said(monkeypatch):
    FakeGPU(monkeypatch, capability=(7, 5))
    with pytest.warns(UserWarning, match="Fake GPU computes bfloat16 by emulation only and is not used"):
        assert str(resolve_device("auto")) == "cpu"


def test_amd_s_variable_is_read_first_and_set_where_it_is_there(monkeypatch):
    both = {"HIP_VISIBLE_DEVICES": "4,5", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert gpus.gpus_for("cuda", 2 * ["MI300"], both, amd=True) == ("4", "5")
    assert gpus.gpus_for("cuda", 2 * ["H100"], both) == ("0", "1")
    for name, value in both.items():
        monkeypatch.setenv(name, value)
    gpus.show_only("5")
    assert {os.environ[name] for name in both} == {"5"}
    monkeypatch.delenv("HIP_VISIBLE_DEVICES")
    gpus.show_only("1")
    assert "HIP_VISIBLE_DEVICES" not in os.environ
    assert is_broken(RuntimeError("HIP error: invalid device function"))


def test_a_share_of_a_gpu_is_refused_while_steps_are_timed_there(tmp_path):
    """Otherwise the neighbour's training is measured, too."""
    said = {"budget": {"params": 6_000_000}, "name": "shared", "preset": {"name": "gpu-1h"}}
    spec, folders, *_ = resolve(Request(None, tmp_path, said, print), lambda name: "cuda")
    make = choose_engine.workers_at(Place(RAY, None, 0.5))
    with pytest.raises(UsageError, match=r"--gpus-per-trial 0\.5 lets others compute on a GPU while a step is timed"):
        make(spec, None, folders, "shared", print)
