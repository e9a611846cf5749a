"""G1: are all attention backends right, and how fast are they? Layers of H0 and H4, a twin's step; timm where installed.

    python -m benchmarks.attention [--device cuda] [--rounds 7] [--quick]

All backends of a layer run in the same rounds, in turn and in reverse; ratios are medians over rounds with order-statistics
intervals. Correctness is against the explicit form in float64 on the same inputs.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.devices import resolve_device
from halosearch.cost.intervals import interval
from halosearch.cost.steps import synchronize
from halosearch.cost.subjects import import_timm
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.halo_attention import chosen_backend, halo_attention
from halosearch.families.halonet.network import HaloNet
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.twin import twin_of

LAYERS = {  # channels, side, heads, block, halo, batch
    "stage 1 (64 channels, 64x64, b=8, h=3)": (64, 64, 4, 8, 3, 16),
    "stage 2 (128 channels, 32x32, b=8, h=3)": (128, 32, 8, 8, 3, 16),
    "stage 3 (256 channels, 16x16, b=8, h=3)": (256, 16, 8, 8, 3, 16),
    "stage 4 (512 channels, 8x8, b=8, h=3)": (512, 8, 8, 8, 3, 16),
    "H4 stage 3 (256 channels, 24x24, b=12, h=2)": (256, 24, 8, 12, 2, 16),
}
GPU_BATCH = 64


class Layer(nn.Module):
    """Projections and attention, as in the network; (N, C, H, W) in channels_last."""

    def __init__(self, channels, heads, block, halo, backend):
        super().__init__()
        self.shape, self.backend = Shape(heads, block, halo), backend
        self.channels = channels
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        table_shape = (2 * (block + 2 * halo) - 1, channels // heads)
        self.rel_height, self.rel_width = (nn.Parameter(0.02 * torch.randn(table_shape)) for _ in range(2))

    def forward(self, x):
        q, k, v = self.qkv(x.permute(0, 2, 3, 1)).split(self.channels, -1)
        tables = self.rel_height.to(q.dtype), self.rel_width.to(q.dtype)
        return halo_attention(q, k, v, tables, self.shape, self.backend).permute(0, 3, 1, 2)


def backends(device):
    return ["reference", "sdpa", *([chosen_backend(device)] if chosen_backend(device) != "sdpa" else [])]


def errors(shape, device):
    """Worst relative error of output and gradients of each backend against float64, in float32 and on CUDA bfloat16."""
    channels, side, heads, block, halo, _ = shape
    table_shape = (2 * (block + 2 * halo) - 1, channels // heads)
    found = {}
    for dtype in (torch.float32, *([torch.bfloat16] if device.type == "cuda" else [])):
        torch.manual_seed(0)
        inputs = [torch.randn(2, side, side, channels, device=device) for _ in range(3)]
        inputs += [torch.randn(table_shape, device=device) for _ in range(2)]
        low = [each.to(dtype).requires_grad_() for each in inputs]
        exact = [each.detach().double().requires_grad_() for each in low]
        weight = torch.randn(2, side, side, channels, device=device).to(dtype)
        numbers = Shape(heads, block, halo)
        oracle = halo_attention(*exact[:3], tuple(exact[3:]), numbers, "reference")
        oracles = torch.autograd.grad((oracle * weight.double()).sum(), exact)
        for backend in backends(device):
            out = halo_attention(*low[:3], tuple(low[3:]), numbers, backend)
            grads = torch.autograd.grad((out * weight).sum(), low)
            pairs = zip((out, *grads), (oracle, *oracles), strict=True)
            found[f"{backend} {str(dtype).removeprefix('torch.')}"] = max(
                ((a.double() - b).norm() / b.norm()).item() for a, b in pairs
            )
    return found


def layer_step(layer, x, device):
    def run():
        x.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = layer(x)
        out.backward(torch.ones_like(out))

    return run


def layer_steps(shape, device, timm_layer):
    channels, side, heads, block, halo, batch = shape
    x = torch.randn(GPU_BATCH if device.type == "cuda" else batch, channels, side, side, device=device)
    nhwc = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    steps = {}
    if timm_layer is not None and side % block == 0:
        layer = timm_layer(
            channels, channels, num_heads=heads, dim_head=channels // heads, block_size=block, halo_size=halo
        ).to(device)
        steps["timm eager"] = layer_step(layer, x.clone().requires_grad_(), device)
        if device.type == "cuda":
            steps["timm compiled"] = layer_step(torch.compile(layer), x.clone().requires_grad_(), device)
    for backend in backends(device):
        steps[backend] = layer_step(Layer(channels, heads, block, halo, backend).to(device), nhwc, device)
    if device.type == "cuda":
        compiled = torch.compile(Layer(channels, heads, block, halo, "reference").to(device))
        steps["reference compiled"] = layer_step(compiled, nhwc, device)
    return steps


def twin_steps(device):
    """Training steps of the twin of H4's dials at a quarter of its width on 64 pixels."""
    config, batch = twin_of(replace(FAMILY["h4"], image_size=64), 0.25), GPU_BATCH if device.type == "cuda" else 32
    images = torch.randn(batch, 3, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 100

    def step(backend):
        network = HaloNet(config, 100, backend=backend).to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, nesterov=True)

        def run():
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = F.cross_entropy(network(images).float(), labels)
            loss.backward()
            optimizer.step()

        return run

    return {backend: step(backend) for backend in backends(device)}


def interleaved(steps, device, rounds):
    seconds = {name: [] for name in steps}
    for run in steps.values():
        run()
    for turn in range(rounds):
        for name in list(steps) if turn % 2 == 0 else list(steps)[::-1]:
            synchronize(device)
            started = time.perf_counter()
            repeats = 20 if device.type == "cuda" else 1
            for _ in range(repeats):
                steps[name]()
            synchronize(device)
            seconds[name].append((time.perf_counter() - started) / repeats)
    return seconds


def rows_of(name, seconds):
    base = next(iter(seconds))
    for backend, samples in seconds.items():
        ratio = interval(np.array(seconds[base]) / np.array(samples))
        shown = "-" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
        yield [name, backend, 1e3 * float(np.median(samples)), shown, base]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    parser.add_argument("--quick", action="store_true", help="one layer and the twin, to see that it runs")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    where = provenance(device)
    try:
        where["timm"] = import_timm().__version__
        from timm.layers.halo_attn import HaloAttn
    except EnvironmentFault as error:
        where["timm"], HaloAttn = f"not measured: {error.sentence}", None
    chosen = dict(list(LAYERS.items())[-2:-1] if arguments.quick else LAYERS.items())
    raw, rows, wrong = {}, [], {}
    for name, shape in chosen.items():
        wrong[name] = errors(shape, device)
        raw[name] = interleaved(layer_steps(shape, device, HaloAttn), device, arguments.rounds)
        rows += rows_of(name, raw[name])
    raw["twin"] = interleaved(twin_steps(device), device, arguments.rounds)
    rows += rows_of("twin of H4's dials, 1/4 width, 64 px, training step", raw["twin"])
    if device.type == "cpu":
        torch.set_num_threads(1)  # as each of a study's workers runs
        raw["twin, one thread"] = interleaved(twin_steps(device), device, arguments.rounds)
        rows += rows_of("the same on one thread, as a study's worker runs", raw["twin, one thread"])
    worst = {backend: max(each[backend] for each in wrong.values()) for backend in next(iter(wrong.values()))}
    page = "\n\n".join(
        [
            "# Attention backends: right, and how fast",
            "Forward and backward of a layer with its projections (training step for the twin); `speed-up` is how many times faster than "
            "the named base in the same rounds, median [95 % order-statistics interval].",
            table(["layer", "backend", "median ms", "speed-up", "over"], rows),
            "Worst relative error of output and five gradients against the explicit form in float64: "
            + "; ".join(f"{backend} {error:.1e}" for backend, error in worst.items())
            + ".",
            f"timm: {where['timm']}."
            + ("" if device.type == "cuda" else " Triton and bfloat16 on CUDA: unmeasured (no GPU here)."),
        ]
    )
    write("attention", device, {"provenance": where, "seconds": raw, "errors": wrong}, page, arguments.folder)


if __name__ == "__main__":
    main()
