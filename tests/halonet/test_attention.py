"""Backends against an oracle that knows no blocks, only pixels: float64, every geometry, gradients."""

import pytest
import torch

from halosearch.halonet.attention import BACKENDS, halo_attention

GEOMETRIES = [  # height, width, block, halo, stride
    (5, 7, 4, 1, 1),
    (5, 7, 4, 1, 2),
    (3, 3, 4, 1, 1),
    (4, 4, 4, 2, 1),
    (5, 5, 4, 2, 2),
    (9, 9, 4, 1, 2),
    (9, 5, 3, 2, 2),
    (8, 8, 8, 3, 2),
    (6, 6, 8, 3, 1),
    (16, 16, 5, 2, 2),
    (19, 19, 10, 3, 1),
    (12, 12, 1, 1, 1),
    (12, 12, 1, 2, 2),
    (7, 7, 7, 0, 1),
    (8, 8, 4, 0, 1),
    (1, 1, 4, 2, 1),
]
HEADS, D, E = 2, 4, 6


def make(height, width, block, halo, stride, dtype=torch.float64, seed=0, values=E):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=g).requires_grad_()

    table = 2 * (block + 2 * halo) - 1
    return [
        draw(2, -(-height // stride), -(-width // stride), HEADS * D),
        draw(2, height, width, HEADS * D),
        draw(2, height, width, HEADS * values),
        draw(table, D),
        draw(table, D),
    ]


def per_pixel(q, k, v, rel_height, rel_width, block, halo, stride):
    """One query at a time, all images and heads of it: which keys its block's window holds inside the map, their scores, their mean."""
    height, width = k.shape[1:3]
    q, k, v = (t.unflatten(-1, (HEADS, -1)) for t in (q, k, v))
    window = block + 2 * halo
    rows = []
    for row in range(q.shape[1]):
        for column in range(q.shape[2]):
            y, x = row * stride, column * stride
            top, left = y // block * block - halo, x // block * block - halo
            keys = [
                (a, b)
                for a in range(max(0, top), min(height, top + window))
                for b in range(max(0, left), min(width, left + window))
            ]
            a, b = (torch.tensor(part) for part in zip(*keys, strict=True))
            down = (a - top) - (y - y // block * block) + window - 1
            across = (b - left) - (x - x // block * block) + window - 1
            query = q[:, row, column]
            scores = torch.einsum("nhd,nkhd->nhk", query, k[:, a, b]) * D**-0.5
            scores = scores + torch.einsum("nhd,kd->nhk", query, rel_height[down] + rel_width[across])
            rows.append(torch.einsum("nhk,nkhe->nhe", scores.softmax(-1), v[:, a, b]).flatten(1))
    return torch.stack(rows, 1).unflatten(1, q.shape[1:3])


def run(inputs, block, halo, stride, backend):
    return halo_attention(*inputs, heads=HEADS, block_size=block, halo_size=halo, stride=stride, backend=backend)


def relative_error(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_outputs_and_gradients_equal_those_of_single_pixels(geometry, backend):
    inputs = make(*geometry)
    ours, oracle = run(inputs, *geometry[2:], backend), per_pixel(*inputs, *geometry[2:])
    assert relative_error(ours, oracle) < 1e-12
    weight = torch.randn(oracle.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grads = [torch.autograd.grad((o * weight).sum(), inputs, allow_unused=True) for o in (ours, oracle)]
    for a, b in zip(*grads, strict=True):
        if b is not None and b.norm() > 0:
            assert relative_error(a, b) < 1e-12


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradcheck(backend, stride):
    inputs = [t[:1].detach().requires_grad_() if t.ndim == 4 else t for t in make(5, 7, 4, 1, stride, values=3)]
    assert torch.autograd.gradcheck(lambda *t: run(t, 4, 1, stride, backend), inputs, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 1.5e-2), (torch.float16, 2e-3)]
)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lower_precision_stays_within_its_tolerance(geometry, dtype, tolerance):
    inputs = make(*geometry)
    exact = run(inputs, *geometry[2:], "reference")
    low = run([t.detach().to(dtype) for t in inputs], *geometry[2:], "sdpa")
    rounded = run([t.detach().to(dtype).double() for t in inputs], *geometry[2:], "reference")
    assert relative_error(low.double(), rounded) < tolerance
    assert relative_error(rounded, exact) < 0.1


def test_padding_is_never_seen():
    """Values far outside the window, and NaN in what another block sees only, change nothing."""
    inputs = make(9, 9, 4, 1, 1)
    base = run(inputs, 4, 1, 1, "sdpa")
    k = inputs[1].detach().clone()
    k[:, 6:] = 1e3
    changed = run([inputs[0], k, *inputs[2:]], 4, 1, 1, "sdpa")
    assert torch.equal(base[:, :4], changed[:, :4])
    assert not torch.allclose(base[:, 4:], changed[:, 4:])


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_a_second_run_is_equal_bit_by_bit(backend):
    inputs = make(10, 10, 4, 1, 1, torch.float32)
    first, second = (torch.autograd.grad(run(inputs, 4, 1, 1, backend).square().sum(), inputs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_wrong_shapes_and_backends_are_refused():
    inputs = make(8, 8, 4, 1, 1)
    with pytest.raises(ValueError, match="do not belong together"):
        run(inputs, 4, 1, 2, "auto")
    with pytest.raises(ValueError, match="unknown attention backend"):
        run(inputs, 4, 1, 1, "magic")
    assert set(BACKENDS) == {"reference", "sdpa", "auto"}
