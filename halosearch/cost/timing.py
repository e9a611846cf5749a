"""The clock: forward and training step of full candidates, interleaved with an anchor, with intervals.

A step is the device's own where there is a GPU: a replayed CUDA graph, without the time that Python takes to launch it. The user's
step, on the host's clock, is measured beside it. On a CPU the two are one.

One round runs every model once or more, in turn and then in reverse, the anchor first and last; what drifts (clocks, other
load) then falls on all alike. Reported: the median over rounds and its order-statistics interval, and the ratio to the
anchor of the same rounds. Input is random and resident; loading data is not part of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from halosearch.cost.conditions import is_throttled, read_conditions
from halosearch.cost.devices import fingerprint
from halosearch.cost.intervals import Measured, interval
from halosearch.cost.steps import Stepper, build_stepper, can_capture, captured, compiling, seconds_per_step
from halosearch.cost.subjects import Subject, subject_of
from halosearch.errors import UsageError
from halosearch.families.halonet.config import CONV, HaloNetConfig, heads_by_width
from halosearch.families.known import Config

LAUNCH_BOUND = 1.1
MIN_KEPT = 3
DEVICE, USER = "device", "user"
"""Whose step: the device's own, or the user's on the host's clock. Never compared with each other."""
USER_ROUNDS = 3
"""Rounds in which the user's step is measured beside the device's."""
SETTLED, SETTLED_WITHIN, MAX_WINDOWS = 3, 0.01, 10
MIN_TRAINING_BATCH = 2


def anchor_config(image_size: int) -> HaloNetConfig:
    """The yardstick of every round: an all-conv member with ResNet-50's depths and widths and squeeze-excite."""
    return HaloNetConfig(
        image_size=image_size,
        block_size=1,
        halo_size=0,
        expansion_ratio=4.0,
        stage_depths=(3, 4, 6, 3),
        heads=heads_by_width(),
        stage_kinds=(CONV,) * 4,
    )


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """How to measure: images per step, rounds, steps per round, warm-up steps, training step or forward only.

    `compiled`: the step runs through torch.compile; `graph`: time the device's step where there is a GPU (else the user's there, too).

    Raises:
        UsageError: a training step of one image, whose batch norm is undefined on a map of one position.
    """

    batch_size: int
    rounds: int
    steps: int = 1
    warmup: int = 1
    train: bool = True
    anchor_size: int = 64
    compiled: bool = False
    graph: bool = True

    def __post_init__(self) -> None:
        """Refuse a plan that no network can run."""
        if self.train and self.batch_size < MIN_TRAINING_BATCH:
            raise UsageError(
                f"a training step of {self.batch_size} image cannot be measured", "--batch-size 2, or --infer"
            )


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds per step of one model (`seconds`), its ratio to the anchor, peak memory, raw samples by round.

    `whose` step `seconds`, `samples_s` and the ratio are of, `how` it was measured; `user_seconds` is the user's in any case.
    Rounds in which the device was throttled stay among the samples, but are not `kept` in the medians (unless fewer than
    three others remain: then all are kept, and `throttled` says so).
    """

    name: str
    seconds: Measured
    ratio_to_anchor: Measured
    memory_bytes: int
    samples_s: tuple[float, ...]
    anchor_samples_s: tuple[float, ...]
    plan: TimingPlan
    device: dict[str, Any]
    first_step_s: float
    user_seconds: Measured
    user_samples_s: tuple[float, ...]
    whose: str
    how: str
    conditions: tuple[dict[str, Any], ...]
    kept: tuple[int, ...]

    @property
    def throttled(self) -> bool:
        """Whether a round in the medians was timed on a throttled device."""
        return any(is_throttled(self.conditions[index]) for index in self.kept)

    @property
    def launch_bound(self) -> bool:
        """Whether the user's step takes over 10 % longer than the device needs for it."""
        return self.whose == DEVICE and self.user_seconds.median > LAUNCH_BOUND * self.seconds.median

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plan = {
            name: getattr(self.plan, name)
            for name in ("batch_size", "rounds", "steps", "warmup", "train", "anchor_size", "compiled", "graph")
        }
        return {
            "name": self.name,
            "seconds": self.seconds.to_dict(),
            "ratio_to_anchor": self.ratio_to_anchor.to_dict(),
            "wide_interval": self.seconds.wide,
            "memory_bytes": self.memory_bytes,
            "samples_s": list(self.samples_s),
            "anchor_samples_s": list(self.anchor_samples_s),
            "plan": plan,
            "device": self.device,
            "first_step_s": self.first_step_s,
            "user_seconds": self.user_seconds.to_dict(),
            "user_samples_s": list(self.user_samples_s),
            "whose": self.whose,
            "how": self.how,
            "launch_bound": self.launch_bound,
            "throttled": self.throttled,
            "conditions": list(self.conditions),
            "kept_rounds": list(self.kept),
        }


def measure(
    models: Mapping[str, Config | Subject],
    plan: TimingPlan,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> list[StepTime]:
    """Time every model against the anchor in the same rounds.

    Raises:
        torch.OutOfMemoryError: a model does not fit (CUDA).
    """
    subjects = {name: each if isinstance(each, Subject) else subject_of(each) for name, each in models.items()}
    options = {"train": plan.train, "compiled": plan.compiled}
    with compiling(compiled=plan.compiled):
        anchor = build_stepper(subject_of(anchor_config(plan.anchor_size)), plan.batch_size, device, **options)
        steppers = {name: build_stepper(each, plan.batch_size, device, **options) for name, each in subjects.items()}
        for stepper in (anchor, *steppers.values()):
            for _ in range(plan.warmup):
                stepper.run()
        users = _user_samples(steppers, plan, device, clock)
        steps = _Steps.of(anchor, steppers, plan, device)
        for run in (steps.anchor, *steps.runs.values()):
            _settle(run, plan, device, clock)
        rounds = _rounds(steps, users if steps.whose == DEVICE else {}, plan, device, clock)
    return [_summary(name, rounds, steppers[name], steps, plan, device) for name in models]


@dataclass(frozen=True, slots=True)
class _Steps:
    """What is run: replays of all, or where one cannot be captured, the user's step of all."""

    anchor: Callable[[], None]
    runs: dict[str, Callable[[], None]]
    whose: str
    how: str

    @classmethod
    def of(cls, anchor: Stepper, steppers: dict[str, Stepper], plan: TimingPlan, device: torch.device) -> _Steps:
        """Capture, where that is asked for and can be."""
        if not plan.graph:
            return cls(anchor.run, {name: each.run for name, each in steppers.items()}, USER, "not asked for")
        pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None  # replays take turns: one peak for all
        first, how = captured(anchor, device, pool)
        replays = dict[str, Callable[[], None]]()
        for name, each in steppers.items():
            replay, how = captured(each, device, pool) if first is not None else (None, how)
            if first is None or replay is None:
                return cls(anchor.run, {name: each.run for name, each in steppers.items()}, USER, how)
            replays[name] = replay
        assert first is not None
        return cls(first, replays, DEVICE, how)


@dataclass(frozen=True, slots=True)
class _Rounds:
    samples: dict[str, list[float]]
    users: dict[str, list[float]]
    anchors: list[float]
    conditions: list[dict[str, Any]]

    @property
    def kept(self) -> list[int]:
        """Rounds in which the device was not throttled; all where that leaves fewer than three."""
        kept = [index for index, each in enumerate(self.conditions) if not is_throttled(each)]
        return kept if len(kept) >= MIN_KEPT else list(range(len(self.conditions)))


def _user_samples(
    steppers: dict[str, Stepper], plan: TimingPlan, device: torch.device, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """The user's steps, before anything is captured: a graph keeps its own memory beside theirs."""
    if not plan.graph or not can_capture(device):
        return {}
    found: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(USER_ROUNDS):
        for name, each in steppers.items():
            found[name].append(seconds_per_step(each.run, plan.steps, device, clock))
    return found


def _rounds(
    steps: _Steps,
    users: dict[str, list[float]],
    plan: TimingPlan,
    device: torch.device,
    clock: Callable[[], float],
) -> _Rounds:
    rounds = _Rounds({name: [] for name in steps.runs}, users, [], [])
    for turn in range(plan.rounds):
        first = seconds_per_step(steps.anchor, plan.steps, device, clock)
        for name in list(steps.runs) if turn % 2 == 0 else list(steps.runs)[::-1]:
            rounds.samples[name].append(seconds_per_step(steps.runs[name], plan.steps, device, clock))
        last = seconds_per_step(steps.anchor, plan.steps, device, clock)
        rounds.anchors.append((first + last) / 2)
        if device.type == "cuda":
            steps.anchor()  # an idle GPU is never throttled: read with a step in flight
        rounds.conditions.append(read_conditions(device))
    return rounds


def _settle(run: Callable[[], None], plan: TimingPlan, device: torch.device, clock: Callable[[], float]) -> None:
    """On CUDA, until three windows in a row agree within 1 %, or ten windows."""
    windows: list[float] = []
    while device.type == "cuda" and len(windows) < MAX_WINDOWS:
        windows.append(seconds_per_step(run, plan.steps, device, clock))
        if len(windows) >= SETTLED and max(windows[-SETTLED:]) <= (1 + SETTLED_WITHIN) * min(windows[-SETTLED:]):
            return


def _summary(
    name: str, rounds: _Rounds, stepper: Stepper, steps: _Steps, plan: TimingPlan, device: torch.device
) -> StepTime:
    kept = rounds.kept
    samples, anchors = np.array(rounds.samples[name]), np.array(rounds.anchors)
    users = rounds.users.get(name)
    return StepTime(
        name=name,
        seconds=interval(samples[kept]),
        ratio_to_anchor=interval(samples[kept] / anchors[kept]),
        memory_bytes=stepper.memory_bytes,
        samples_s=tuple(rounds.samples[name]),
        anchor_samples_s=tuple(rounds.anchors),
        plan=plan,
        device=fingerprint(device),
        first_step_s=stepper.first_step_s,
        user_seconds=interval(users) if users else interval(samples[kept]),
        user_samples_s=tuple(users or rounds.samples[name]),
        whose=steps.whose,
        how=steps.how,
        conditions=tuple(rounds.conditions),
        kept=tuple(kept),
    )
