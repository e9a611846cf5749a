"""Fused halo attention for CPUs: forward and backward in tiles that stay in the cache, with library matrix products.

The relative logits and the mask enter as features, score = [q·scale, q·r_height, q·r_width] . [k, one-hot row, one-hot
column] with hidden keys' logits lowered, so a tile is two matrix products and a softmax in place. Backward computes a tile's
weights again from q, k, v and the tables, or reads them where all weights of the call are few enough to have been kept.
Legend as in `moves`; M queries and K keys of a cut, F features, Z cuts of all heads and images in one row.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from halosearch.families.halonet.attention import gather_scatter as moves
from halosearch.families.halonet.attention.block_geometry import BlockGeometry
from halosearch.families.halonet.attention.call import Inputs
from halosearch.families.halonet.attention.gather_scatter import cached_hidden

TILE_SCORES = 1 << 18
"""Scores of a tile: 1 MiB in float32, which a core's cache holds; 2^17 to 2^20 measured alike, without tiles 1.5 x slower."""
KEPT_SCORES = 1 << 23
"""Weights kept for backward at most (32 MiB in float32); the explicit form keeps more of them, for whole windows."""
CHUNK_SCORES = 1 << 22
"""Scores of the images whose windows are gathered at a time."""
KEPT_BYTES = 1 << 26
"""Of key features that a thread keeps between calls."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a call computes with beside its tensors."""

    heads: int
    rows: BlockGeometry
    columns: BlockGeometry

    @property
    def queries(self) -> int:
        """Query slots of a cut."""
        return self.rows.slots * self.columns.slots

    @property
    def keys(self) -> int:
        """Window positions of a cut."""
        return self.rows.window * self.columns.window

    def chunks(self, images: int) -> list[slice]:
        """Slices of the images that are worked on together."""
        step = max(1, CHUNK_SCORES // (self.heads * self.rows.pairs * self.columns.pairs))
        return [slice(at, min(at + step, images)) for at in range(0, images, step)]

    def tiles(self, cuts: int) -> list[slice]:
        """Slices of the cuts of a chunk, a tile each."""
        step = max(1, TILE_SCORES // (self.queries * self.keys))
        return [slice(at, min(at + step, cuts)) for at in range(0, cuts, step)]

    def kept_shape(self, images: int, keep: bool) -> tuple[int, ...]:
        """Shape of the weights that forward keeps: all of them, or none."""
        cuts = images * self.cuts
        return (cuts, self.queries, self.keys) if keep and cuts * self.queries * self.keys <= KEPT_SCORES else (0,)

    @property
    def cuts(self) -> int:
        """Cuts of all heads in an image."""
        return self.rows.blocks * self.columns.blocks * self.heads

    def features(self, channels: int) -> int:
        """Features of a query or key: its channels, a row and a column of its window."""
        return channels + self.rows.window + self.columns.window


def forward(inputs: Inputs, layer: Layer, *, keep: bool) -> tuple[Tensor, Tensor]:
    """(N, P, Q, G·E) in v's dtype, computed in float32 at least; and the weights to `keep` for backward, or an empty tensor."""
    q, k, v, rel_height, rel_width = inputs
    exact = torch.promote_types(q.dtype, torch.float32)
    out = v.new_empty(q.shape[0], layer.rows.out, layer.columns.out, v.shape[3])
    tables = moves.join_tables(rel_height, rel_width, layer.rows, layer.columns).to(exact)
    keys = _KeyFeatures(q, layer, exact)
    kept = q.new_empty(layer.kept_shape(q.shape[0], keep), dtype=exact)
    for images in layer.chunks(q.shape[0]):
        q_ZMF = _query_features(q[images].to(exact), tables, layer)
        k_ZKF, v_ZKE = keys.of(k[images]), _values(v[images].to(exact), layer)
        out_ZME = v_ZKE.new_empty(v_ZKE.shape[0], layer.queries, v_ZKE.shape[2])
        scores = kept[images.start * layer.cuts :] if kept.ndim == 3 else _scratch(q_ZMF, layer)
        for tile in layer.tiles(q_ZMF.shape[0]):
            weights_ZMK = scores[tile] if kept.ndim == 3 else scores[: tile.stop - tile.start]
            _weights(q_ZMF[tile], k_ZKF[tile], weights_ZMK)
            torch.bmm(weights_ZMK, v_ZKE[tile], out=out_ZME[tile])
        out[images] = _joined(out_ZME, layer)
    return out, kept


def backward(g: Tensor, inputs: Inputs, kept: Tensor, layer: Layer) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and the tables for the gradient g of the output and the weights that forward kept."""
    q, k, v, rel_height, rel_width = inputs
    exact = torch.promote_types(q.dtype, torch.float32)
    tables = moves.join_tables(rel_height, rel_width, layer.rows, layer.columns).to(exact)
    keys = _KeyFeatures(q, layer, exact)
    dq, dk, dv = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    d_tables = torch.zeros_like(tables)
    for images in layer.chunks(q.shape[0]):
        q_exact, first = q[images].to(exact), images.start * layer.cuts
        if kept.ndim == 3:
            weights, q_ZMF = kept[first:], _cut(q_exact, layer) * keys.channels**-0.5
        else:
            weights, q_ZMF = None, _query_features(q_exact, tables, layer)
        k_ZKF, v_ZKE = keys.of(k[images]), _values(v[images].to(exact), layer)
        g_ZME = _cut(g[images].to(exact), layer)
        dq_ZMF, dk_ZKD, dv_ZKE = _tiles_backward(g_ZME, (q_ZMF, k_ZKF, v_ZKE), weights, keys.channels, layer)
        dq[images] = _queries_backward(dq_ZMF, q_exact, tables, d_tables, layer)
        dk[images] = _windows_backward(dk_ZKD, k[images], layer)
        dv[images] = _windows_backward(dv_ZKE, v[images], layer)
    down, across = moves.part_tables(d_tables, layer.rows, layer.columns)
    return dq, dk, dv, down.to(rel_height.dtype, copy=True), across.to(rel_width.dtype, copy=True)


def _tiles_backward(
    g_ZME: Tensor, cuts: tuple[Tensor, Tensor, Tensor], weights: Tensor | None, channels: int, layer: Layer
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the query features, the windows' keys and their values; without `weights` q_ZMF has all its features."""
    q_ZMF, k_ZKF, v_ZKE = cuts
    dq_ZMF, dv_ZKE = q_ZMF.new_empty(*q_ZMF.shape[:2], k_ZKF.shape[2]), torch.empty_like(v_ZKE)
    dk_ZKD = k_ZKF.new_empty(*k_ZKF.shape[:2], channels)
    q_ZMD = q_ZMF[..., :channels]
    slopes = _scratch(q_ZMF, layer)
    scratch = _scratch(q_ZMF, layer) if weights is None else weights
    for tile in layer.tiles(q_ZMF.shape[0]):
        count = tile.stop - tile.start
        p_ZMK, ds_ZMK = scratch[:count] if weights is None else weights[tile], slopes[:count]
        if weights is None:
            _weights(q_ZMF[tile], k_ZKF[tile], p_ZMK)
        torch.bmm(p_ZMK.transpose(1, 2), g_ZME[tile], out=dv_ZKE[tile])
        torch.bmm(g_ZME[tile], v_ZKE[tile].transpose(1, 2), out=ds_ZMK)
        torch._softmax_backward_data(ds_ZMK, p_ZMK, -1, p_ZMK.dtype, grad_input=ds_ZMK)
        torch.bmm(ds_ZMK, k_ZKF[tile], out=dq_ZMF[tile])
        torch.bmm(ds_ZMK.transpose(1, 2), q_ZMD[tile], out=dk_ZKD[tile])
    return dq_ZMF, dk_ZKD, dv_ZKE


def _weights(q_ZMF: Tensor, k_ZKF: Tensor, out_ZMK: Tensor) -> None:
    torch.bmm(q_ZMF, k_ZKF.transpose(1, 2), out=out_ZMK)
    torch.softmax(out_ZMK, -1, out=out_ZMK)


def _scratch(q_ZMF: Tensor, layer: Layer) -> Tensor:
    tile = layer.tiles(q_ZMF.shape[0])[0]
    return q_ZMF.new_empty(tile.stop, layer.queries, layer.keys)


def _query_features(q: Tensor, tables: Tensor, layer: Layer) -> Tensor:
    rows, columns = layer.rows, layer.columns
    q_NIAJBGD = moves.cut_queries(q, layer.heads, rows, columns)
    n, i, a, j, b, g, d = q_NIAJBGD.shape
    features = q.new_empty(n, i, j, g, a, b, layer.features(d))
    torch.mul(q_NIAJBGD.permute(0, 1, 3, 5, 2, 4, 6), d**-0.5, out=features[..., :d])
    products = (q_NIAJBGD.reshape(-1, d) @ tables.t()).view(
        n, i, a, j, b, g, -1
    )  # a product of 7 axes would not be one gemm
    down, across = moves.skewed(products, rows, columns)
    hidden_IAX = cached_hidden(rows, q.device, q.dtype)
    torch.add(down, hidden_IAX[:, None, None, :, None], out=features[..., d : d + rows.window])
    hidden_JBY = cached_hidden(columns, q.device, q.dtype)
    torch.add(across, hidden_JBY[:, None, None], out=features[..., d + rows.window :])
    return features.view(n * i * j * g, a * b, -1)


def _queries_backward(dq_ZMF: Tensor, q: Tensor, tables: Tensor, d_tables: Tensor, layer: Layer) -> Tensor:
    """The queries' gradient from their features'; adds the tables' to `d_tables`."""
    rows, columns = layer.rows, layer.columns
    q_NIAJBGD = moves.cut_queries(q, layer.heads, rows, columns)
    n, i, a, j, b, g, d = q_NIAJBGD.shape
    dq_NIJGABF = dq_ZMF.view(n, i, j, g, a, b, -1)
    products = q.new_zeros(n, i, a, j, b, g, tables.shape[0])
    down, across = moves.skewed(products, rows, columns)
    down.copy_(dq_NIJGABF[..., d : d + rows.window])
    across.copy_(dq_NIJGABF[..., d + rows.window :])
    flat = products.view(-1, tables.shape[0])
    d_tables.addmm_(flat.t(), q_NIAJBGD.reshape(-1, d))
    out = (dq_NIJGABF[..., :d] * d**-0.5).permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, d).addmm_(flat, tables)
    return moves.join_queries(out.view(n, i, a, j, b, g, d), rows, columns)


class _KeyFeatures:
    """[k, one-hot row, one-hot column] of the windows' keys, in one buffer whose constant part is written once."""

    def __init__(self, q: Tensor, layer: Layer, exact: torch.dtype) -> None:
        self.layer, self.channels = layer, q.shape[3] // layer.heads
        self.buffer = _BUFFERS.of(layer, self.channels, layer.chunks(q.shape[0])[0].stop, exact, q.device)

    def of(self, k: Tensor) -> Tensor:
        """(Z, K, F) of a chunk's keys; the next call overwrites it."""
        filled = self.buffer[: k.shape[0]]
        filled[..., : self.channels].copy_(moves.windows(k, self.layer.heads, self.layer.rows, self.layer.columns))
        return filled.view(-1, self.layer.keys, filled.shape[-1])


class _Buffers(threading.local):
    """Buffers of key features from call to call, for every thread its own: writing their zeros anew was a tenth of a step.

    A buffer is overwritten by the next call that asks for it. Those that were asked for longest ago are let go where all would come to
    more than `KEPT_BYTES`.
    """

    def __init__(self) -> None:
        self.kept = OrderedDict[tuple[Layer, int, torch.dtype, torch.device], Tensor]()

    def of(self, layer: Layer, channels: int, chunk: int, exact: torch.dtype, device: torch.device) -> Tensor:
        """(at least `chunk`, I, J, G, X, Y, F) with ones in place."""
        key = (layer, channels, exact, device)
        found = self.kept.pop(key, None)
        if found is None or found.shape[0] < chunk:
            found = _with_ones(layer, channels, chunk, exact, device)
        self.kept[key] = found
        while len(self.kept) > 1 and sum(each.nbytes for each in self.kept.values()) > KEPT_BYTES:
            self.kept.popitem(last=False)
        return found


def _with_ones(layer: Layer, channels: int, chunk: int, exact: torch.dtype, device: torch.device) -> Tensor:
    rows, columns = layer.rows, layer.columns
    shape = (chunk, rows.blocks, columns.blocks, layer.heads, rows.window, columns.window)
    with torch.inference_mode(mode=False):  # it is written to again, also where gradients are wanted
        buffer = torch.zeros(*shape, layer.features(channels), dtype=exact, device=device)
        buffer[..., channels : channels + rows.window].diagonal(dim1=4, dim2=6).fill_(1)
        buffer[..., channels + rows.window :].diagonal(dim1=5, dim2=6).fill_(1)
    return buffer


_BUFFERS = _Buffers()


def _values(v: Tensor, layer: Layer) -> Tensor:
    return moves.windows(v, layer.heads, layer.rows, layer.columns).reshape(-1, layer.keys, v.shape[3] // layer.heads)


def _cut(g: Tensor, layer: Layer) -> Tensor:
    """Output-shaped values as (Z, M, E)."""
    g_NIAJBGE = moves.cut_queries(g, layer.heads, layer.rows, layer.columns)
    return g_NIAJBGE.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, layer.queries, g_NIAJBGE.shape[-1])


def _joined(out_ZME: Tensor, layer: Layer) -> Tensor:
    rows, columns = layer.rows, layer.columns
    out = out_ZME.view(-1, rows.blocks, columns.blocks, layer.heads, rows.slots, columns.slots, out_ZME.shape[-1])
    return moves.join_queries(out.permute(0, 1, 4, 2, 5, 3, 6), rows, columns)


def _windows_backward(d_ZKD: Tensor, like: Tensor, layer: Layer) -> Tensor:
    shape = moves.window_shape(like, layer.heads, layer.rows, layer.columns)
    return moves.fold_windows(d_ZKD.view(shape), layer.rows, layer.columns)
