"""Run in a process of its own with TRITON_INTERPRET=1: the kernels on a CPU against the explicit form in float64.

Arguments: grid or exact (how key slots are laid out), fp32 or fp16, and
optionally a text of the kernels' source and its replacement (a mutation). Prints a JSON list of
relative errors, worst of the output and the five gradients, one for each geometry.
"""

import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from halosearch.families.halonet.attention import triton_kernels, triton_launch, triton_pieces
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.halo_attention import halo_attention

GEOMETRIES = [  # height, width, block, halo, stride, heads, channels, values, images
    (5, 7, 4, 1, 1, 2, 4, 6, 2),
    (5, 7, 4, 1, 2, 1, 4, 6, 2),
    (9, 7, 8, 3, 1, 1, 8, 12, 1),
    (5, 5, 10, 3, 1, 1, 4, 4, 1),
    (9, 8, 5, 1, 2, 1, 4, 4, 1),
    (7, 7, 3, 2, 2, 1, 4, 4, 1),
    (5, 6, 2, 5, 1, 1, 4, 4, 1),
    (8, 8, 4, 0, 1, 1, 4, 4, 1),
    (10, 10, 9, 1, 1, 1, 4, 20, 1),
    (5, 7, 4, 1, 1, 2, 5, 6, 1),
]


def mutate(old, new):
    kernels, pieces = (Path(each.__file__).read_text() for each in (triton_kernels, triton_pieces))
    source = pieces + re.sub(r"from halosearch\S*triton_pieces import \(.*?\)\n", "", kernels, flags=re.DOTALL)
    assert source.count(old) >= 1, f"nothing to mutate: {old}"
    path = Path(tempfile.mkdtemp()) / "mutated_kernels.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("mutated_kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    triton_launch.triton_kernels = module


def worst_error(geometry, dtype):
    height, width, block, halo, stride, heads, channels, values, images = geometry
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    table = 2 * (block + 2 * halo) - 1
    qkv = draw(images, height, width, heads * (2 * channels + values))  # slices of one projection, as in the network
    q, k, v = qkv.split((heads * channels, heads * channels, heads * values), -1)
    q = q[:, ::stride, ::stride]
    inputs = [q, k, v, draw(table, channels), draw(table, channels)]
    shape = Shape(heads, block, halo, stride)
    out, sums = triton_launch.forward(Inputs(*inputs), shape)
    weight = draw(*out.shape)
    grads = triton_launch.backward(weight, Inputs(*inputs), (out, sums), shape)
    exact = [each.detach().double().requires_grad_() for each in inputs]
    oracle = halo_attention(*exact[:3], tuple(exact[3:]), shape, "reference")
    oracles = torch.autograd.grad((oracle * weight.double()).sum(), exact)
    pairs = zip((out, *grads), (oracle, *oracles), strict=True)
    return max(((a.double() - b).norm() / b.norm()).nan_to_num(nan=1e9).item() for a, b in pairs)


if __name__ == "__main__":
    np.seterr(all="ignore")
    triton_launch.GRID_COST = {"grid": 100.0, "exact": 0.0}[sys.argv.pop(1)]
    triton_launch.PARTIAL_BYTES = 1  # every image in a launch of its own
    dtype = {"fp32": torch.float32, "fp16": torch.float16}[sys.argv[1]]
    chosen = GEOMETRIES
    if len(sys.argv) > 2:
        mutate(sys.argv[2], sys.argv[3])
        chosen = [GEOMETRIES[1], GEOMETRIES[2], GEOMETRIES[4], GEOMETRIES[8]]
    print(json.dumps([worst_error(geometry, dtype) for geometry in chosen]))
