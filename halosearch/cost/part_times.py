"""The parts of a network, each built and timed alone: what the step-time prediction learns from."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from halosearch.cost.parts import YARDSTICK, Part, parts_of
from halosearch.cost.roofline import FLOAT, HALF, Setting
from halosearch.cost.step_time import TimedPart, kind_of, part_terms
from halosearch.cost.steps import graph_of, seconds_per_step
from halosearch.cost.subjects import CLASSES
from halosearch.cost.timing import TimingPlan, anchor_config
from halosearch.families.building_blocks import Conv
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.network import Bottleneck


class _Head(nn.Module):
    def __init__(self, channels: int, final_width: int | None) -> None:
        super().__init__()
        self.final = Conv(channels, final_width) if final_width else nn.Identity()
        self.classifier = nn.Linear(final_width or channels, CLASSES)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.final(x_NCHW).mean((2, 3)))
        return logits


def _build(config: HaloNetConfig, part: Part) -> nn.Module:
    c = config.canonical()
    if part.name == "stem":
        return nn.Sequential(Conv(3, c.base_width, 7, 2, act=c.variant.activation), nn.MaxPool2d(3, 2, 1))
    if part.name == "head":
        return _Head(part.channels, c.final_width)
    _, stage, which = part.name.split(".")
    stride = 2 if which == "0" and int(stage) else 1
    return Bottleneck(c, int(stage), part.channels, stride, "auto")


def _stepper(config: HaloNetConfig, part: Part, plan: TimingPlan, device: torch.device) -> Callable[[], None]:
    torch.manual_seed(0)
    module = _build(config, part).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x_NCHW = torch.randn(plan.batch_size, part.channels, part.side, part.side, device=device)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    if device.type == "cuda" and part.name != "stem":
        x_NCHW = x_NCHW.bfloat16()  # what the part before gives under autocast
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    if not plan.train:
        module.eval()

        @torch.inference_mode()
        def forward() -> None:
            with half:
                module(x_NCHW)

        return forward
    x_NCHW.requires_grad_(part.name != "stem")
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, nesterov=True)

    def step() -> None:
        with half:
            out = module(x_NCHW)
        optimizer.zero_grad(set_to_none=True)
        x_NCHW.grad = None
        out.backward(torch.ones_like(out))
        optimizer.step()

    return step


def measure_parts(
    config: HaloNetConfig,
    plan: TimingPlan,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> list[TimedPart]:
    """Time every part, in order, in rounds beside the yardstick; `share` is the median ratio to it."""
    anchor = anchor_config(plan.anchor_size)
    yardstick = _stepper(anchor, parts_of(anchor)[YARDSTICK], plan, device)
    wanted = list(parts_of(config).values())
    steppers = [_stepper(config, part, plan, device) for part in wanted]
    if device.type == "cuda" and plan.graph:
        replays = [graph_of(run, device)[0] for run in (yardstick, *steppers)]
        if None not in replays:  # the device's own time of all, or the user's of all
            yardstick, *steppers = [replay for replay in replays if replay is not None]
    for run in (yardstick, *steppers):
        for _ in range(plan.warmup):
            run()
    ratios = np.empty((plan.rounds, len(steppers)))
    for turn in range(plan.rounds):
        before = seconds_per_step(yardstick, plan.steps, device, clock)
        for index, run in enumerate(steppers):
            spent = seconds_per_step(run, plan.steps, device, clock)
            after = seconds_per_step(yardstick, plan.steps, device, clock)
            ratios[turn, index] = 2 * spent / (before + after)
            before = after
    dials = dials_of(config)
    terms = part_terms(dials, setting_of(plan, device))
    return [
        TimedPart(kind_of(dials, part.name), part.key, tuple(terms[part.name][1].tolist()), float(share))
        for part, share in zip(wanted, np.median(ratios, 0), strict=True)
    ]


def setting_of(plan: TimingPlan, device: torch.device) -> Setting:
    """The roofline's view of a plan."""
    return Setting(plan.batch_size, plan.train, HALF if device.type == "cuda" else FLOAT)
