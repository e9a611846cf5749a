"""Backends against an oracle that knows no blocks, only pixels: float64, every geometry, gradients."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from halosearch.families import triton_probe
from halosearch.families.halonet.attention import fused, sdpa
from halosearch.families.halonet.attention import halo_attention as attention
from halosearch.families.halonet.attention.block_geometry import geometry_of
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.gather_scatter import hidden
from halosearch.families.halonet.attention.halo_attention import BACKENDS, chosen_backend, halo_attention
from halosearch.families.halonet.attention.windows import axis

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


def per_pixel(q, k, v, rel_height, rel_width, block, halo, stride, reach=10**6):
    """One query at a time, all images and heads of it: which keys its block's window holds inside the map, their scores, their mean.

    Keys farther than `reach` rows or columns are masked.
    """
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
                for a in range(max(0, top, y - reach), min(height, top + window, y + reach + 1))
                for b in range(max(0, left, x - reach), min(width, left + window, x + reach + 1))
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
    return halo_attention(*inputs[:3], tuple(inputs[3:]), Shape(HEADS, block, halo, stride), backend)


def relative_error(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("backend", ["reference", "sdpa", "tiled"])
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


@pytest.mark.parametrize("backend", ["reference", "sdpa", "tiled"])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradcheck(backend, stride):
    inputs = [t[:1].detach().requires_grad_() if t.ndim == 4 else t for t in make(5, 7, 4, 1, stride, values=3)]
    assert torch.autograd.gradcheck(lambda *t: run(t, 4, 1, stride, backend), inputs, atol=1e-6)


@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 1.5e-2), (torch.float16, 2e-3)]
)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lower_precision_stays_within_its_tolerance_in_outputs_and_gradients(geometry, dtype, tolerance, backend):
    inputs = make(*geometry)
    exact = run(inputs, *geometry[2:], "reference")
    low_inputs = [t.detach().to(dtype).requires_grad_() for t in inputs]
    exact_inputs = [t.detach().double().requires_grad_() for t in low_inputs]
    low, rounded = run(low_inputs, *geometry[2:], backend), run(exact_inputs, *geometry[2:], "reference")
    assert low.dtype == dtype
    assert relative_error(low.double(), rounded) < tolerance
    assert relative_error(rounded, exact) < 0.1
    weight = torch.randn(rounded.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((low * weight).sum(), low_inputs)
    exactly = torch.autograd.grad((rounded * weight.double()).sum(), exact_inputs)
    for a, b in zip(ours, exactly, strict=True):
        assert relative_error(a.double(), b) < 2 * tolerance or b.norm() < 1e-12


@pytest.mark.parametrize("backend", ["reference", "sdpa", "tiled"])
def test_what_lies_outside_a_window_is_never_seen(backend):
    inputs = make(9, 9, 4, 1, 1)
    base = run(inputs, 4, 1, 1, backend)
    k = inputs[1].detach().clone()
    k[:, 6:] = 1e3
    changed = run([inputs[0], k, *inputs[2:]], 4, 1, 1, backend)
    assert torch.equal(base[:, :4], changed[:, :4])
    assert not torch.allclose(base[:, 4:], changed[:, 4:])


@pytest.mark.parametrize("backend", ["reference", "sdpa", "tiled"])
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
    for wrong in (
        [*inputs[:3], inputs[3][1:], inputs[4]],
        [inputs[0][:1], *inputs[1:]],
        [inputs[0].float(), *inputs[1:]],
    ):
        for backend in ("reference", "sdpa", "tiled"):
            with pytest.raises(ValueError, match="do not belong together"):
                run(wrong, 4, 1, 1, backend)
    assert set(BACKENDS) == {"reference", "sdpa", "tiled", "triton", "auto"}
    with pytest.raises(ValueError, match="needs a CUDA device"):
        run(inputs, 4, 1, 1, "triton")
    assert chosen_backend(torch.device("cpu")) == "tiled"


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_registered_operator_passes_torch_s_own_checks_and_is_counted_as_the_explicit_form(geometry):
    inputs = make(*geometry, torch.float32)
    block, halo, stride = geometry[2:]
    if geometry in GEOMETRIES[:2]:
        torch.library.opcheck(fused.attend, (*inputs, [HEADS, block, halo, stride, 1]))
    counts = []
    for backend in ("reference", "tiled"):
        with FlopCounterMode(display=False) as counter:
            run(inputs, block, halo, stride, backend)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    on_meta = [t.detach().to("meta") for t in inputs]
    assert run(on_meta, block, halo, stride, "auto").shape == run(inputs, block, halo, stride, "auto").shape


@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
@pytest.mark.parametrize("geometry", [(16, 16, 8, 3, 1), (19, 12, 4, 1, 2)])
def test_compiled_without_a_graph_break_and_equal(backend, geometry):
    inputs = make(*geometry, torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(lambda *t: run(t, *geometry[2:], backend), fullgraph=True, backend="aot_eager")
    outs = [f(*inputs) for f in (compiled, lambda *t: run(t, *geometry[2:], "reference"))]
    grads = [torch.autograd.grad(out.square().sum(), inputs) for out in outs]
    for a, b in zip((outs[0], *grads[0]), (outs[1], *grads[1]), strict=True):
        assert relative_error(a, b) < 5e-6


@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
def test_between_forward_and_backward_less_is_kept_than_the_explicit_form_keeps(backend, monkeypatch):
    inputs = make(32, 32, 8, 3, 1, torch.float32, values=D)

    def kept(name):
        seen = {}

        def pack(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = run(inputs, 8, 3, 1, name)
        return sum(seen.values()), out

    explicit, few = kept("reference"), kept(backend)
    assert few[0] < explicit[0]
    monkeypatch.setattr(fused.tiled, "KEPT_SCORES", 0)
    ours = kept(backend)
    assert ours[0] < explicit[0] / 5
    assert ours[0] <= 2 * sum(t.nbytes for t in inputs) + ours[1].nbytes


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_weights_kept_or_computed_again_give_the_same_gradients(geometry, monkeypatch):
    inputs = make(*geometry)
    grads = []
    for limit, chunk in ((1 << 23, 1 << 22), (0, 1 << 22), (1 << 23, 1), (0, 1)):
        monkeypatch.setattr(fused.tiled, "KEPT_SCORES", limit)
        monkeypatch.setattr(fused.tiled, "CHUNK_SCORES", chunk)
        monkeypatch.setattr(fused.tiled, "TILE_SCORES", 1 << 18 if chunk > 1 else 1)
        grads.append(torch.autograd.grad(run(inputs, *geometry[2:], "tiled").square().sum(), inputs))
    for other in grads[1:]:
        assert all((a - b).norm() <= 1e-12 * b.norm() + 1e-13 for a, b in zip(grads[0], other, strict=True))


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 7), st.sampled_from([1, 2]))
def test_a_cut_holds_every_pair_of_query_and_key_once_and_no_more_than_the_nominal_windows(size, block, halo, stride):
    side = geometry_of(size, block, halo, stride)
    seen = hidden(side, torch.device("cpu")) == 0
    pairs = []
    for index, slot, place in seen.nonzero().tolist():
        query = index * side.merged * side.tile + stride * slot
        key = index * side.step - side.before + place
        if query < size and 0 <= key < size:
            pairs.append((query, key))
            offset = side.shift + place - stride * slot + index * side.skip - side.grow_before
            tile = min(block, size)
            assert offset == key - (query // tile * tile - halo) - query % tile + block + 2 * halo - 1
    tile = min(block, size)
    expected = [
        (query, key)
        for query in range(0, size, stride)
        for key in range(size)
        if query // tile * tile - halo <= key < query // tile * tile + tile + halo
    ]
    assert sorted(pairs) == expected
    nominal = axis(size, block, halo, stride, torch.device("cpu"))
    if (min(block, size) % stride) == 0:
        assert side.pairs <= nominal.blocks * nominal.slots * nominal.window


def test_faked_tensors_leave_nothing_behind_that_real_ones_stumble_over():
    inputs = [t.detach() for t in make(11, 13, 4, 1, 1, torch.float32)]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        run([mode.from_tensor(t) for t in inputs], 4, 1, 1, "sdpa")
    for backend in ("sdpa", "tiled"):
        assert run(inputs, 4, 1, 1, backend).isfinite().all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_operator_and_the_kernels_without_it_give_the_same_bits(geometry):
    inputs = make(*geometry, torch.float32)
    direct = run(inputs, *geometry[2:], "tiled")
    with FlopCounterMode(display=False) as counter:  # whatever watches operators is shown one
        registered = run(inputs, *geometry[2:], "tiled")
        grads = torch.autograd.grad(registered.square().sum(), inputs)
    assert counter.get_total_flops() > 0
    assert torch.equal(direct, registered)
    assert all(map(torch.equal, torch.autograd.grad(direct.square().sum(), inputs), grads))


@pytest.mark.parametrize(("dtype", "bytes_there", "expected"), [
    (torch.bfloat16, 101_376, "triton"),
    (torch.float32, 101_376, "sdpa"),
    (torch.float32, 232_448, "triton"),
    (torch.float64, 232_448, "sdpa"),
])  # fmt: skip
def test_float32_takes_the_kernels_only_where_a_block_has_room_for_them(dtype, bytes_there, expected, monkeypatch):
    monkeypatch.setattr(attention, "triton_runs", lambda _: True)
    monkeypatch.setattr(attention, "shared_memory", lambda _: bytes_there)
    assert chosen_backend(torch.device("cuda"), dtype, 14) == expected


def test_memory_that_runs_out_says_nothing_of_the_kernels(monkeypatch):
    monkeypatch.setattr(triton_probe, "_PROBED", {})
    monkeypatch.setattr(triton_probe, "triton_is_there", lambda: True)

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        triton_probe.kernels_run("attention", torch.device("cuda"), full)
    assert not triton_probe._PROBED


def test_more_blocks_than_a_launch_may_have_are_attended_in_parts(monkeypatch):
    inputs = make(13, 11, 3, 1, 1)
    whole = run(inputs, 3, 1, 1, "sdpa")
    grads = torch.autograd.grad(whole.square().sum(), inputs)
    parts = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def watched(q, *others, **more):
        parts.append(q.shape[0] * q.shape[1])
        return plain(q, *others, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    monkeypatch.setattr(sdpa, "MOST_BLOCKS", 7)
    again = run(inputs, 3, 1, 1, "sdpa")
    for one, other in zip((whole, *grads), (again, *torch.autograd.grad(again.square().sum(), inputs)), strict=True):
        assert relative_error(one, other) < 1e-12
    assert max(parts) <= 7
    assert sum(parts) >= 2 * 20 * HEADS  # images x blocks x heads


def test_an_autocast_around_the_operator_does_not_round_its_float32():
    inputs = make(9, 9, 4, 1, 1, torch.float32)
    exact = run(inputs, 4, 1, 1, "tiled")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(inputs, 4, 1, 1, "tiled"), exact)


def test_kernels_that_do_not_run_here_give_way_to_torchs_own_with_the_reason(monkeypatch):
    """No compiler, an old Triton, an odd GPU: whatever the probe meets is said once; a broken context is not hidden."""
    module = attention
    device = torch.device("cuda:7")
    for found, said in (
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "RuntimeError: Failed to find C compiler"),
        (AttributeError("module 'triton.language' has no attribute 'gather'"), "no attribute 'gather'"),
        (0.4, r"wrong here \(relative error 0.4\)"),
    ):
        monkeypatch.setattr(triton_probe, "_PROBED", {})
        monkeypatch.setattr(triton_probe, "triton_is_there", lambda: True)

        def probe(_, found=found):
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(module, "_probe_error", probe)
        with pytest.warns(UserWarning, match=said):
            assert module.chosen_backend(device) == "sdpa"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert module.chosen_backend(device) == "sdpa"
    monkeypatch.setattr(triton_probe, "_PROBED", {})
    monkeypatch.setattr(module, "_probe_error", lambda _: 0.004)
    assert module.chosen_backend(device) == "triton"
    assert module.chosen_backend(device, torch.float64) == "sdpa"
    assert module.chosen_backend(device, torch.bfloat16, 80) == "sdpa"
    monkeypatch.setattr(triton_probe, "_PROBED", {})
    monkeypatch.setattr(triton_probe, "triton_is_there", lambda: False)
    with pytest.warns(UserWarning, match="triton is not installed"):
        assert module.chosen_backend(device) == "sdpa"
    monkeypatch.setattr(triton_probe, "triton_is_there", lambda: True)
    monkeypatch.setattr(triton_probe, "_PROBED", {})

    def broken(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(module, "_probe_error", broken)
    with pytest.raises(RuntimeError, match="CUDA error"):
        module.chosen_backend(device)


def test_more_blocks_than_a_launch_takes_are_attended_in_parts(monkeypatch):
    q, k, v = (torch.randn(23, 2, 9, 8, dtype=torch.float64) for _ in range(3))
    whole = sdpa._attended(q, k, v)
    monkeypatch.setattr(sdpa, "MOST_BLOCKS", 9)
    assert torch.allclose(sdpa._attended(q, k, v), whole, atol=1e-14)


def test_key_features_that_are_kept_between_calls_change_nothing(monkeypatch):
    """Other inputs, fewer images, inference first, another geometry between, room for one only: as with new ones."""
    geometry = (9, 9, 4, 1, 1)
    calls = [make(*geometry, seed=seed) for seed in (1, 2)]
    fewer = [each[:1].detach().requires_grad_() if each.dim() == 4 else each for each in calls[1]]

    def result(inputs):
        return torch.autograd.grad(run(inputs, *geometry[2:], "tiled").square().sum(), inputs)

    alone = []
    for inputs in (*calls, fewer):
        monkeypatch.setattr(fused.tiled, "_BUFFERS", fused.tiled._Buffers())
        alone.append(result(inputs))
    for room in (fused.tiled.KEPT_BYTES, 0):
        monkeypatch.setattr(fused.tiled, "KEPT_BYTES", room)
        monkeypatch.setattr(fused.tiled, "_BUFFERS", fused.tiled._Buffers())
        with torch.inference_mode():
            run(calls[0], *geometry[2:], "tiled")
        for inputs, expected in zip((*calls, fewer), alone, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(result(inputs), expected, strict=True))
            run(make(7, 7, 7, 0, 1), 7, 0, 1, "tiled")
        assert len(fused.tiled._BUFFERS.kept) == (1 if room == 0 else 2)
