"""Triton kernels of halo attention: forward, backward in one kernel or two, and a fold. Launched by `triton_launch`.

One program handles one tile of queries (or of keys) of one block and head. It enumerates the keys of its window that lie in
the map, so padding costs nothing and needs no mask. Relative logits reach the tensor cores as products with one-hot matrices
built from ranges. Nothing is atomic: every program writes what only it owns, so two runs are equal bit by bit.

D, DV: channels of a head of q/k and of v; SIDE: query slots a side of a block; S: stride; WIN: positions a side of a window.
Compile-time constants: DP, DVP, WP, R2: channels, the window and the table padded to powers of two; BM, BN: queries and key slots of a tile; GRID: see `key_slots`.
"""

# mypy: ignore-errors
import triton
import triton.language as tl

from halosearch.families.halonet.attention.triton_pieces import (
    finish_queries,
    key_slots,
    keys_of,
    logits_of,
    one_hot,
    query_slots,
    relative_logits,
    rows_of,
    write_rows,
    write_window,
)

SIZES = ["N0", "H", "W", "HQ", "WQ", "NBY", "NBX", "HEADS", "B", "HALO", "S", "SIDE", "WIN", "scale"]
"""What no kernel is compiled anew for: only tiles, padded tables and padded channels are compile-time constants."""


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    Q, K, V, RH, RW, O, LSE,
    sqn, sqy, sqx, skn, sky, skx, svn, svy, svx, son, soy, sox,
    H, W, HQ, WQ, NBY, NBX, HEADS, B, HALO, S, SIDE, WIN, D, DV, scale,
    DP: tl.constexpr, DVP: tl.constexpr,
    WP: tl.constexpr, R2: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GRID: tl.constexpr,
):  # fmt: skip
    """Grid (blocks·heads, tiles of queries, images); writes the output and the base-2 logarithms of the softmax sums."""
    pid = tl.program_id(0)
    head = pid % HEADS
    bx = pid // HEADS % NBX
    by = pid // HEADS // NBX
    n = tl.program_id(2).to(tl.int64)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    oy, ox, ry, rx, held = query_slots(by, bx, m, HQ, WQ, B, S, SIDE)
    q = rows_of(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    down, _th = relative_logits(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, _tw = relative_logits(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    y0, x0, width, slots = key_slots(by, bx, H, W, B, HALO, WP, GRID)
    largest = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    out = tl.zeros([BM, DVP], tl.float32)
    base2 = scale * 1.4426950408889634
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = keys_of(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = rows_of(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = rows_of(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = one_hot(jy, q.dtype, WP)
        ew = one_hot(jx, q.dtype, WP)
        s = tl.where(real[None, :], logits_of(q, k, down, across, eh, ew) * base2, -float("inf"))
        larger = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(p, 1)
        out = tl.dot(p.to(v.dtype), v, out * shrink[:, None], input_precision="ieee")
        largest = larger
    write_rows(O, out / total[:, None], n, oy, ox, held, son, soy, sox, head, DV, DVP)
    tl.store(LSE + ((n * HEADS + head) * HQ + oy) * WQ + ox, largest + tl.log2(total), mask=held)


@triton.jit(do_not_specialize=SIZES)
def backward_queries_kernel(
    Q, K, V, RH, RW, O, DO, LSE, DELTA, DQ, DR,
    sqn, sqy, sqx, skn, sky, skx, svn, svy, svx, son, soy, sox, sdq,
    N0, H, W, HQ, WQ, NBY, NBX, HEADS, B, HALO, S, SIDE, WIN, D, DV, scale,
    DP: tl.constexpr, DVP: tl.constexpr,
    WP: tl.constexpr, R2: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GRID: tl.constexpr,
):  # fmt: skip
    """Grid (blocks·heads, tiles of queries, images from N0 on).

    Writes dq (sdq from one position's channels to the next one's), delta = sum(do·o) for the other pass, and each program's part of the tables' gradients in DR,
    (programs, 2, R2, DP) in float32.
    """
    pid = tl.program_id(0)
    head = pid % HEADS
    bx = pid // HEADS % NBX
    by = pid // HEADS // NBX
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    oy, ox, ry, rx, held = query_slots(by, bx, m, HQ, WQ, B, S, SIDE)
    y0, x0, width, slots = key_slots(by, bx, H, W, B, HALO, WP, GRID)
    base2 = scale * 1.4426950408889634
    own = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + pid
    partial = DR + own.to(tl.int64) * 2 * R2 * DP + tl.arange(0, R2)[:, None] * DP + tl.arange(0, DP)[None, :]
    n = N0 + tl.program_id(2).to(tl.int64)
    q = rows_of(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    o = rows_of(O, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    do = rows_of(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    sums = ((n * HEADS + head) * HQ + oy) * WQ + ox
    tl.store(DELTA + sums, delta, mask=held)
    lse = tl.load(LSE + sums, mask=held, other=float("inf"))
    down, th = relative_logits(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, tw = relative_logits(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    dq = tl.zeros([BM, DP], tl.float32)
    ddown = tl.zeros([BM, WP], tl.float32)
    dacross = tl.zeros([BM, WP], tl.float32)
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = keys_of(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = rows_of(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = rows_of(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = one_hot(jy, q.dtype, WP)
        ew = one_hot(jx, q.dtype, WP)
        s = logits_of(q, k, down, across, eh, ew)
        p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dq = tl.dot(ds, k, dq, input_precision="ieee")
        ddown = tl.dot(ds, tl.trans(eh), ddown, input_precision="ieee")
        dacross = tl.dot(ds, tl.trans(ew), dacross, input_precision="ieee")
    finish_queries(
        DQ, partial, q, dq * scale, ddown, dacross, th, tw, n, oy, ox, ry, rx, held, sdq, HQ, WQ, head, WIN, D, DP, R2
    )


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    Q, K, V, RH, RW, O, DO, LSE, DQ, DKW, DVW, DR,
    sqn, sqy, sqx, skn, sky, skx, svn, svy, svx, son, soy, sox, sdq,
    N0, H, W, HQ, WQ, NBY, NBX, HEADS, B, HALO, S, SIDE, WIN, D, DV, scale,
    DP: tl.constexpr, DVP: tl.constexpr,
    WP: tl.constexpr, R2: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GRID: tl.constexpr,
):  # fmt: skip
    """All of backward where one tile holds the queries of a block: grid (blocks·heads, 1, images from N0 on).

    Every logit is computed once. Writes what the two kernels for larger blocks write.
    """
    pid = tl.program_id(0)
    head = pid % HEADS
    bx = pid // HEADS % NBX
    by = pid // HEADS // NBX
    oy, ox, ry, rx, held = query_slots(by, bx, tl.arange(0, BM), HQ, WQ, B, S, SIDE)
    y0, x0, width, slots = key_slots(by, bx, H, W, B, HALO, WP, GRID)
    base2 = scale * 1.4426950408889634
    own = tl.program_id(2) * tl.num_programs(0) + pid
    partial = DR + own.to(tl.int64) * 2 * R2 * DP + tl.arange(0, R2)[:, None] * DP + tl.arange(0, DP)[None, :]
    n = N0 + tl.program_id(2).to(tl.int64)
    q = rows_of(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    o = rows_of(O, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    do = rows_of(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    lse = tl.load(LSE + ((n * HEADS + head) * HQ + oy) * WQ + ox, mask=held, other=float("inf"))
    down, th = relative_logits(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, tw = relative_logits(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    dq = tl.zeros([BM, DP], tl.float32)
    ddown = tl.zeros([BM, WP], tl.float32)
    dacross = tl.zeros([BM, WP], tl.float32)
    windows = ((n * NBY + by) * NBX + bx) * WIN
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = keys_of(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = rows_of(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = rows_of(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = one_hot(jy, q.dtype, WP)
        ew = one_hot(jx, q.dtype, WP)
        s = logits_of(q, k, down, across, eh, ew)
        p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
        place = (windows + jy) * WIN + jx
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, input_precision="ieee")
        write_window(DVW, dv, place, real, HEADS, head, DV, DVP)
        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dk = tl.dot(tl.trans(ds), q, input_precision="ieee")
        write_window(DKW, dk * scale, place, real, HEADS, head, D, DP)
        dq = tl.dot(ds, k, dq, input_precision="ieee")
        ddown = tl.dot(ds, tl.trans(eh), ddown, input_precision="ieee")
        dacross = tl.dot(ds, tl.trans(ew), dacross, input_precision="ieee")
    finish_queries(
        DQ, partial, q, dq * scale, ddown, dacross, th, tw, n, oy, ox, ry, rx, held, sdq, HQ, WQ, head, WIN, D, DP, R2
    )


@triton.jit(do_not_specialize=SIZES)
def backward_keys_kernel(
    Q, K, V, RH, RW, DO, LSE, DELTA, DKW, DVW,
    sqn, sqy, sqx, skn, sky, skx, svn, svy, svx, son, soy, sox,
    H, W, HQ, WQ, NBY, NBX, HEADS, B, HALO, S, SIDE, WIN, D, DV, scale,
    DP: tl.constexpr, DVP: tl.constexpr,
    WP: tl.constexpr, R2: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, GRID: tl.constexpr,
):  # fmt: skip
    """Grid (blocks·heads, tiles of keys, images); writes the gradients of a window's keys and values to its own place.

    DKW is (N, NBY, NBX, WIN, WIN, HEADS, D), DVW the same with DV; places of padded keys are never written and never read.
    """
    pid = tl.program_id(0)
    head = pid % HEADS
    bx = pid // HEADS % NBX
    by = pid // HEADS // NBX
    n = tl.program_id(2).to(tl.int64)
    y0, x0, width, slots = key_slots(by, bx, H, W, B, HALO, WP, GRID)
    first = tl.program_id(1) * BN
    if first < slots:
        ky, kx, jy, jx, real = keys_of(first, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = rows_of(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = rows_of(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = one_hot(jy, k.dtype, WP)
        ew = one_hot(jx, k.dtype, WP)
        dk = tl.zeros([BN, DP], tl.float32)
        dv = tl.zeros([BN, DVP], tl.float32)
        base2 = scale * 1.4426950408889634
        for start in range(0, SIDE * SIDE, BM):
            oy, ox, ry, rx, held = query_slots(by, bx, start + tl.arange(0, BM), HQ, WQ, B, S, SIDE)
            q = rows_of(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
            do = rows_of(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
            sums = ((n * HEADS + head) * HQ + oy) * WQ + ox
            lse = tl.load(LSE + sums, mask=held, other=float("inf"))
            delta = tl.load(DELTA + sums, mask=held, other=0.0)
            down, _th = relative_logits(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
            across, _tw = relative_logits(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
            s = logits_of(q, k, down, across, eh, ew)
            p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
            dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv, input_precision="ieee")
            dp = tl.dot(do, tl.trans(v), input_precision="ieee")
            ds = (p * (dp - delta[:, None])).to(q.dtype)
            dk = tl.dot(tl.trans(ds), q, dk, input_precision="ieee")
        place = (((n * NBY + by) * NBX + bx) * WIN + jy) * WIN + jx
        write_window(DKW, dk * scale, place, real, HEADS, head, D, DP)
        write_window(DVW, dv, place, real, HEADS, head, DV, DVP)


@triton.jit(do_not_specialize=SIZES)
def fold_kernel(
    SRC, DST, sd, H, W, NBY, NBX, B, HALO, WIN, CH,
    CP: tl.constexpr, REACH: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of positions, tiles of channels, images); DST (N, H, W, CH) sums the windows that hold a position.

    sd: from one position's channels to the next one's.
    """
    n = tl.program_id(2).to(tl.int64)
    position = tl.program_id(0) * BP + tl.arange(0, BP)
    inside = position < H * W
    y = position // W
    x = position % W
    c = tl.program_id(1) * CP + tl.arange(0, CP)
    total = tl.zeros([BP, CP], tl.float32)
    for iy in tl.static_range(2 * REACH + 1):
        by = y // B + iy - REACH
        jy = y - by * B + HALO
        rows = inside & (by >= 0) & (by < NBY) & (jy >= 0) & (jy < WIN)
        for ix in tl.static_range(2 * REACH + 1):
            bx = x // B + ix - REACH
            jx = x - bx * B + HALO
            held = rows & (bx >= 0) & (bx < NBX) & (jx >= 0) & (jx < WIN)
            place = (((n * NBY + by) * NBX + bx) * WIN + jy) * WIN + jx
            at = SRC + place[:, None] * CH + c[None, :]
            total += tl.load(at, mask=held[:, None] & (c[None, :] < CH), other=0.0).to(tl.float32)
    at = DST + (n * H * W + position[:, None]) * sd + c[None, :]
    tl.store(at, total.to(DST.dtype.element_ty), mask=inside[:, None] & (c[None, :] < CH))
