"""What a GPU is, and what a training step costs on it. Stages of `benchmarks.gpu`."""

import os
import subprocess

import torch
import torch.nn.functional as F

from benchmarks.gpu_kernels import BATCH, separate_norm, tiles_set
from benchmarks.gpu_world import on_device, subject_named, top
from halosearch.cost.intervals import interval
from halosearch.cost.peaks import measure_peaks
from halosearch.cost.steps import build_stepper, captured, compiling, seconds_per_step
from halosearch.cost.subjects import is_timm
from halosearch.families.halonet.attention.halo_attention import chosen_backend

ROUNDS, STEPS = 7, 10


def environment(world):
    smi = ""
    if world.cuda:
        query = "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.draw,temperature.gpu,memory.used"
        smi = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
        ).stdout
    peaks = measure_peaks(world.device)
    world.found["peaks"] = peaks
    return {"smi": smi.strip(), "cpus": os.cpu_count(), "backend": chosen_backend(world.device), **peaks.to_dict()}


def step(world, name, *, compiled=False):
    """One training step: the user's and the device's, its memory, launches and largest kernels."""
    batch = 2 if world.small else BATCH
    subject = subject_named(name)
    with compiling(compiled=compiled):
        stepper = build_stepper(subject, batch, world.device, train=True, compiled=compiled)
        for _ in range(3):
            stepper.run()
        replay, how = captured(stepper, world.device)
        user = [seconds_per_step(stepper.run, STEPS if world.cuda else 1, world.device) for _ in range(ROUNDS)]
        own = [] if replay is None else [seconds_per_step(replay, STEPS, world.device) for _ in range(ROUNDS)]
        found = {
            "model": name,
            "batch": batch,
            "image_size": subject.image_size,
            "user_s": interval(user).to_dict(),
            "device_s": interval(own).to_dict() if own else None,
            "graph": how,
            "memory_bytes": stepper.memory_bytes,
            "first_step_s": stepper.first_step_s,
        }
        if world.cuda:
            with torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            ) as profile:
                stepper.run()
                torch.cuda.synchronize()
            averages = profile.key_averages()
            found["launches"] = sum(each.count for each in averages if "LaunchKernel" in each.key)
            found["kernels_us"] = top({each.key: each.self_device_time_total for each in averages if on_device(each)}, 20)  # fmt: skip
    return found


def step_with_other_norms(world, name):
    """The step with torch's own norms: what the fused ones save."""
    with separate_norm():
        return step(world, name)


def step_with_best_tiles(world, name):
    """The step with the tiles that the stage `tiles` found fastest for each kernel and width of a head."""
    if "tiles" not in world.found:
        return {"skipped": "no tiles were timed"}
    with tiles_set(world.found["tiles"]):
        return step(world, name)


def compiled(world, name):
    """The step through torch.compile; for a network of ours also whether its gradients are the eager ones."""
    found = step(world, name, compiled=True) if world.cuda else {}
    if is_timm(name):
        return found
    return found | {"gradients": _compiled_gradients(world, name)}


def _compiled_gradients(world, name):
    subject = subject_named("s=64,b=8,h=3,rv=1,rb=1.5,l3=2,df=512" if world.small or not world.cuda else name)
    torch.manual_seed(0)
    network = subject.build().to(world.device, memory_format=torch.channels_last).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    x = torch.randn(8, 3, subject.image_size, subject.image_size, device=world.device)
    x = x.contiguous(memory_format=torch.channels_last)
    target = torch.arange(8, device=world.device)

    def gradients(called):
        network.zero_grad(set_to_none=True)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=world.cuda):
            loss = F.cross_entropy(called(x).float(), target)
        loss.backward()
        return {n: p.grad.detach().clone() for n, p in network.named_parameters()}

    fast = torch.compile(network, dynamic=False, backend="inductor" if world.cuda else "aot_eager")
    a, b = gradients(fast), gradients(network)
    worst = sorted((((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-12)).item(), n) for n in a)[-3:]
    return {"worst": worst}
