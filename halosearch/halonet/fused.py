"""The fused attention as registered operators: opaque to compilers, known to autograd and to FLOP counters.

On a CPU they run `tiled`, on CUDA the Triton kernels of `triton_attention`. Backward keeps the inputs, the output and, on
CUDA, the logarithms of the softmax sums; on a CPU those are not needed and the tensor is empty.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from halosearch.halonet import tiled
from halosearch.halonet.cuts import cached_cut
from halosearch.halonet.windows import nominal_macs

ARGUMENTS = 4
"""Heads, block size, halo size and stride follow the five tensors."""


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
) -> tuple[Tensor, Tensor]:
    """Output (N, P, Q, G·E) and the logarithms of the softmax sums; see `attention.halo_attention`."""
    layer = _layer(k, heads, block_size, halo_size, stride)
    return tiled.forward(q, k, v, rel_height, rel_width, layer), q.new_empty(0, dtype=torch.float32)


@attend.register_kernel("cuda")
def _(q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, *numbers: int) -> tuple[Tensor, Tensor]:
    from halosearch.halonet import triton_attention  # Triton is optional

    return triton_attention.forward(q, k, v, rel_height, rel_width, *numbers)


@attend.register_fake
def _(
    q: Tensor,
    k: Tensor,  # noqa: ARG001
    v: Tensor,
    rel_height: Tensor,  # noqa: ARG001
    rel_width: Tensor,  # noqa: ARG001
    heads: int,
    *_numbers: int,
) -> tuple[Tensor, Tensor]:
    n, p, columns, _ = q.shape
    sums = (n, heads, p, columns) if q.device.type == "cuda" else (0,)
    return v.new_empty(n, p, columns, v.shape[3]), q.new_empty(sums, dtype=torch.float32)


@torch.library.custom_op("halosearch::halo_attention_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,  # noqa: ARG001
    log_sums: Tensor,  # noqa: ARG001
    heads: int,
    block_size: int,
    halo_size: int,
    stride: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the two tables for the gradient g of the output."""
    return tiled.backward(g, q, k, v, rel_height, rel_width, _layer(k, heads, block_size, halo_size, stride))


@attend_backward.register_kernel("cuda")
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_height: Tensor,
    rel_width: Tensor,
    out: Tensor,
    log_sums: Tensor,
    *numbers: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from halosearch.halonet import triton_attention

    return triton_attention.backward(g, q, k, v, rel_height, rel_width, out, log_sums, *numbers)


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
    rows, columns = (cached_cut(int(side), block_size, halo_size, stride) for side in k.shape[1:3])
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
    return 2 * nominal_macs(k[:4], v[3], *numbers[-ARGUMENTS:])


@register_flop_formula(torch.ops.halosearch.halo_attention_backward)
def _backward_flops(g: Any, q: Any, k: Any, v: Any, *numbers: Any, out_shape: Any = None, **_: Any) -> int:  # noqa: ARG001
    return 4 * nominal_macs(k[:4], v[3], *numbers[-ARGUMENTS:])
