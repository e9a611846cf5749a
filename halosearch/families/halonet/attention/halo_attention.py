"""Blocked local self-attention with halos: one function, interchangeable backends.

Shape suffixes: N images, H W positions of the stride-1 map, P Q rows and columns of the output, C all channels of q and k,
V all channels of v, G heads, D E channels of a head of q/k and of v, I J blocks down and across, A B query slots of a
block, X Y window positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from halosearch.families.halonet.attention import fused, sdpa
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.gather_scatter import HIDDEN
from halosearch.families.halonet.attention.windows import Axis, axis
from halosearch.families.triton_probe import kernels_run, triton_is_there

TRITON_WINDOW = 32
"""H0-H7 have windows of 14 to 18 positions, which the kernels pad to at most 32; on one of 80 they spill registers (sm_90)."""

FLOAT_SHARED_BYTES = 160 * 1024
"""What a block of the kernels needs in float32 where heads are as wide as H7's (151,552 bytes, compiled for sm_89)."""


def halo_attention(
    q: Tensor, k: Tensor, v: Tensor, tables: tuple[Tensor, Tensor], shape: Shape, backend: str = "auto"
) -> Tensor:
    """Attention of every query to the window of its block, with factorised relative logits and padded keys masked.

    Args:
        q: (N, ceil(H/stride), ceil(W/stride), heads·d); under stride 2 these are the queries of the even positions.
        k: (N, H, W, heads·d).
        v: (N, H, W, heads·d_v).
        tables: relative embeddings of rows and of columns, (2·window - 1, d) each, shared by the heads; row of the key in its
            window minus row of the query in its block plus window - 1.
        shape: number of heads, block size (one larger than the map is clipped), halo size, stride.
        backend: "reference" (explicit, what MACs are counted on), "sdpa" (portable), "tiled" (CPU), "triton" (CUDA), or
            "auto" (the fastest that the device has).

    Returns:
        (N, ceil(H/stride), ceil(W/stride), heads·d_v).

    Raises:
        ValueError: an unknown backend; shapes, tables or dtypes that do not belong together.

    Source: arXiv:2103.12731, section 3; a map that blocks do not tile is padded, its padding masked, and cropped.
    """
    inputs = Inputs(q, k, v, *tables)
    _check(inputs, shape)
    try:
        attend = BACKENDS[backend]
    except KeyError:
        raise ValueError(f"unknown attention backend {backend!r}; backends are {', '.join(BACKENDS)}") from None
    return attend(inputs, shape)


def _check(inputs: Inputs, shape: Shape) -> None:
    """A table of a wrong length or maps of another batch would give plausible, wrong numbers in some backends."""
    q, k, v, *tables = inputs
    heads, stride, rows = shape.heads, shape.stride, 2 * shape.window - 1
    n, height, width, channels = k.shape
    whole = channels % heads == 0 and v.shape[3] % heads == 0
    belong = (
        q.shape == (n, -(-height // stride), -(-width // stride), channels)
        and v.shape[:3] == k.shape[:3]
        and all(table.shape == (rows, channels // heads) for table in tables)
    )
    if not (whole and belong and len({each.dtype for each in inputs}) == 1):
        raise ValueError(
            f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} and tables {[tuple(t.shape) for t in tables]} do not belong "
            f"together at stride {stride} with {heads} heads and windows whose tables have {rows} rows, or differ in dtype"
        )


def _queries(q_NPQC: Tensor, heads: int, rows: Axis, columns: Axis) -> Tensor:
    """BlockGeometry the queries into blocks: (N, I, A, J, B, G, D)."""
    for dim, side in ((1, rows), (2, columns)):
        if not side.regular:
            q_NPQC = q_NPQC.index_select(dim, side.query_row_IA.flatten())
    missing = [side.blocks * side.slots - q_NPQC.shape[dim] for dim, side in ((1, rows), (2, columns))]
    if any(missing):
        q_NPQC = F.pad(q_NPQC, (0, 0, 0, missing[1], 0, missing[0]))
    n = q_NPQC.shape[0]
    return q_NPQC.reshape(n, rows.blocks, rows.slots, columns.blocks, columns.slots, heads, -1)


def _windows(k_NHWC: Tensor, heads: int, rows: Axis, columns: Axis) -> Tensor:
    """The window of every block: (N, I, J, G, X·Y, D)."""
    padded = F.pad(
        k_NHWC, (0, 0, columns.halo, columns.halo + columns.pad_after, rows.halo, rows.halo + rows.pad_after)
    )
    cut_NIJCXY = padded.unfold(1, rows.window, rows.tile).unfold(2, columns.window, columns.tile)
    n, i, j, _, x, y = cut_NIJCXY.shape
    return cut_NIJCXY.permute(0, 1, 2, 4, 5, 3).reshape(n, i, j, x * y, heads, -1).transpose(3, 4)


def _relative(q_NIAJBGD: Tensor, table: Tensor, side: Axis, *, down: bool) -> Tensor:
    """Dot products of the queries with the relative embeddings of their window's rows (or columns): (N, I, J, G, A, B, X)."""
    embedding_IAXD = table[side.table_RELATIVE_IAW]
    order = (1, 2, 0, 3, 4, 5, 6) if down else (3, 4, 0, 1, 2, 5, 6)
    moved = q_NIAJBGD.permute(order)
    flat = moved.reshape(*moved.shape[:2], -1, moved.shape[-1])
    logits = torch.matmul(flat, embedding_IAXD.transpose(-1, -2)).reshape(*moved.shape[:-1], side.window)
    return logits.permute((2, 0, 3, 5, 1, 4, 6) if down else (2, 3, 0, 5, 4, 1, 6))


def _assemble(out_NIJGABE: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Put the blocks' outputs back on the map: (N, P, Q, G·E)."""
    n, i, j, g, a, b, e = out_NIJGABE.shape
    whole = out_NIJGABE.permute(0, 1, 4, 2, 5, 3, 6).reshape(n, i * a, j * b, g * e)
    for dim, side in ((1, rows), (2, columns)):
        whole = whole.narrow(dim, 0, side.out) if side.regular else whole.index_select(dim, side.slot_of_row_R)
    return whole


def _reference(inputs: Inputs, shape: Shape, mask: int | None = None, *, relative: bool = True) -> Tensor:
    """Explicit matrix products over whole windows, padding included: the oracle, and what the counters trace.

    `mask`: see `masked_attention`; without `relative` the tables, which hold nothing, are not multiplied.
    """
    q, k, v, rel_height, rel_width = inputs
    heads, *numbers = shape
    # under tracing, sizes are tensors and would miss the cache
    rows, columns = (axis(int(side), *numbers, k.device) for side in k.shape[1:3])
    q_NIAJBGD = _queries(q, heads, rows, columns)
    k_NIJGKD, v_NIJGKE = _windows(k, heads, rows, columns), _windows(v, heads, rows, columns)
    q_NIJGABD = q_NIAJBGD.permute(0, 1, 3, 5, 2, 4, 6)
    n, i, j, g, a, b, d = q_NIJGABD.shape
    scores = torch.matmul((q_NIJGABD * d**-0.5).reshape(n, i, j, g, a * b, d), k_NIJGKD.transpose(-1, -2))
    scores = scores.reshape(n, i, j, g, a, b, rows.window, columns.window)
    if relative:
        scores = scores + _relative(q_NIAJBGD, rel_height, rows, down=True)[..., :, None]
        scores = scores + _relative(q_NIAJBGD, rel_width, columns, down=False)[..., None, :]
    if mask is not None:
        down, across = (_near(side, shape, mask) for side in (rows, columns))
        near_IJABXY = down[:, None, :, None, :, None] & across[None, :, None, :, None, :]
        scores = scores.masked_fill(~near_IJABXY[:, :, None], HIDDEN)
    seen_IJXY = rows.visible_IW[:, None, :, None] & columns.visible_IW[None, :, None, :]
    scores = scores.masked_fill(~seen_IJXY[:, :, None, None, None], float("-inf"))
    weights = scores.flatten(-2).softmax(
        -1, dtype=torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else None
    )
    out = torch.matmul(weights.to(v.dtype).reshape(n, i, j, g, a * b, -1), v_NIJGKE)
    return _assemble(out.reshape(n, i, j, g, a, b, -1), rows, columns)


def _near(side: Axis, shape: Shape, mask: int) -> Tensor:
    """(I, A, W): whether a key lies within a mask around the query."""
    return (side.table_RELATIVE_IAW - (shape.halo_size + shape.window - 1)).abs() <= mask // 2


def masked_attention(inputs: Inputs, shape: Shape, mask: int | None, backend: str, *, relative: bool = True) -> Tensor:
    """`halo_attention` in which every query sees only the `mask` x `mask` pixels around it (None: the whole window of its block).

    On every backend but "reference" the mask rides on the relative tables: queries get a channel of ones, and the tables one that
    lowers what lies too far along either axis by `HIDDEN`, so that its weight is 0. `relative`: whether the tables hold anything.
    """
    if backend == "reference":
        _check(inputs, shape)
        return _reference(inputs, shape, mask, relative=relative)
    if mask is not None:
        inputs = _with_mask(inputs, shape, mask)
    return halo_attention(*inputs[:3], (inputs.rel_height, inputs.rel_width), shape, backend)


def _with_mask(inputs: Inputs, shape: Shape, mask: int) -> Inputs:
    """The same attention with one more channel in each head, which carries the mask."""
    q, k, v, *tables = inputs
    heads, channels = shape.heads, k.shape[3] // shape.heads
    rescale = ((channels + 1) / channels) ** 0.5  # the scores' scale is that of the channels that there are
    grown_q = F.pad(q.unflatten(3, (heads, channels)), (0, 1), value=1.0).flatten(3)
    grown_k = F.pad((k * rescale).unflatten(3, (heads, channels)), (0, 1)).flatten(3)
    offset = torch.arange(2 * shape.window - 1, device=k.device) - (shape.halo_size + shape.window - 1)
    hidden = torch.where(offset.abs() <= mask // 2, 0.0, HIDDEN).to(k.dtype)
    return Inputs(grown_q, grown_k, v, *(torch.cat([table, hidden[:, None]], 1) for table in tables))


def _tiled(inputs: Inputs, shape: Shape) -> Tensor:
    """The registered operator on a CPU."""
    if inputs.k.device.type == "cuda":
        raise ValueError("attention backend 'tiled' runs on a CPU; on CUDA take 'triton', 'sdpa' or 'auto'")
    return fused.halo_attention(inputs, shape)


def _triton(inputs: Inputs, shape: Shape) -> Tensor:
    """The registered operator on CUDA."""
    if inputs.k.device.type != "cuda" or not triton_is_there():
        raise ValueError("attention backend 'triton' needs a CUDA device and the package triton; take 'auto'")
    return fused.halo_attention(inputs, shape)


def _auto(inputs: Inputs, shape: Shape) -> Tensor:
    k = inputs.k
    window = min(shape.block_size, max(k.shape[1:3])) + 2 * shape.halo_size
    return BACKENDS[chosen_backend(k.device, k.dtype, window)](inputs, shape)


def chosen_backend(device: torch.device, dtype: torch.dtype = torch.bfloat16, window: int = 0) -> str:
    """What `auto` runs on a device: measured on CPUs (benchmarks/), a hypothesis on CUDA until it is measured there.

    Triton's kernels take no float64, no windows over `TRITON_WINDOW` positions (a block of the whole map), and float32 only where a block
    may have `FLOAT_SHARED_BYTES`: consumers' GPUs have a hundred thousand.
    """
    if device.type == "cuda":
        fits = dtype != torch.float64 and window <= TRITON_WINDOW
        if dtype == torch.float32:
            fits = fits and shared_memory(device) >= FLOAT_SHARED_BYTES
        return "triton" if fits and triton_runs(device) else "sdpa"
    return "tiled" if device.type in ("cpu", "meta") else "sdpa"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def shared_memory(device: torch.device) -> int:
    """Bytes that a block of a GPU may have; as many as needed where PyTorch does not say."""
    properties = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "shared_memory_per_block_optin", FLOAT_SHARED_BYTES))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def triton_runs(device: torch.device) -> bool:
    """Whether the kernels of the attention can be used on a device."""
    return kernels_run("attention", device, _probe_error)


def _probe_error(device: torch.device) -> float:
    """Of a small case against the explicit form."""
    generator, pairs = torch.Generator().manual_seed(0), list[tuple[Tensor, Tensor]]()
    for shape in (Shape(1, 8, 3), Shape(1, 12, 2)):  # one backward kernel, and two
        table = (2 * shape.window - 1, 16)
        maps = [torch.randn(size, generator=generator) for size in (*[(1, 16, 16, 16)] * 3, table, table)]
        low = [each.to(device, torch.bfloat16).requires_grad_() for each in maps]
        exact = [each.to(device).requires_grad_() for each in maps]
        ours, theirs = _triton(Inputs(*low), shape), _reference(Inputs(*exact), shape)
        pairs.append((ours, theirs))
        pairs += zip(torch.autograd.grad(ours.sum(), low), torch.autograd.grad(theirs.sum(), exact), strict=True)
    return max(float(((a - b).norm() / b.norm().clamp_min(1.0)).detach()) for a, b in pairs)


BACKENDS: dict[str, Callable[[Inputs, Shape], Tensor]] = {
    "reference": _reference,
    "sdpa": sdpa.attend,
    "tiled": _tiled,
    "triton": _triton,
    "auto": _auto,
}
