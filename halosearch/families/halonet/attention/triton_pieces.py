"""What the Triton kernels of halo attention are made of: places of queries and keys, loads and stores, relative logits.

Letters as in `triton_kernels`.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def query_slots(by, bx, m, HQ, WQ, B, S, SIDE):
    """Output row and column of query slot m, its position in the block, and whether the slot holds a query."""
    oy = (by * B + S - 1) // S + m // SIDE
    ox = (bx * B + S - 1) // S + m % SIDE
    ry = oy * S - by * B
    rx = ox * S - bx * B
    held = (m < SIDE * SIDE) & (oy < HQ) & (ox < WQ) & (ry < B) & (rx < B)
    return oy, ox, ry, rx, held


@triton.jit
def key_slots(by, bx, H, W, B, HALO, WP: tl.constexpr, GRID: tl.constexpr):
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
def keys_of(
    start, y0, x0, width, slots, by, bx, W, B, HALO, WIN, WP: tl.constexpr, GRID: tl.constexpr, BN: tl.constexpr
):
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
def rows_of(P, n, y, x, held, sn, sy, sx, head, C, CP: tl.constexpr):
    """Channels of a head at positions (y, x) of image n, zero where not held: [positions, CP]."""
    c = tl.arange(0, CP)
    at = P + n * sn + y[:, None] * sy + x[:, None] * sx + head * C + c[None, :]
    return tl.load(at, mask=held[:, None] & (c[None, :] < C), other=0.0)


@triton.jit
def write_rows(P, values, n, y, x, held, sn, sy, sx, head, C, CP: tl.constexpr):
    """Write [positions, CP] where `rows_of` reads."""
    c = tl.arange(0, CP)
    at = P + n * sn + y[:, None] * sy + x[:, None] * sx + head * C + c[None, :]
    tl.store(at, values.to(P.dtype.element_ty), mask=held[:, None] & (c[None, :] < C))


@triton.jit
def relative_logits(q, R, position, inverse, WIN, D, DP: tl.constexpr, WP: tl.constexpr, R2: tl.constexpr):
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
def one_hot(offset, dtype: tl.constexpr, WP: tl.constexpr):
    """[WP, BN]: which window row (or column) each key lies in."""
    return (offset[None, :] == tl.arange(0, WP)[:, None]).to(dtype)


@triton.jit
def logits_of(q, k, down, across, eh, ew):
    """[BM, BN] logits of a tile, the relative ones included, before they are scaled."""
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    s = tl.dot(down, eh, s, input_precision="ieee")
    return tl.dot(across, ew, s, input_precision="ieee")


@triton.jit
def unskewed(d, position, WIN, R2: tl.constexpr, dtype: tl.constexpr):
    """[BM, WP] gradients of window positions as gradients of table rows: [BM, R2]."""
    r = tl.arange(0, R2)[None, :]
    index = r + position[:, None] - (WIN - 1)
    valid = (index >= 0) & (index < WIN) & (r < 2 * WIN - 1)
    return tl.where(valid, tl.gather(d, tl.where(valid, index, 0), 1), 0.0).to(dtype)


@triton.jit
def finish_queries(
    DQ, partial, q, dq, ddown, dacross, th, tw, n, oy, ox, ry, rx, held, sdq, HQ, WQ, head, WIN, D,
    DP: tl.constexpr, R2: tl.constexpr,
):  # fmt: skip
    """What the gradients of the relative logits mean for the queries and for the tables; writes both."""
    dth = unskewed(ddown, ry, WIN, R2, q.dtype)
    dtw = unskewed(dacross, rx, WIN, R2, q.dtype)
    dq = tl.dot(dth, th, dq, input_precision="ieee")
    dq = tl.dot(dtw, tw, dq, input_precision="ieee")
    write_rows(DQ, dq, n, oy, ox, held, HQ * WQ * sdq, WQ * sdq, sdq, head, D, DP)
    tl.store(partial, tl.dot(tl.trans(dth), q, input_precision="ieee"))
    tl.store(partial + R2 * DP, tl.dot(tl.trans(dtw), q, input_precision="ieee"))


@triton.jit
def write_window(P, values, place, real, HEADS, head, C, CP: tl.constexpr):
    """Gradients of keys (or values) to their places in the windows."""
    c = tl.arange(0, CP)
    at = P + (place[:, None] * HEADS + head) * C + c[None, :]
    tl.store(at, values.to(P.dtype.element_ty), mask=real[:, None] & (c[None, :] < C))
