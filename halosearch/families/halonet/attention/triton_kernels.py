"""Triton kernels of halo attention: a forward, two backward passes and a fold. Launched by `triton_attention`.

One program handles one tile of queries (or of keys) of one block and head. It enumerates the keys of its window that lie in
the map, so padding costs nothing and needs no mask. Relative logits reach the tensor cores as products with one-hot matrices
built from ranges. Nothing is atomic: every program writes what only it owns, so two runs are equal bit by bit.

D, DV: channels of a head of q/k and of v; SIDE: query slots a side of a block; S: stride; WIN: positions a side of a window.
Compile-time constants: DP, DVP, WP, R2: channels, the window and the table padded to powers of two; BM, BN: queries and key slots of a tile; GRID: see `_window`.
"""

# mypy: ignore-errors
import triton
import triton.language as tl

SIZES = ["N0", "H", "W", "HQ", "WQ", "NBY", "NBX", "HEADS", "B", "HALO", "S", "SIDE", "WIN", "scale"]
"""What no kernel is compiled anew for: only tiles, padded tables and padded channels are compile-time constants."""


@triton.jit
def _place(by, bx, m, HQ, WQ, B, S, SIDE):
    """Output row and column of query slot m, its position in the block, and whether the slot holds a query."""
    oy = (by * B + S - 1) // S + m // SIDE
    ox = (bx * B + S - 1) // S + m % SIDE
    ry = oy * S - by * B
    rx = ox * S - bx * B
    held = (m < SIDE * SIDE) & (oy < HQ) & (ox < WQ) & (ry < B) & (rx < B)
    return oy, ox, ry, rx, held


@triton.jit
def _window(by, bx, H, W, B, HALO, WP: tl.constexpr, GRID: tl.constexpr):
    """First row and column of a window's key slots, slots of a row, and their number.

    Slots are the keys inside the map, or with GRID rows of WP slots, of which some hold no key: a few more, but which column a slot
    lies in is then known when the kernel is compiled.
    """
    y0 = tl.maximum(by * B - HALO, 0)
    rows = tl.minimum(by * B + B + HALO, H) - y0
    if GRID:
        x0 = bx * B - HALO
        width = WP
    else:
        x0 = tl.maximum(bx * B - HALO, 0)
        width = tl.minimum(bx * B + B + HALO, W) - x0
    return y0, x0, width, rows * width


@triton.jit
def _keys(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP: tl.constexpr, GRID: tl.constexpr, BN: tl.constexpr):
    """Of a tile of key slots: row and column in the map, in the window, and whether the slot holds a key."""
    slot = tl.arange(0, BN)
    if GRID:
        ky = y0 + start // WP + slot // WP
        jx = slot % WP
        kx = x0 + jx
        real = (start + slot < slots) & (jx < WIN) & (kx >= 0) & (kx < W)
    else:
        ky = y0 + (start + slot) // width
        kx = x0 + (start + slot) % width
        jx = kx - bx * B + HALO
        real = start + slot < slots
    return ky, kx, ky - by * B + HALO, jx, real


@triton.jit
def _rows(P, n, y, x, held, sn, sy, sx, head, C, CP: tl.constexpr):
    """Channels of a head at positions (y, x) of image n, zero where not held: [positions, CP]."""
    c = tl.arange(0, CP)
    at = P + n * sn + y[:, None] * sy + x[:, None] * sx + head * C + c[None, :]
    return tl.load(at, mask=held[:, None] & (c[None, :] < C), other=0.0)


@triton.jit
def _write(P, values, n, y, x, held, sn, sy, sx, head, C, CP: tl.constexpr):
    c = tl.arange(0, CP)
    at = P + n * sn + y[:, None] * sy + x[:, None] * sx + head * C + c[None, :]
    tl.store(at, values.to(P.dtype.element_ty), mask=held[:, None] & (c[None, :] < C))


@triton.jit
def _relative(q, R, position, inverse, WIN, D, DP: tl.constexpr, WP: tl.constexpr, R2: tl.constexpr):
    """Q . table row of every window position, divided by the scale: [BM, WP]; and the table: [R2, DP]."""
    r = tl.arange(0, R2)
    c = tl.arange(0, DP)
    inside = (r[:, None] < 2 * WIN - 1) & (c[None, :] < D)
    table = tl.load(R + r[:, None] * D + c[None, :], mask=inside, other=0.0).to(q.dtype)
    products = tl.dot(q, tl.trans(table), input_precision="ieee")
    j = tl.arange(0, WP)[None, :]
    index = j - position[:, None] + WIN - 1
    valid = (index >= 0) & (index < 2 * WIN - 1) & (j < WIN)
    logits = tl.gather(products, tl.where(valid, index, 0), 1)
    return tl.where(valid, logits * inverse, 0.0).to(q.dtype), table


@triton.jit
def _onehot(offset, dtype: tl.constexpr, WP: tl.constexpr):
    """[WP, BN]: which window row (or column) each key lies in."""
    return (offset[None, :] == tl.arange(0, WP)[:, None]).to(dtype)


@triton.jit
def _logits(q, k, down, across, eh, ew):
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    s = tl.dot(down, eh, s, input_precision="ieee")
    return tl.dot(across, ew, s, input_precision="ieee")


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
    oy, ox, ry, rx, held = _place(by, bx, m, HQ, WQ, B, S, SIDE)
    q = _rows(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    down, _th = _relative(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, _tw = _relative(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    y0, x0, width, slots = _window(by, bx, H, W, B, HALO, WP, GRID)
    largest = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    out = tl.zeros([BM, DVP], tl.float32)
    base2 = scale * 1.4426950408889634
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = _keys(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = _rows(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = _rows(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = _onehot(jy, q.dtype, WP)
        ew = _onehot(jx, q.dtype, WP)
        s = tl.where(real[None, :], _logits(q, k, down, across, eh, ew) * base2, -float("inf"))
        larger = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(p, 1)
        out = tl.dot(p.to(v.dtype), v, out * shrink[:, None], input_precision="ieee")
        largest = larger
    _write(O, out / total[:, None], n, oy, ox, held, son, soy, sox, head, DV, DVP)
    tl.store(LSE + ((n * HEADS + head) * HQ + oy) * WQ + ox, largest + tl.log2(total), mask=held)


@triton.jit
def _unskew(d, position, WIN, R2: tl.constexpr, dtype: tl.constexpr):
    """[BM, WP] gradients of window positions as gradients of table rows: [BM, R2]."""
    r = tl.arange(0, R2)[None, :]
    index = r + position[:, None] - (WIN - 1)
    valid = (index >= 0) & (index < WIN) & (r < 2 * WIN - 1)
    return tl.where(valid, tl.gather(d, tl.where(valid, index, 0), 1), 0.0).to(dtype)


@triton.jit
def _finish_queries(
    DQ, partial, q, dq, ddown, dacross, th, tw, n, oy, ox, ry, rx, held, sdq, HQ, WQ, head, WIN, D,
    DP: tl.constexpr, R2: tl.constexpr,
):  # fmt: skip
    """What the gradients of the relative logits mean for the queries and for the tables; writes both."""
    dth = _unskew(ddown, ry, WIN, R2, q.dtype)
    dtw = _unskew(dacross, rx, WIN, R2, q.dtype)
    dq = tl.dot(dth, th, dq, input_precision="ieee")
    dq = tl.dot(dtw, tw, dq, input_precision="ieee")
    _write(DQ, dq, n, oy, ox, held, HQ * WQ * sdq, WQ * sdq, sdq, head, D, DP)
    tl.store(partial, tl.dot(tl.trans(dth), q, input_precision="ieee"))
    tl.store(partial + R2 * DP, tl.dot(tl.trans(dtw), q, input_precision="ieee"))


@triton.jit
def _write_window(P, values, place, real, HEADS, head, C, CP: tl.constexpr):
    """Gradients of keys (or values) to their places in the windows."""
    c = tl.arange(0, CP)
    at = P + (place[:, None] * HEADS + head) * C + c[None, :]
    tl.store(at, values.to(P.dtype.element_ty), mask=real[:, None] & (c[None, :] < C))


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
    oy, ox, ry, rx, held = _place(by, bx, m, HQ, WQ, B, S, SIDE)
    y0, x0, width, slots = _window(by, bx, H, W, B, HALO, WP, GRID)
    base2 = scale * 1.4426950408889634
    own = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + pid
    partial = DR + own.to(tl.int64) * 2 * R2 * DP + tl.arange(0, R2)[:, None] * DP + tl.arange(0, DP)[None, :]
    n = N0 + tl.program_id(2).to(tl.int64)
    q = _rows(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    o = _rows(O, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    do = _rows(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    sums = ((n * HEADS + head) * HQ + oy) * WQ + ox
    tl.store(DELTA + sums, delta, mask=held)
    lse = tl.load(LSE + sums, mask=held, other=float("inf"))
    down, th = _relative(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, tw = _relative(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    dq = tl.zeros([BM, DP], tl.float32)
    ddown = tl.zeros([BM, WP], tl.float32)
    dacross = tl.zeros([BM, WP], tl.float32)
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = _keys(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = _rows(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = _rows(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = _onehot(jy, q.dtype, WP)
        ew = _onehot(jx, q.dtype, WP)
        s = _logits(q, k, down, across, eh, ew)
        p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dq = tl.dot(ds, k, dq, input_precision="ieee")
        ddown = tl.dot(ds, tl.trans(eh), ddown, input_precision="ieee")
        dacross = tl.dot(ds, tl.trans(ew), dacross, input_precision="ieee")
    _finish_queries(
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
    oy, ox, ry, rx, held = _place(by, bx, tl.arange(0, BM), HQ, WQ, B, S, SIDE)
    y0, x0, width, slots = _window(by, bx, H, W, B, HALO, WP, GRID)
    base2 = scale * 1.4426950408889634
    own = tl.program_id(2) * tl.num_programs(0) + pid
    partial = DR + own.to(tl.int64) * 2 * R2 * DP + tl.arange(0, R2)[:, None] * DP + tl.arange(0, DP)[None, :]
    n = N0 + tl.program_id(2).to(tl.int64)
    q = _rows(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
    o = _rows(O, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    do = _rows(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    lse = tl.load(LSE + ((n * HEADS + head) * HQ + oy) * WQ + ox, mask=held, other=float("inf"))
    down, th = _relative(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
    across, tw = _relative(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
    dq = tl.zeros([BM, DP], tl.float32)
    ddown = tl.zeros([BM, WP], tl.float32)
    dacross = tl.zeros([BM, WP], tl.float32)
    windows = ((n * NBY + by) * NBX + bx) * WIN
    for start in range(0, slots, BN):
        ky, kx, jy, jx, real = _keys(start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = _rows(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = _rows(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = _onehot(jy, q.dtype, WP)
        ew = _onehot(jx, q.dtype, WP)
        s = _logits(q, k, down, across, eh, ew)
        p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
        place = (windows + jy) * WIN + jx
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, input_precision="ieee")
        _write_window(DVW, dv, place, real, HEADS, head, DV, DVP)
        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dk = tl.dot(tl.trans(ds), q, input_precision="ieee")
        _write_window(DKW, dk * scale, place, real, HEADS, head, D, DP)
        dq = tl.dot(ds, k, dq, input_precision="ieee")
        ddown = tl.dot(ds, tl.trans(eh), ddown, input_precision="ieee")
        dacross = tl.dot(ds, tl.trans(ew), dacross, input_precision="ieee")
    _finish_queries(
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
    y0, x0, width, slots = _window(by, bx, H, W, B, HALO, WP, GRID)
    first = tl.program_id(1) * BN
    if first < slots:
        ky, kx, jy, jx, real = _keys(first, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP, GRID, BN)
        k = _rows(K, n, ky, kx, real, skn, sky, skx, head, D, DP)
        v = _rows(V, n, ky, kx, real, svn, svy, svx, head, DV, DVP)
        eh = _onehot(jy, k.dtype, WP)
        ew = _onehot(jx, k.dtype, WP)
        dk = tl.zeros([BN, DP], tl.float32)
        dv = tl.zeros([BN, DVP], tl.float32)
        base2 = scale * 1.4426950408889634
        for start in range(0, SIDE * SIDE, BM):
            oy, ox, ry, rx, held = _place(by, bx, start + tl.arange(0, BM), HQ, WQ, B, S, SIDE)
            q = _rows(Q, n, oy, ox, held, sqn, sqy, sqx, head, D, DP)
            do = _rows(DO, n, oy, ox, held, son, soy, sox, head, DV, DVP)
            sums = ((n * HEADS + head) * HQ + oy) * WQ + ox
            lse = tl.load(LSE + sums, mask=held, other=float("inf"))
            delta = tl.load(DELTA + sums, mask=held, other=0.0)
            down, _th = _relative(q, RH, ry, 1.0 / scale, WIN, D, DP, WP, R2)
            across, _tw = _relative(q, RW, rx, 1.0 / scale, WIN, D, DP, WP, R2)
            s = _logits(q, k, down, across, eh, ew)
            p = tl.where(real[None, :], tl.exp2(s * base2 - lse[:, None]), 0.0)
            dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv, input_precision="ieee")
            dp = tl.dot(do, tl.trans(v), input_precision="ieee")
            ds = (p * (dp - delta[:, None])).to(q.dtype)
            dk = tl.dot(tl.trans(ds), q, dk, input_precision="ieee")
        place = (((n * NBY + by) * NBX + bx) * WIN + jy) * WIN + jx
        _write_window(DKW, dk * scale, place, real, HEADS, head, D, DP)
        _write_window(DVW, dv, place, real, HEADS, head, DV, DVP)


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
