"""Compiles the kernels without a GPU, on the attention layers of H0-H7. Prints JSON lines: layer, kernel, spills, shared memory.

Arguments: a compute capability (90, 89, ...) and names of family members; what two layers share is compiled once.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from halosearch.families.halonet.attention import triton_kernels, triton_launch
from halosearch.families.halonet.attention.triton_launch import Problem
from halosearch.families.halonet.published import FAMILY

KERNELS = {
    "forward": triton_kernels.forward_kernel,
    "backward": triton_kernels.backward_kernel,
    "queries": triton_kernels.backward_queries_kernel,
    "keys": triton_kernels.backward_keys_kernel,
}
FLOATS = {"LSE", "DELTA", "DR"}
SCALAR = {"scale": "fp32"}
BINARIES = Path(triton.__file__).parent / "backends/nvidia/bin"


def problems(config):
    """Layers of a model: a stride-1 and, from the second stage on, a strided one."""
    for stage in range(4):
        width, heads = config.stage_width(stage), config.heads[stage]
        for stride in (1, 2) if stage else (1,):
            side = config.image_size // 4 // 2**stage * (2 if stride == 2 else 1)
            yield Problem(
                side,
                side,
                side // stride,
                side // stride,
                heads,
                config.block_size,
                config.halo_size,
                stride,
                width // heads,
                int(width * config.value_ratio) // heads,
            )


def resources(kernel, problem, tiling=None, capability=90):
    """Registers of a thread, spilled bytes, shared memory."""
    function = KERNELS[kernel]
    tiling = tiling or triton_launch.tiling(problem, kernel)
    constants = problem.constants(kernel) | {"BM": tiling.queries, "BN": tiling.keys, "GRID": tiling.grid}
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
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        log = subprocess.run(
            [BINARIES / "cuobjdump", "-res-usage", cubin.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack, _, local = map(int, re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", log).groups())
    return registers, max(stack, local), compiled.metadata.shared


def kernels_of(problem):
    """What one layer launches."""
    return ("forward", "backward") if problem.whole else ("forward", "queries", "keys")


if __name__ == "__main__":
    capability, *models = sys.argv[1:]
    seen = set()
    for name in models:
        for problem in problems(FAMILY[name]):
            for kernel in kernels_of(problem):
                tiling = triton_launch.tiling(problem, kernel)
                key = (kernel, tiling, *problem.constants(kernel).items())
                if key in seen:
                    continue
                seen.add(key)
                registers, spilled, shared = resources(kernel, problem, capability=int(capability))
                row = {
                    "model": name,
                    "kernel": kernel,
                    "channels": problem.channels,
                    "values": problem.values,
                    "stride": problem.stride,
                    "tiling": [tiling.queries, tiling.keys, tiling.warps, tiling.stages, tiling.grid],
                    "registers": registers,
                    "spilled_bytes": spilled,
                    "shared_bytes": shared,
                }
                print(json.dumps(row), flush=True)
