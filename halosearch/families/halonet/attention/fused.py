"""The fused attention as registered operators: opaque to compilers, known to autograd and to FLOP counters.

On a CPU they run `tiled`, on CUDA the Triton kernels of `triton_launch`. Backward keeps the inputs, the output and what
forward gives beside it: on CUDA the logarithms of the softmax sums, on a CPU the weights where they are few, else nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.flop_counter import register_flop_formula

from halosearch.families.halonet.attention import tiled
from halosearch.families.halonet.attention.block_geometry import block_geometry
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.windows import nominal_macs


@torch.library.custom_op("halosearch::halo_attention", mutates_args=(), device_types="cpu")
def attend(
    q: Tensor, k: Tensor, v: Tensor, rel_height: Tensor, rel_width: Tensor, numbers: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Output (N, P, Q, G·E) and what backward needs of the softmax.

    `numbers` are those of a `Shape`, and whether backward will come.
    """
    return _forward(Inputs(q, k, v, rel_height, rel_width), numbers)


@attend.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, numbers = arguments
    return _forward(Inputs(*tensors), numbers)


@attend.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    q, k, v, _, _, numbers = arguments
    n, p, columns, _ = q.shape
    out = v.new_empty(n, p, columns, v.shape[3])
    if q.device.type == "cuda":
        return out, q.new_empty((n, numbers[0], p, columns), dtype=torch.float32)
    kept = _layer(k, numbers).kept_shape(n, bool(numbers[-1]))
    return out, q.new_empty(kept, dtype=torch.promote_types(q.dtype, torch.float32))


@torch.library.custom_op("halosearch::halo_attention_backward", mutates_args=(), device_types="cpu")
def attend_backward(
    g: Tensor, saved: Sequence[Tensor], numbers: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the two tables for the gradient g of the output; `saved`: these five, and what `attend` gave."""
    dq, dk, dv, d_height, d_width = _backward(g, saved, numbers)
    return dq, dk, dv, d_height, d_width


@attend_backward.register_kernel("cuda")
def _(g: Tensor, saved: Sequence[Tensor], numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    found = _backward(g, saved, numbers)
    dq, dk, dv = (each.contiguous() for each in found[:3])  # what an operator gives must not share memory
    return dq, dk, dv, found[3], found[4]


@attend_backward.register_fake
def _(
    g: Tensor,  # noqa: ARG001
    saved: Sequence[Tensor],
    numbers: Sequence[int],  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv, d_height, d_width = (each.new_empty(each.shape) for each in saved[:5])
    return dq, dk, dv, d_height, d_width


def halo_attention(inputs: Inputs, shape: Shape) -> Tensor:
    """The output alone; backward will come where gradients are recorded and something wants one.

    Compilers and counters are shown the registered operator; else its kernels are called directly, which saves Python.
    """
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
    if (
        inputs.k.device.type in ("cuda", "cpu")
        and not torch.compiler.is_compiling()
        and _get_current_dispatch_mode() is None
    ):
        direct: Tensor = Direct.apply([*shape, int(wanted)], *inputs)  # type: ignore[no-untyped-call]
        return direct
    out: Tensor = attend(*inputs, [*shape, int(wanted)])[0]
    return out


class Direct(torch.autograd.Function):
    """The kernels without an operator around them; on CUDA their gradients of q, k and v may then lie beside each other (see `split`)."""

    @staticmethod
    def forward(ctx: Any, numbers: Sequence[int], *tensors: Tensor) -> Tensor:
        """Keeps what backward reads. `numbers`: as of `attend`; `tensors`: those of `Inputs`."""
        out, kept = _forward(Inputs(*tensors), numbers)
        ctx.numbers = numbers
        ctx.save_for_backward(*tensors, out, kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the five."""
        return (None, *_backward(g, ctx.saved_tensors, ctx.numbers))


def is_tiled(device: torch.device) -> bool:
    """Whether a device's kernels are those of `tiled`; others have Triton's."""
    return device.type == "cpu"


def _forward(inputs: Inputs, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Output and what backward needs of the softmax, by the kernels of the device."""
    if is_tiled(inputs.k.device):
        with torch.autocast("cpu", enabled=False):  # its dtypes are those of its inputs
            return tiled.forward(inputs, _layer(inputs.k, numbers), keep=bool(numbers[-1]))
    from halosearch.families.halonet.attention import triton_launch  # Triton is optional

    with _on(inputs.k.device):
        return triton_launch.forward(inputs, Shape(*numbers[:-1]))


def _backward(g: Tensor, saved: Sequence[Tensor], numbers: Sequence[int]) -> tuple[Tensor, ...]:
    """Gradients of the five inputs; `saved`: these, the output and what backward needs of the softmax."""
    inputs = Inputs(*saved[:5])
    if is_tiled(g.device):
        with torch.autocast("cpu", enabled=False):
            return tiled.backward(g, inputs, saved[6], _layer(inputs.k, numbers))
    from halosearch.families.halonet.attention import triton_launch

    with _on(g.device):
        return triton_launch.backward(g, inputs, (saved[5], saved[6]), Shape(*numbers[:-1]))


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def split(whole: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """Channels of a projection's output (the last dimension) by parts; their gradients, where they lie beside each other, are not copied."""
    if whole.device.type != "cuda" or torch.compiler.is_compiling():
        return tuple(whole.split(list(widths), -1))
    parts: tuple[Tensor, ...] = Split.apply(whole, tuple(widths))  # type: ignore[no-untyped-call]
    return parts


class Split(torch.autograd.Function):
    """`Tensor.split` along the last dimension whose backward takes gradients that already lie in one map as they are."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, widths: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Views."""
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.widths = whole.shape, widths
        return tuple(each.view_as(each) for each in whole.split(list(widths), -1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        """The map that they lie in, or a joined copy."""
        there = [each for each in grads if each is not None]
        if len(there) == len(grads) and _lie_beside(there):
            first = there[0]
            return first.as_strided(ctx.shape, first.stride(), first.storage_offset()), None
        like = there[0]
        whole = [
            like.new_zeros(*ctx.shape[:-1], width) if each is None else each
            for each, width in zip(grads, ctx.widths, strict=True)
        ]
        return torch.cat(whole, -1), None


def _lie_beside(parts: list[Tensor]) -> bool:
    """Whether parts are neighbours in one dense map of the width of all."""
    width, at = sum(each.shape[-1] for each in parts), parts[0].storage_offset()
    shape = parts[0].shape
    dense = torch.empty(*shape[:-1], width, device="meta").stride()
    for each in parts:
        same = each.untyped_storage().data_ptr() == parts[0].untyped_storage().data_ptr()
        if not same or each.storage_offset() != at or each.stride() != dense or each.shape[:-1] != shape[:-1]:
            return False
        at += each.shape[-1]
    return True


def _layer(k: Tensor, numbers: Sequence[int]) -> tiled.Layer:
    heads, *cut = numbers[:-1]
    rows, columns = (block_geometry(int(side), *cut) for side in k.shape[1:3])
    return tiled.Layer(heads, rows, columns)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:-1], *output)
    ctx.numbers = inputs[-1]


def _differentiate(ctx: Any, g: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if g is None:
        return (None,) * 6
    return (*attend_backward(g, list(ctx.saved_tensors), ctx.numbers), None)


attend.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.halosearch.halo_attention)
def _flops(*shapes: Any, out_shape: Any = None, **_: Any) -> int:  # noqa: ARG001
    """What the explicit form does: two per multiply-add, padding included."""
    return 2 * nominal_macs(shapes[1], shapes[2][3], Shape(*shapes[-1][:-1]))


@register_flop_formula(torch.ops.halosearch.halo_attention_backward)
def _backward_flops(g: Any, saved: Any, numbers: Any, out_shape: Any = None, **_: Any) -> int:  # noqa: ARG001
    return 4 * nominal_macs(saved[1], saved[2][3], Shape(*numbers[:-1]))
