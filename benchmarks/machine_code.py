"""Warp instructions that the attention kernels of a recorded step issue, from their machine code for sm_90. Needs no GPU.

Part of `benchmarks.step_model`. Instructions outside a kernel's loop count once for a program, those inside as often as it has tiles;
what is predicated off counts, too, and nothing waits: a bound from below.
"""

import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}


@dataclass(frozen=True)
class Code:
    """Instructions of a kernel's machine code: those in its loop, and the others."""

    loop: int
    others: int
    loops: int


def specialised(launch):
    """What Triton compiles a launch for, as its launcher would find it: signature, constants, attributes."""
    signature, constants, attributes = {}, dict(launch.options), {}
    warps, stages = constants.pop("num_warps", 4), constants.pop("num_stages", 3)
    arguments = iter(launch.arguments)
    for at, each in enumerate(launch.kernel.params):
        if each.name in constants:
            signature[each.name] = "constexpr"
            continue
        value = next(arguments)
        if isinstance(value, torch.Tensor):
            signature[each.name] = TYPES[value.dtype]
            attributes[at,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[each.name] = "fp32"
        elif value == 1 and not each.do_not_specialize:
            signature[each.name], constants[each.name] = "constexpr", 1
        else:
            signature[each.name] = "i32"
            if value % 16 == 0 and not each.do_not_specialize:
                attributes[at,] = [["tt.divisibility", 16]]
    return signature, constants, attributes, {"num_warps": warps, "num_stages": stages}


def machine_code(launch):
    """Compiled for sm_90, disassembled, and its instructions counted."""
    import triton  # Triton is optional
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes, options = specialised(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True, **options})
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(made.asm["cubin"])
        cubin.flush()
        text = subprocess.run([tool, "-sass", cubin.name], capture_output=True, text=True, check=True).stdout
    return instructions(text)


def instructions(text):
    """Counts in a disassembly. A loop is what a branch jumps back over; the last jump to itself is padding."""
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", text)
    at = [int(address, 16) for address, _, _ in lines]
    end = next(
        (here for here, (_, name, rest) in zip(at, lines, strict=True) if name == "BRA" and _target(rest) == here),
        at[-1] + 1,
    )
    jumps = sorted(
        (_target(rest), here)
        for here, (_, name, rest) in zip(at, lines, strict=True)
        if name.startswith("BRA") and _target(rest) is not None and _target(rest) < here
    )
    spans = []
    for first, last in jumps:
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    inside = sum(any(first <= here <= last for first, last in spans) for here in at)
    return Code(inside, sum(here < end for here in at) - inside, len(spans))


def _target(rest):
    found = re.search(r"0x([0-9a-f]+)", rest)
    return int(found[1], 16) if found else None


def turns(launch):
    """Warp-programs of a launch, and turns of their loops over the whole grid: (programs, turns), warps not counted."""
    names = [each.name for each in launch.kernel.params if each.name not in launch.options]
    v = {**dict(zip(names, launch.arguments, strict=True)), **launch.options}
    programs = math.prod(launch.grid)
    if "BN" not in v:
        return programs, 0
    block, halo = v["B"], v["HALO"]
    slots = [
        (min(y + block + halo, v["H"]) - max(y - halo, 0))
        * (v["WP"] if v.get("GRID") else min(x + block + halo, v["W"]) - max(x - halo, 0))
        for y in range(0, v["H"], block)
        for x in range(0, v["W"], block)
    ]
    tiles = sum(math.ceil(each / v["BN"]) for each in slots)
    heads_and_images = launch.grid[0] // len(slots) * launch.grid[2]
    if (
        launch.name == "backward_keys_kernel"
    ):  # a tile of keys goes over the queries; a program without keys ends at once
        return tiles * heads_and_images, tiles * heads_and_images * math.ceil(v["SIDE"] ** 2 / v["BM"])
    return programs, tiles * heads_and_images * launch.grid[1]


def issued(launched):
    """Warp instructions by attention kernel in a step of recorded launches."""
    known, found = {}, Counter()
    for launch in launched:
        if launch.kernel.__module__.endswith("norm_kernels"):
            continue
        signature, constants, attributes, options = specialised(launch)
        key = launch.name, str((signature, constants, attributes, options))
        if key not in known:
            known[key] = machine_code(launch)
            sys.stderr.write(f"{launch.name} {launch.grid} {known[key]}\n")
        programs, rounds = turns(launch)
        found[launch.name] += options["num_warps"] * (programs * known[key].others + rounds * known[key].loop)
    return found
