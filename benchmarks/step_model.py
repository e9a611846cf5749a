"""What a training step moves, launches and computes on a GPU, counted without one.

    python -m benchmarks.step_model [--models h0 h1 h4] [--code DIR --name before] [--compile]

A step (batch 64, bfloat16 autocast, SGD) runs on meta tensors through the code that CUDA takes, and every operator and every
Triton launch is counted: one launch each (convolutions and norms as many as PyTorch has for them), and its operands moved once
each through memory. Nothing is assumed to stay in a cache, and nothing to be read twice but what `PASSES` says: a model, no
measurement. `--compile` also compiles each attention kernel for sm_90 and counts warp instructions from its machine code: those
outside its loop once and those of the loop as often as it has tiles.

`--code`: count another checkout of halosearch instead of this one; `--name` names its lines. Lines are kept in
results/step-model-cpu.json, one for each name and model, and the page shows all of them beside what GPUs measured.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BATCH, CLASSES = 64, 1000
WINDOWS = {"DKW", "DVW", "SRC"}
"""Arguments of kernels that hold gradients window by window."""
LOWERED = {F.conv2d, F.linear, torch.conv2d, torch.matmul}
"""What autocast runs in bfloat16 in these networks."""
PASSES = {"native_batch_norm": (3, 3), "native_batch_norm_backward": (5, 2)}
"""Map passes and launches of PyTorch's channels-last norms: statistics, running ones, apply; sums, apply."""
FREE = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "detach",
    "lift_fresh",
    "_local_scalar_dense",
    "_unsafe_view",
}
FOREACH_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
FOREACH_CHUNK, FOREACH_BLOCKS = 65_536, 320
"""Tensors by lists, elements of a block and blocks of one launch of PyTorch's multi-tensor kernels (MultiTensorApply.cuh)."""
MODULES = {
    "families": SimpleNamespace(
        launch="halosearch.families.halonet.attention.triton_launch",
        kernels="halosearch.families.halonet.attention.triton_kernels",
        network="halosearch.families.halonet.network",
        published="halosearch.families.halonet.published",
    ),
    "halonet": SimpleNamespace(
        launch="halosearch.halonet.triton_attention",
        kernels="halosearch.halonet.triton_kernels",
        network="halosearch.halonet.network",
        published="halosearch.space.family",
    ),
}
"""Where a checkout has the network: as now, and as the first edition had it."""


@dataclass(frozen=True)
class Launch:
    """One launch of a Triton kernel."""

    kernel: object
    name: str
    grid: tuple
    arguments: tuple
    options: dict


class Recorder:
    """Stands in for a kernel: what is launched is counted, nothing runs."""

    def __init__(self, kernel, name, ledger):
        self.kernel, self.name, self.ledger = kernel, name, ledger

    def __getitem__(self, grid):
        def launch(*arguments, **options):
            # what a call gives twice (a map that stands for an absent shortcut) moves once
            names = [each.name for each in self.kernel.params if each.name not in options]
            known = dict(zip(names, arguments, strict=True))
            moved = {
                id(each): bytes_of(each) * (share_inside(known, options) if name in WINDOWS else 1)
                for name, each in known.items()
                if isinstance(each, torch.Tensor)
            }
            self.ledger.add(self.name, 1, sum(moved.values()))
            whole = grid if isinstance(grid, tuple) else (grid,)
            self.ledger.launched.append(Launch(self.kernel, self.name, whole, arguments, options))

        return launch


def share_inside(known, options):
    """Of the positions of all windows, those inside the map: others are neither written nor read."""
    v = {**known, **options}
    inside = 1.0
    for side, blocks in ((v["H"], v["NBY"]), (v["W"], v["NBX"])):
        block, halo, window = v["B"], v["HALO"], v["WIN"]
        held = sum(min(at + block + halo, side) - max(at - halo, 0) for at in range(0, side, block))
        inside *= held / (blocks * window)
    return inside


def bytes_of(tensor):
    """Bytes of the elements that a tensor has in memory; a broadcast one has fewer than it shows."""
    shown = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or size == 1]
    return math.prod(shown) * tensor.element_size()


def _channels_last(maps):
    """As cuDNN writes what it makes of channels-last maps; meta tensors forget it."""
    if isinstance(maps, torch.Tensor):
        return maps.contiguous(memory_format=torch.channels_last)
    return tuple(None if each is None or each.dim() < 4 else _channels_last(each) for each in maps)


class Ledger(TorchDispatchMode):
    """Launches and bytes by operator."""

    def __init__(self):
        super().__init__()
        self.launches, self.bytes, self.launched = Counter(), defaultdict(int), []

    def add(self, name, launches, moved):
        self.launches[name] += launches
        self.bytes[name] += moved

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        if name in ("convolution", "convolution_backward"):
            out = _channels_last(out)
        aliases = [each.alias_info for each in func._schema.returns if each.alias_info]
        is_view = any(each for each in aliases if not each.is_write)
        if is_view or name in FREE or func.namespace != "aten":
            return out
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        written = [each for each in tree_leaves(out) if isinstance(each, torch.Tensor)]
        if name == "slice_backward":  # zeros, and a copy into them
            self.add(name, 2, bytes_of(out) + 2 * bytes_of(read[0]))
        elif name in PASSES:
            passes, launches = PASSES[name]
            self.add(name, launches, passes * bytes_of(read[0]))
        elif name == "convolution_backward":
            g, x, weight = (bytes_of(each) for each in read[:3])
            wanted = args[-1]
            self.add(name, sum(wanted), wanted[0] * (g + weight + x) + wanted[1] * (g + x + weight))
        elif name.startswith("_foreach_"):
            lists = [each for each in args if isinstance(each, (list, tuple)) and isinstance(each[0], torch.Tensor)]
            in_place = name.endswith("_")
            blocks = sum(math.ceil(each.numel() / FOREACH_CHUNK) for each in lists[0])
            most = FOREACH_TENSORS[len(lists) + (not in_place)]
            launches = max(math.ceil(len(lists[0]) / most), math.ceil(blocks / FOREACH_BLOCKS))
            own = sum(bytes_of(each) for each in lists[0])
            self.add(name, launches, sum(bytes_of(each) for each in read) + own)
        else:
            outs = written or [read[0]]  # in place without a value
            self.add(name, 1, sum(bytes_of(each) for each in (*{id(each): each for each in read}.values(), *outs)))
        return out


class Autocast(TorchFunctionMode):
    """What torch.autocast does on CUDA to these networks; it does nothing to meta tensors."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in LOWERED:
            args = tuple(
                each.bfloat16() if isinstance(each, torch.Tensor) and each.dtype == torch.float32 else each
                for each in args
            )
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def as_on_cuda(places, ledger):
    """The code takes CUDA's paths on meta tensors, and kernels are recorded instead of launched."""
    set_back = []

    def put(module, name, value):
        set_back.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    launch = importlib.import_module(places.launch)
    modules = [importlib.import_module(places.kernels)]
    if places is MODULES["families"]:
        from halosearch.families import norm, norm_kernels
        from halosearch.families.halonet import network
        from halosearch.families.halonet.attention import fused, halo_attention

        modules.append(norm_kernels)
        put(norm.Norm, "_is_fused", lambda self, *_: self.training)
        put(network, "split", lambda whole, widths: fused.Split.apply(whole, tuple(widths)))
        direct = lambda inputs, shape: fused.Direct.apply([*shape, 1], *inputs)  # noqa: E731
        put(halo_attention, "BACKENDS", dict.fromkeys(halo_attention.BACKENDS, direct))
    else:
        from halosearch.halonet import attention

        put(attention, "BACKENDS", dict.fromkeys(attention.BACKENDS, _registered(launch)))
    for module in modules:
        for name in [each for each in vars(module) if each.endswith("_kernel")]:
            put(module, name, Recorder(getattr(module, name), name, ledger))
    try:
        yield
    finally:
        for module, name, value in reversed(set_back):
            setattr(module, name, value)


def _registered(launch):
    """The first edition's operator, whose parts are launched by `launch`."""

    class Operator(torch.autograd.Function):
        @staticmethod
        def forward(ctx, numbers, *tensors):
            out, sums = launch.forward(*tensors, *numbers)
            ctx.save_for_backward(*tensors, out, sums)
            ctx.numbers = numbers
            return out

        @staticmethod
        def backward(ctx, g):
            return None, *launch.backward(g, *ctx.saved_tensors, *ctx.numbers)

    return lambda *arguments: Operator.apply(arguments[5:], *arguments[:5])


def counted(places, name):
    """The ledger of one training step."""
    config = importlib.import_module(places.published).FAMILY[name]
    with torch.device("meta"):
        network = importlib.import_module(places.network).HaloNet(config, CLASSES)
        batch = torch.empty(BATCH, 3, config.image_size, config.image_size)
        targets = torch.empty(BATCH, dtype=torch.int64)
    network = network.to(memory_format=torch.channels_last).train()
    batch = batch.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, foreach=True)
    for last in (False, True):  # the first makes the momentum
        ledger = Ledger()
        with as_on_cuda(places, ledger):
            context = ledger if last else contextlib.nullcontext()
            with context:
                with Autocast():
                    logits = network(batch)
                loss = F.cross_entropy(logits.float(), targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return ledger


GROUPS = {
    "attention": ("forward_kernel", "backward_", "fold_kernel"),
    "norms and activations": (
        "native_batch_norm",
        "silu",
        "moments",
        "finish_moments",
        "apply_kernel",
        "sums_kernel",
        "input_gradient",
    ),
    "products": ("convolution", "mm", "addmm"),
}
REST = "copies, sums, pooling, optimiser"
MEASURED = {"h1": "gpu-h200", "h4": "gpu-h200", "h7": "gpu-h200"}
"""Recorded steps of the present kernels: results/NAME.jsonl."""
ISSUED_PER_S = 132 * 4 * 1.755e9
"""Warp instructions a second: multiprocessors, schedulers of each, clock under load (NVIDIA H100 white paper; SXM, and the H200's)."""


def group_of(name):
    """What an operator is counted under."""
    return next((group for group, starts in GROUPS.items() if name.startswith(starts)), REST)


def line_of(places, code, name, *, compiled):
    """One model's step."""
    ledger = counted(places, name)
    moved = Counter()
    for each, many in ledger.bytes.items():
        moved[group_of(each)] += many
    found = {
        "code": code,
        "model": name,
        "launches": sum(ledger.launches.values()),
        "bytes": {each: moved[each] for each in (*GROUPS, REST)},
        "operators": {
            each: [ledger.launches[each], many]
            for each, many in sorted(ledger.bytes.items(), key=lambda item: -item[1])
        },
    }
    if compiled:
        from machine_code import issued  # Triton is optional; this file runs as a script beside it

        found["warp_instructions"] = dict(issued(ledger.launched))
    return found


def lines_from(folder, arguments):
    """The lines of a checkout, from a process of its own that imports it."""
    command = [sys.executable, __file__, "--lines", "--name", arguments.name, "--models", *arguments.models]
    command += ["--compile"] * arguments.compile
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def places_here():
    """Of the halosearch that is imported."""
    found = importlib.util.find_spec("halosearch.families")
    return MODULES["halonet" if found is None else "families"]


def measured(results, name):
    """Launches and milliseconds of attention kernels on a GPU, as recorded for the present kernels; None where there are none."""
    if name not in MEASURED:
        return None
    for line in map(json.loads, (results / f"{MEASURED[name]}.jsonl").read_text().splitlines()):
        if line.get("stage") == f"step {name}":
            attention = [
                each for each in line["kernels_us"] if each.endswith("_kernel") and group_of(each) == "attention"
            ]
            return line["launches"], sum(line["kernels_us"][each] for each in attention) / 1e3
    raise LookupError(f"no step of {name} in {MEASURED[name]}.jsonl")


def traffic_row(line, seen):
    """Launches and gigabytes."""
    moved = [line["bytes"][each] / 1e9 for each in (*GROUPS, REST)]
    parts = [f"{each:.1f}" for each in (sum(moved), *moved)]
    return [line["model"], line["code"], line["launches"], seen[0] if seen else "-", *parts]


def issue_row(line, seen):
    """Instructions in thousands of millions, and how long they take at least."""
    issued = line["warp_instructions"]
    backward = sum(many for each, many in issued.items() if each.startswith("backward"))
    parts = issued["forward_kernel"], backward, issued["fold_kernel"]
    least = f"{sum(parts) / ISSUED_PER_S * 1e3:.1f}"
    return [
        line["model"],
        line["code"],
        *(f"{each / 1e9:.2f}" for each in parts),
        least,
        f"{seen[1]:.1f}" if seen else "-",
    ]


def page_of(lines, results):
    """Markdown: traffic and launches, then instructions. `results`: the folder with the GPUs' records."""
    from benchmarks.recording import table

    lines = sorted(lines, key=lambda each: (each["model"], each["present"]))
    seen = [measured(results, each["model"]) if each["present"] else None for each in lines]
    both = list(zip(lines, seen, strict=True))
    sources = ", ".join(f"{name} on an {gpu.removeprefix('gpu-').upper()}" for name, gpu in MEASURED.items())
    return "\n\n".join(
        [
            "# What a training step moves and launches: a model",
            f"Batch {BATCH}, bfloat16 autocast, SGD. Counted on meta tensors through the code that CUDA takes: **no measurement**, but for the "
            f"columns that say so ({sources}). Every operand moves once; what a cache keeps is not subtracted.",
            table(
                [
                    "model",
                    "code",
                    "launches",
                    "launches measured",
                    "GB",
                    *(f"GB of {each}" for each in (*GROUPS, REST)),
                ],
                [traffic_row(*each) for each in both],
            ),
            "## Attention: instructions",
            "Warp instructions of the kernels as compiled for sm_90, in thousands of millions, and the milliseconds that they take where every "
            "scheduler of an H100 or H200 issues one a cycle: nearly a bound from below: nothing waits in it.",
            table(
                ["model", "code", "forward", "backward", "fold", "ms at full issue", "ms measured"],
                [issue_row(*each) for each in both if "warp_instructions" in each[0]],
            ),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["h0", "h1", "h4", "h7"])
    parser.add_argument("--code", type=Path, help="another checkout to count")
    parser.add_argument("--name", default="", help="what its lines are called; this checkout's commit unless told")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--lines", action="store_true", help="print the lines of the halosearch that is imported, and keep nothing"
    )
    parser.add_argument("--folder", type=Path, help="where the page and results/ go")
    arguments = parser.parse_args()
    if arguments.lines:
        for name in arguments.models:
            line = line_of(places_here(), arguments.name, name, compiled=arguments.compile)
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        return
    from benchmarks.recording import HERE, provenance, write  # of this checkout: it imports halosearch

    where, folder = provenance(torch.device("cpu")), arguments.folder or HERE
    arguments.name = arguments.name or where["commit"]
    found = lines_from(arguments.code or HERE.parent, arguments)
    file = folder / "results/step-model-cpu.json"
    kept = json.loads(file.read_text())["lines"] if file.exists() else []
    for line in found:
        line["present"] = arguments.code is None  # what GPUs ran is like this checkout's, not like another's
    again = {(each["code"], each["model"]) for each in found}
    lines = [each for each in kept if (each["code"], each["model"]) not in again] + found
    write(
        "step-model",
        torch.device("cpu"),
        {"provenance": where, "lines": lines},
        page_of(lines, HERE / "results"),
        folder,
    )


if __name__ == "__main__":
    main()
