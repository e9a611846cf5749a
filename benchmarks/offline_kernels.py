"""Do the kernels of attention and norms compile for GPUs that are not here, and would they fit? Needs no GPU.

    python -m benchmarks.offline_kernels [--targets 80 86 89 90 100 120 gfx942] [--models h0 ... h7] [--candidates 200] [--lines]

Compiles what the attention layers of H0-H7, and of random candidates of four budgets with their twins, would launch in bfloat16, and the
norms of maps of any width with what may follow them, every distinct kernel once for a target, and reads registers, spilled bytes and
shared memory from the binary. Lines are appended to
results/offline-kernels-cpu.jsonl; what stands there is not compiled again. `--lines`: print the lines and write nothing.

The claim to fail: every kernel compiles everywhere, and takes no more shared memory than a block of that GPU may have.
"""

import argparse
import hashlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import triton  # noqa: TID253  # the benchmark is about it
from triton.backends.compiler import GPUTarget  # noqa: TID253
from triton.compiler import ASTSource  # noqa: TID253

from benchmarks.machine_code import specialised
from benchmarks.recording import HERE, lines_of, provenance, table, write
from benchmarks.step_model import MODULES, Launch, Ledger, as_on_cuda
from halosearch.cost.candidate_pool import Limits, candidate_pool
from halosearch.families import norm_kernels
from halosearch.families.halonet.attention import triton_kernels, triton_launch, triton_pieces
from halosearch.families.halonet.attention.halo_attention import TRITON_WINDOW
from halosearch.families.halonet.attention.triton_launch import Problem
from halosearch.families.halonet.config import CONV
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import HaloNetSpace, config_from_dials
from halosearch.families.known import twin_of
from halosearch.families.layers import RELU, SILU
from halosearch.families.norm import CODES, FusedNorm, Norm

KERNELS = {
    "forward": triton_kernels.forward_kernel,
    "backward": triton_kernels.backward_kernel,
    "queries": triton_kernels.backward_queries_kernel,
    "keys": triton_kernels.backward_keys_kernel,
}
FLOATS = {"LSE", "DELTA", "DR"}
SCALAR = {"scale": "fp32"}
BINARIES = Path(triton.__file__).parent / "backends/nvidia/bin"
SHARED_LIMIT = {
    "80": 166_912,
    "86": 101_376,
    "89": 101_376,
    "90": 232_448,
    "100": 232_448,
    "120": 101_376,
    "gfx942": 65_536,
}
"""Bytes that a block may have: CUDA C++ programming guide, table of technical specifications per compute capability; of gfx942, AMD's
CDNA 3 instruction set guide (64 KB of LDS)."""
GPUS = {
    "80": "A100",
    "86": "RTX 30",
    "89": "RTX 40, L4",
    "90": "H100, H200",
    "100": "B200",
    "120": "RTX 50",
    "gfx942": "MI300",
}
BUDGETS = (4_000_000, 8_000_000, 20_000_000, 60_000_000)
SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384)
TWIN = 0.25
NORM_WIDTHS = (24, 64, 200, 512)
"""Channels of maps: every width of a tile, whole ones and padded ones."""


def problems(config):
    """Attention layers of a network that Triton's kernels compute: one of stride 1 and, from the second stage on, a strided one."""
    for stage in range(4):
        if config.stage_kinds[stage] == CONV:
            continue
        width, heads = config.stage_width(stage), config.heads[stage]
        for stride in (1, 2) if stage else (1,):
            side = config.image_size // 4 // 2**stage * (2 if stride == 2 else 1)
            block = min(config.block_size, side), config.halo_size
            if block[0] + 2 * block[1] > TRITON_WINDOW:  # such layers run on PyTorch's own kernels
                continue
            out = side // stride
            channels = width // heads, int(width * config.value_ratio) // heads
            yield Problem(side, side, out, out, heads, *block, stride, *channels)


def random_candidates(count, seed=0):
    """Drawn evenly from the cells of four budgets, and their twins."""
    for budget in BUDGETS if count else ():
        rows = candidate_pool(HaloNetSpace(image_size=SIZES), Limits(budget))
        picked = np.random.default_rng(seed).choice(len(rows), min(len(rows), count // len(BUDGETS)), replace=False)
        for dials in rows.iloc[picked].to_dict("records"):
            config = config_from_dials(dials)
            yield from (config, twin_of(config, TWIN))


def kernels_of(problem):
    """What one layer launches."""
    return ("forward", "backward") if problem.whole else ("forward", "queries", "keys")


def wanted(models, candidates):
    """Distinct kernels by a name of their constants: the first problem that launches them."""
    found = {}
    for config in (*(FAMILY[name] for name in models), *random_candidates(candidates)):
        for problem in problems(config):
            for kernel in kernels_of(problem):
                tile = triton_launch.tiling(problem, kernel)
                sizes = (*problem.constants(kernel).values(), tile.warps, tile.stages)
                aligned = tuple(size % 16 == 0 for size in (problem.channels, problem.values))
                found.setdefault(f"{kernel} {sizes} {aligned}", (kernel, problem))
    return found


def norms(widths):
    """Distinct kernels of norms by a name: a launch of each, recorded on meta tensors."""
    ledger, found = Ledger(), {}
    with as_on_cuda(MODULES["families"], ledger):
        for channels in widths:
            for act, join in itertools.product((None, SILU, RELU), (False, True)):
                layer = Norm(channels).to("meta")
                x, shortcut = (
                    torch.empty(64, channels, 8, 8, dtype=torch.bfloat16, device="meta").contiguous(
                        memory_format=torch.channels_last
                    )
                    for _ in range(2)
                )
                x.requires_grad_()
                tensors = x, shortcut.requires_grad_() if join else None, layer.weight, layer.bias
                FusedNorm.apply(layer, 1.0, CODES[act], *tensors).sum().backward()
    for launch in ledger.launched:
        _, constants, attributes, _ = specialised(launch)
        found.setdefault(f"{launch.name} {tuple(sorted(constants.items()))} {len(attributes)} aligned", launch)
    return found


def compiled_launch(launch, target):
    """What `compiled` gives, of a recorded launch."""
    signature, constants, attributes, options = specialised(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    return _built(source, target, {**options, "enable_fp_fusion": True})


def compiled(kernel, problem, target):
    """Registers of a thread, spilled bytes, shared memory; of AMD's binaries shared memory only."""
    function, tile = KERNELS[kernel], triton_launch.tiling(problem, kernel)
    constants = problem.constants(kernel)
    signature = {
        name: "constexpr"
        if name in constants
        else ("*fp32" if name in FLOATS else "*bf16")
        if name.isupper() and name not in {*triton_kernels.SIZES, "D", "DV"}
        else SCALAR.get(name, "i32")
        for name in function.arg_names
    }
    aligned = [
        name for name in function.arg_names if signature[name].startswith("*") or re.fullmatch("s[qkvo][nyx]", name)
    ] + [name for name, size in (("D", problem.channels), ("DV", problem.values)) if size % 16 == 0]
    attrs = {(function.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attrs)
    return _built(source, target, {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True})


def _built(source, target, options):
    amd = target.startswith("gfx")
    where = GPUTarget("hip", target, 64) if amd else GPUTarget("cuda", int(target), 32)
    made = triton.compile(source, target=where, options=options)
    found = {"shared_bytes": made.metadata.shared}
    return found if amd else found | _usage(made.asm["cubin"])


def _usage(binary):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(binary)
        cubin.flush()
        log = subprocess.run(
            [BINARIES / "cuobjdump", "-res-usage", cubin.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack, local = map(int, re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", log).groups())
    return {"registers": registers, "spilled_bytes": max(stack, local)}


def code_of_kernels():
    """Twelve digits of Triton's version and the kernels' source: numbers of other code are not gone on with.

    What launches them decides tiles and sizes, which are part of a kernel's name.
    """
    digest = hashlib.sha256(triton.__version__.encode())
    for module in (triton_kernels, triton_pieces, norm_kernels):
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:12]


def line_of(name, wanted, target):
    """One kernel for one target; an error where it does not compile."""
    if isinstance(wanted, Launch):
        where = {"target": target, "name": name, "kernel": wanted.name}
    else:
        kernel, problem = wanted
        where = {
            "target": target,
            "name": name,
            "kernel": kernel,
            "channels": problem.channels,
            "values": problem.values,
        }
    try:
        return where | (compiled_launch(wanted, target) if isinstance(wanted, Launch) else compiled(*wanted, target))
    except Exception as error:  # noqa: BLE001  # a kernel that does not compile is what is asked
        return where | {"error": f"{type(error).__name__}: {error}"[-300:]}


def page_of(lines, asked, count):
    """Markdown: a row for every target. `count`: kernels that are asked for."""
    rows, held, whole = [], True, True
    for target in dict.fromkeys(line["target"] for line in lines):
        own = [line for line in lines if line["target"] == target]
        done = [line for line in own if "error" not in line]
        over = [line for line in done if line["shared_bytes"] > SHARED_LIMIT[target]]
        spilled = sorted(line["spilled_bytes"] for line in done if "spilled_bytes" in line)
        held, whole = held and not over and len(done) == len(own), whole and len(own) == count
        rows.append(
            [
                f"{target} ({GPUS[target]})",
                f"{len(own)} of {count}",
                len(own) - len(done),
                f"{max(line['shared_bytes'] for line in done):,} of {SHARED_LIMIT[target]:,}" if done else "-",
                len(over),
                f"{sum(each > 0 for each in spilled)}, most {spilled[-1]} bytes" if spilled else "not known",
            ]
        )
    return "\n\n".join(
        [
            "# The kernels of attention and norms compiled for GPUs that are not here",
            f"Distinct kernels of {asked}. Compiled in bfloat16 by Triton {triton.__version__}; nothing is run.",
            f"**Every kernel compiles and fits: {('held' if whole else 'held so far') if held else 'failed'}.** The models' own kernels come first.",
            table(["target", "kernels", "do not compile", "most shared memory", "over it", "spill registers"], rows),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="*", default=list(GPUS), choices=list(GPUS))
    parser.add_argument("--models", nargs="*", default=list(FAMILY))
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--widths", nargs="*", type=int, default=list(NORM_WIDTHS), help="channels of the norms' maps")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    where, kernels = (
        provenance(torch.device("cpu")),
        norms(arguments.widths) | wanted(arguments.models, arguments.candidates),
    )
    file = arguments.folder / "results/offline-kernels-cpu.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    code = code_of_kernels()
    kept = [] if arguments.lines else lines_of(file)
    lines = [line for line in kept if line["code"] == code and line["name"] in kernels]
    known = {(line["target"], line["name"]) for line in lines}
    for target in arguments.targets:
        for name, each in kernels.items():
            if (target, name) in known:
                continue
            line = line_of(name, each, target) | {"code": code}
            lines.append(line)
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            if not arguments.lines:
                with file.open("a") as out:
                    out.write(json.dumps(line) + "\n")
    if not arguments.lines:
        asked = (
            f"{', '.join(arguments.models)}, of {arguments.candidates} random candidates with their twins, "
            f"and of norms of {len(arguments.widths)} widths"
        )
        write(
            "offline-kernels",
            torch.device("cpu"),
            {"provenance": where, "asked": asked, "count": len(kernels), "lines": lines},
            page_of(lines, asked, len(kernels)),
            arguments.folder,
        )


if __name__ == "__main__":
    main()
