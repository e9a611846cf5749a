"""What the stages of `benchmarks.gpu` share: the device, the clock, the profiler."""

from collections import Counter
from dataclasses import dataclass, field

import torch

from halosearch.cost.steps import seconds_per_step
from halosearch.cost.subjects import is_timm, subject_of, timm_subject
from halosearch.families.known import parse_candidate


@dataclass
class World:
    """The device, whether little images will do, until when, the stages asked for, and what earlier ones found."""

    device: torch.device
    small: bool
    until: float
    stages: set
    dtypes: list | None = None
    compiling_s: float = 90.0
    found: dict = field(default_factory=dict)

    def models(self):
        """Networks of ours whose steps are asked for."""
        steps = [name.removeprefix("step ") for name in self.stages if name.startswith("step ")]
        return [name for name in steps if not is_timm(name)]

    @property
    def cuda(self):
        return self.device.type == "cuda"

    def half(self):
        return torch.bfloat16 if self.cuda else torch.float32


def subject_named(name):
    """What the clock can time, of ours or timm's."""
    return timm_subject(name) if is_timm(name) else subject_of(parse_candidate(name))


def device_us(run, world, times=5):
    """Microseconds of the device's kernels; of the host where there is no device."""
    run()
    if not world.cuda:
        return 1e6 * seconds_per_step(run, 1, world.device)
    return sum(kernels_us(run, times).values())


def kernels_us(run, times=5):
    """Microseconds of every kernel of a run, by name."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(times):
            run()
        torch.cuda.synchronize()
    return {each.key: each.self_device_time_total / times for each in profile.key_averages()}


def on_device(event):
    """Whether a row of a profile is a kernel (and not the operator that launched it)."""
    return event.self_device_time_total > 0 and event.device_type != torch.autograd.DeviceType.CPU


def top(kernels, count=14):
    """The largest, by the beginnings of their names, equal ones together."""
    found = Counter()
    for name, us in kernels.items():
        found[name[:60]] += us
    return {name: round(us) for name, us in found.most_common(count)}
