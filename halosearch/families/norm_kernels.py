"""Triton kernels of batch norm with what follows it: an activation, or a scaled sum with the shortcut and an activation.

Maps are (rows, channels), rows = images x positions, in channels_last. Three passes over the map forward and five back (seven with a
shortcut), where separate operators take fifteen. Nothing is atomic: two runs are equal bit by bit.

Sizes in capitals are compile-time constants: BR rows and BC channels of a tile, CP programs' parts padded to a power of two.
"""

# mypy: ignore-errors
import triton
import triton.language as tl

SIZES = ["M", "TILES", "PARTS"]
"""What no kernel is compiled anew for."""


@triton.jit
def _tile(P, rows, c, M, C):
    inside = (rows[:, None] < M) & (c[None, :] < C)
    return tl.load(P + rows[:, None].to(tl.int64) * C + c[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(P, values, rows, c, M, C):
    inside = (rows[:, None] < M) & (c[None, :] < C)
    tl.store(P + rows[:, None].to(tl.int64) * C + c[None, :], values.to(P.dtype.element_ty), mask=inside)


@triton.jit
def _channel(P, c, C):
    return tl.load(P + c, mask=c < C, other=0.0)[None, :]


@triton.jit
def _sigmoid(z):
    return 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def _act(z, ACT: tl.constexpr):
    """0: none, 1: SiLU, 2: ReLU."""
    if ACT == 1:
        z = z * _sigmoid(z)
    elif ACT == 2:
        z = tl.maximum(z, 0.0)
    return z


@triton.jit
def _act_gradient(g, z, ACT: tl.constexpr):
    if ACT == 1:
        s = _sigmoid(z)
        g = g * s * (1.0 + z * (1.0 - s))
    elif ACT == 2:
        g = tl.where(z > 0.0, g, 0.0)
    return g


@triton.jit(do_not_specialize=SIZES)
def moments_kernel(X, PART, M, C, TILES, BR: tl.constexpr, BC: tl.constexpr):
    """Grid (parts, tiles of channels): mean and sum of squared deviations of a part's rows, PART (parts, 2, C)."""
    part = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    first = part.to(tl.int64) * TILES * BR
    shift = tl.load(X + first * C + c, mask=c < C, other=0.0).to(tl.float32)  # a value of the channel: little cancels
    apart = tl.zeros([BR, BC], tl.float32)
    squares = tl.zeros([BR, BC], tl.float32)
    for tile in range(TILES):
        rows = (part * TILES + tile) * BR + tl.arange(0, BR)
        x = tl.where((rows < M)[:, None], _tile(X, rows, c, M, C) - shift[None, :], 0.0)
        apart += x
        squares += x * x
    count = tl.minimum(M - part * TILES * BR, TILES * BR).to(tl.float32)
    total = tl.sum(apart, 0)
    tl.store(PART + part * 2 * C + c, shift + total / count, mask=c < C)
    tl.store(PART + part * 2 * C + C + c, tl.sum(squares, 0) - total * (total / count), mask=c < C)


@triton.jit(do_not_specialize=["M", "PARTS", "ROWS", "momentum", "eps"])
def finish_moments_kernel(
    PART, MEAN, RSTD, RUNNING_MEAN, RUNNING_VAR, M, C, PARTS, ROWS, momentum, eps, PP: tl.constexpr, BC: tl.constexpr
):
    """Grid (tiles of channels): the parts' moments joined (ROWS rows in each but the last), running statistics moved on."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    part = tl.arange(0, PP)
    at = PART + part[:, None] * 2 * C + c[None, :]
    inside = (part[:, None] < PARTS) & (c[None, :] < C)
    means = tl.load(at, mask=inside, other=0.0)
    squares = tl.load(at + C, mask=inside, other=0.0)
    rows = tl.minimum(tl.maximum(M - part * ROWS, 0), ROWS).to(tl.float32)[:, None]
    mean = tl.sum(means * rows, 0) / M
    apart = means - mean[None, :]
    total = tl.sum(tl.where(inside, squares + apart * apart * rows, 0.0), 0)
    tl.store(MEAN + c, mean, mask=c < C)
    tl.store(RSTD + c, 1.0 / tl.sqrt(total / M + eps), mask=c < C)
    before = tl.load(RUNNING_MEAN + c, mask=c < C, other=0.0)
    tl.store(RUNNING_MEAN + c, before + momentum * (mean - before), mask=c < C)
    before = tl.load(RUNNING_VAR + c, mask=c < C, other=0.0)
    tl.store(RUNNING_VAR + c, before + momentum * (total / (M - 1.0) - before), mask=c < C)


@triton.jit
def _normed(x, c, C, MEAN, RSTD, WEIGHT, BIAS):
    """The normalised map, and what a channel scales it by; and the norm's output."""
    hat = (x - _channel(MEAN, c, C)) * _channel(RSTD, c, C)
    return hat, hat * _channel(WEIGHT, c, C) + _channel(BIAS, c, C)


@triton.jit(do_not_specialize=["M", "scale"])
def apply_kernel(
    X, R, Y, MEAN, RSTD, WEIGHT, BIAS, M, C, scale,
    ACT: tl.constexpr, JOIN: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of rows, tiles of channels): Y = act(norm(X)), or act(R + scale · norm(X))."""
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    _hat, z = _normed(_tile(X, rows, c, M, C), c, C, MEAN, RSTD, WEIGHT, BIAS)
    if JOIN:
        z = z * scale + _tile(R, rows, c, M, C)
    _store(Y, _act(z, ACT), rows, c, M, C)


@triton.jit(do_not_specialize=["M", "TILES", "scale"])
def sums_kernel(
    X, R, G, DR, PART, MEAN, RSTD, WEIGHT, BIAS, M, C, TILES, scale,
    ACT: tl.constexpr, JOIN: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Grid (parts, tiles of channels): sums of the norm's output's gradient, alone and times the normalised map, PART (parts, 2, C).

    With a shortcut, writes its gradient DR.
    """
    part = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    alone = tl.zeros([BR, BC], tl.float32)
    times = tl.zeros([BR, BC], tl.float32)
    for tile in range(TILES):
        rows = (part * TILES + tile) * BR + tl.arange(0, BR)
        hat, z = _normed(_tile(X, rows, c, M, C), c, C, MEAN, RSTD, WEIGHT, BIAS)
        if JOIN:
            z = z * scale + _tile(R, rows, c, M, C)
        g = _act_gradient(_tile(G, rows, c, M, C), z, ACT)  # 0 outside
        if JOIN:
            _store(DR, g, rows, c, M, C)
            g = g.to(DR.dtype.element_ty).to(tl.float32) * scale
        alone += g
        times += g * hat
    tl.store(PART + part * 2 * C + c, tl.sum(alone, 0), mask=c < C)
    tl.store(PART + part * 2 * C + C + c, tl.sum(times, 0), mask=c < C)


@triton.jit(do_not_specialize=["M", "scale"])
def input_gradient_kernel(
    X, G, DX, SUMS, MEAN, RSTD, WEIGHT, BIAS, M, C, scale,
    ACT: tl.constexpr, JOIN: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of rows, tiles of channels). G: gradient of the output; with a shortcut, the shortcut's. SUMS: (2, C)."""
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    hat, z = _normed(_tile(X, rows, c, M, C), c, C, MEAN, RSTD, WEIGHT, BIAS)
    g = _tile(G, rows, c, M, C)
    g = g * scale if JOIN else _act_gradient(g, z, ACT)
    dx = g - (_channel(SUMS, c, C) + hat * _channel(SUMS + C, c, C)) / M
    _store(DX, dx * (_channel(WEIGHT, c, C) * _channel(RSTD, c, C)), rows, c, M, C)
