"""The fused attention as registered operators: opaque to compilers, known to autograd and to FLOP counters.

On a CPU they run `tiled`, on CUDA the Triton kernels of `triton_launch`. Backward keeps the inputs, the output and what
forward gives beside it: on CUDA the logarithms of the softmax sums, on a CPU the weights where they are few, else nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from halosearch.families.halonet.attention import tiled
from halosearch.families.halonet.attention.block_geometry import block_geometry
from halosearch.families.halonet.attention.windows import nominal_macs

ARGUMENTS = 5
"""Heads, block size, halo size, stride and whether backward will come follow the five tensors."""


@torch.library.custom_op("halosearch::halo_attention", mutates_args=(), device_types="cpu")
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Output (N, P, Q, G·E) and what backward needs of the softmax; see `attention.halo_attention`."""
    with torch.autocast("cpu", enabled=False):  # its dtypes are those of its inputs
        return tiled.forward(q, k, v, rel_height, rel_width, _layer(k, heads, block_size, halo_size, stride), keep=keep)


@attend.register_kernel("cuda")
def _(q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, *numbers: int) -> tuple[Tensor, Tensor]:
    from halosearch.families.halonet.attention import triton_launch  # Triton is optional

    with torch.cuda.device(q.device):  # Triton launches on the current device
        return triton_launch.forward(q, k, v, rel_height, rel_width, *numbers[:-1])


@attend.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,  # noqa: ARG001
    rel_width: Tensor,  # noqa: ARG001
    heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    n, p, columns, _ = q.shape
    out = v.new_empty(n, p, columns, v.shape[3])
    if q.device.type == "cuda":
        return out, q.new_empty((n, heads, p, columns), dtype=torch.float32)
    kept = _layer(k, heads, block_size, halo_size, stride).kept_shape(n, keep)
    return out, q.new_empty(kept, dtype=torch.promote_types(q.dtype, torch.float32))


@torch.library.custom_op("halosearch::halo_attention_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,  # noqa: ARG001
    kept: Tensor,
    heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
    keep: bool,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the two tables for the gradient g of the output."""
    with torch.autocast("cpu", enabled=False):
        return tiled.backward(g, q, k, v, rel_height, rel_width, kept, _layer(k, heads, block_size, halo_size, stride))


@attend_backward.register_kernel("cuda")
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,
    kept: Tensor,
    *numbers: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:

    from halosearch.families.halonet.attention import triton_launch  # Triton is optional

    with torch.cuda.device(q.device):
        return triton_launch.backward(g, q, k, v, rel_height, rel_width, out, kept, *numbers[:-1])


@attend_backward.register_fake
def _(
    g: Tensor,  # noqa: ARG001
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    *_others: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv, d_height, d_width = (each.new_empty(each.shape) for each in (q, k, v, rel_height, rel_width))
    return dq, dk, dv, d_height, d_width


def _layer(k: Tensor, heads: int, block_size: int, halo_size: int, stride: int) -> tiled.Layer:
    rows, columns = (block_geometry(int(side), block_size, halo_size, stride) for side in k.shape[1:3])
    return tiled.Layer(heads, rows, columns)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:-ARGUMENTS], *output)
    ctx.numbers = inputs[-ARGUMENTS:]


def _differentiate(ctx: Any, g: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if g is None:
        return (None,) * (5 + ARGUMENTS)
    return (*attend_backward(g, *ctx.saved_tensors, *ctx.numbers), *(None,) * ARGUMENTS)


attend.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.halosearch.halo_attention)
def _flops(q: Any, k: Any, v: Any, *numbers: Any, out_shape: Any = None, **_: Any) -> int:  # noqa: ARG001
    """What the explicit form does: two per multiply-add, padding included."""
    return 2 * nominal_macs(k, v[3], *numbers[-ARGUMENTS:-1])


@register_flop_formula(torch.ops.halosearch.halo_attention_backward)
def _backward_flops(g: Any, q: Any, k: Any, v: Any, *numbers: Any, out_shape: Any = None, **_: Any) -> int:  # noqa: ARG001
    return 4 * nominal_macs(k, v[3], *numbers[-ARGUMENTS:-1])
