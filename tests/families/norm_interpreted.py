"""Run in a process of its own with TRITON_INTERPRET=1: the fused norm on a CPU against torch's own in float64.

Arguments: optionally a text of the kernels' source and its replacement (a mutation). Prints a JSON list of relative errors, worst of the
output, all gradients and the running statistics, one for each case; then how often a projection's gradient was joined by copying.
"""

import copy
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from halosearch.families import norm, norm_kernels
from halosearch.families.halonet.attention import fused
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.halo_attention import halo_attention

CASES = [  # shape, with a shortcut, activation, scale
    ((3, 20, 5, 7), False, "silu", 1.0),
    ((2, 8, 40, 40), True, "silu", 0.5),
    ((4, 130, 3, 3), True, "relu", 1.0),
    ((4, 33, 9, 3), False, None, 1.0),
]


def mutate(old, new):
    source = Path(norm_kernels.__file__).read_text()
    assert source.count(old) >= 1, f"nothing to mutate: {old}"
    path = Path(tempfile.mkdtemp()) / "mutated_norm_kernels.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("halosearch.families.norm_kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["halosearch.families.norm_kernels"] = module
    import halosearch.families

    halosearch.families.norm_kernels = module


def worst_error(shape, join, act, scale):
    torch.manual_seed(0)
    x = (2 * torch.randn(shape) + 5).contiguous(memory_format=torch.channels_last)
    r, g = (torch.randn(shape).contiguous(memory_format=torch.channels_last) for _ in range(2))
    ours = norm.Norm(shape[1]).train()
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    exact = copy.deepcopy(ours).double()
    low, high = ([each.to(t).requires_grad_() for each in (x, r)] for t in (torch.float32, torch.float64))
    out = ours._fused(low[0], low[1] if join else None, scale, act)
    grads = torch.autograd.grad(out, [low[0], ours.weight, ours.bias, *([low[1]] if join else [])], g)
    plain = torch.nn.BatchNorm2d.forward(exact, high[0])
    plain = norm.activated(high[1] + scale * plain if join else plain, act)
    wanted = [high[0], exact.weight, exact.bias, *([high[1]] if join else [])]
    exacts = torch.autograd.grad(plain, wanted, g.double())
    pairs = zip(
        (out, *grads, ours.running_mean, ours.running_var),
        (plain, *exacts, exact.running_mean, exact.running_var),
        strict=True,
    )
    assert ours.num_batches_tracked == exact.num_batches_tracked
    return max(((a.double() - b).norm() / b.norm()).nan_to_num(nan=1e9).item() for a, b in pairs)


def projection(stride):
    """Gradients of a projection whose output is cut into q, k and v; and how often their gradients were joined by copying."""
    torch.manual_seed(0)
    shape, d, e = Shape(2, 4, 1, stride), 4, 6
    keys, values, joined, plain = 2 * d, 2 * e, [0], torch.cat
    x, weights = torch.randn(2, 5, 7, 10), [torch.randn(10, 2 * keys + values), torch.randn(11, d), torch.randn(11, d)]

    def counted(*arguments, **named):
        joined[0] += 1
        return plain(*arguments, **named)

    def run(ours, dtype):
        w = [each.to(dtype).clone().requires_grad_() for each in weights]
        whole = x.to(dtype) @ w[0]
        cut = fused.Split.apply if ours else lambda each, widths: each.split(widths, -1)
        if stride == 1:
            q, k, v = cut(whole, (keys, keys, values))
        else:
            k, v = cut(whole[..., keys:].clone(), (keys, values))
            q = whole[:, ::2, ::2, :keys]
        tables = tuple(w[1:])
        out = (
            fused.Direct.apply([*shape, 1], q, k, v, *tables)
            if ours
            else halo_attention(q, k, v, tables, shape, "reference")
        )
        g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        return torch.autograd.grad(out, w, g)

    torch.cat = counted
    ours = run(ours=True, dtype=torch.float32)
    torch.cat = plain
    pairs = zip(ours, run(ours=False, dtype=torch.float64), strict=True)
    return max(((a.double() - b).norm() / b.norm()).item() for a, b in pairs), joined[0]


if __name__ == "__main__":
    np.seterr(all="ignore")
    fused.is_tiled = lambda device: False  # the interpreter runs Triton's kernels on a CPU
    if len(sys.argv) > 1:
        mutate(sys.argv[1], sys.argv[2])
    found = [worst_error(*case) for case in CASES]
    projected = [projection(stride) for stride in (1, 2)]
    print(json.dumps({"norm": found, "projection": [p[0] for p in projected], "joined": [p[1] for p in projected]}))
