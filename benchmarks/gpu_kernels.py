"""Kernels on a GPU: are attention and norm right, how fast are they, and with which tiles? Stages of `benchmarks.gpu`."""

import multiprocessing
import os
import time
from contextlib import contextmanager

import torch

from benchmarks.gpu_world import device_us, kernels_us, subject_named, top
from halosearch.cost.steps import build_stepper
from halosearch.families import norm as norms
from halosearch.families.halonet.attention import triton_launch
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.halo_attention import chosen_backend, halo_attention

BATCH = 64
CORRECT = {  # side, images, heads, d, d_v, block, halo, stride: layers of the family, then odd ones
    "H0 stage 1": (64, 2, 4, 16, 16, 8, 3, 1),
    "H0 stage 2, strided": (64, 2, 8, 16, 16, 8, 3, 2),
    "H0 stage 3": (16, 2, 8, 32, 32, 8, 3, 1),
    "H0 stage 4": (8, 2, 8, 64, 64, 8, 3, 1),
    "H4 stage 1": (96, 2, 4, 16, 16, 12, 2, 1),
    "H7 stage 1, padded": (150, 1, 4, 16, 64, 10, 3, 1),
    "H7 stage 4, padded": (19, 2, 8, 64, 256, 10, 3, 1),
    "b=4, d_v=24": (20, 2, 4, 16, 24, 4, 1, 1),
    "H7, strided": (75, 1, 8, 16, 64, 10, 3, 2),
    "block over the map": (10, 2, 8, 64, 160, 16, 4, 1),
    "twin": (24, 2, 1, 8, 20, 12, 2, 1),
}
LAYERS = {
    "H0 stage 1": (64, 64, 4, 16, 16, 8, 3, 1),
    "H0 stage 2, strided": (64, 64, 8, 16, 16, 8, 3, 2),
    "H0 stage 3": (16, 64, 8, 32, 32, 8, 3, 1),
    "H0 stage 4": (8, 64, 8, 64, 64, 8, 3, 1),
    "H4 stage 1": (96, 64, 4, 16, 16, 12, 2, 1),
    "H4 stage 3": (24, 64, 8, 32, 32, 12, 2, 1),
    "H7 stage 1": (150, 32, 4, 16, 64, 10, 3, 1),
    "H7 stage 3": (38, 32, 8, 32, 128, 10, 3, 1),
}
TILES = {  # kernel: queries, key slots, warps, stages, grid; queries are cut to what a block has
    "forward": [
        *((64, k, 4, 2, g) for k in (64, 128) for g in (True, False)),
        (64, 64, 4, 1, True), (64, 64, 4, 3, True), (64, 64, 8, 2, True), (64, 32, 4, 2, True), (64, 64, 2, 2, True),
    ],
    "backward": [
        *((64, k, 4, 1, g) for k in (32, 64) for g in (True, False)),
        (64, 64, 8, 1, True), (64, 32, 8, 1, True), (64, 64, 4, 2, True), (64, 32, 4, 2, True),
    ],
    "queries": [(64, 64, 4, 1, g) for g in (True, False)]
    + [(64, 32, 4, 1, True), (64, 64, 8, 1, True), (32, 64, 4, 1, True), (64, 64, 4, 2, True), (64, 32, 8, 1, True)],
    "keys": [(64, 64, 4, 1, g) for g in (True, False)]
    + [(64, 32, 4, 1, True), (64, 64, 8, 1, True), (32, 64, 4, 1, True), (64, 128, 8, 1, True)]
    + [(q, 32, w, 1, True) for q, w in ((32, 4), (32, 8), (64, 8))],
}  # fmt: skip
TILED = ("H7 stage 3", "H7 stage 1", "H0 stage 1", "H0 stage 3", "H4 stage 1", "H4 stage 3")
PRODUCTS = {
    "forward": "forward_kernel",
    "backward": "backward_kernel",
    "queries": "backward_queries_kernel",
    "keys": "backward_keys_kernel",
}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def draw(shape, dtype, device, seed=0):
    """q, k, v as slices of one projection, and the tables."""
    side, images, heads, d, dv, block, halo, stride = shape
    generator = torch.Generator().manual_seed(seed)

    def make(*sizes):
        return torch.randn(*sizes, generator=generator).to(device, dtype)

    q, k, v = make(images, side, side, heads * (2 * d + dv)).split((heads * d, heads * d, heads * dv), -1)
    rows = 2 * (block + 2 * halo) - 1
    return [q[:, ::stride, ::stride], k, v, make(rows, d), make(rows, d)], Shape(heads, block, halo, stride)


def _correct(job):
    """In a process of its own: worst relative error of output and five gradients against float64; whether two runs are equal."""
    name, dtype, backend, device = job
    inputs, shape = draw(CORRECT[name], DTYPES[dtype], device)
    low = [each.detach().clone().requires_grad_() for each in inputs]
    exact = [each.detach().double().requires_grad_() for each in inputs]
    oracle = halo_attention(*exact[:3], tuple(exact[3:]), shape, "reference")
    weight = torch.randn_like(oracle)
    oracles = torch.autograd.grad((oracle * weight).sum(), exact)
    runs = []
    for _ in range(2):
        out = halo_attention(*low[:3], tuple(low[3:]), shape, backend)
        runs.append((out, *torch.autograd.grad((out * weight.to(out.dtype)).sum(), low)))
    error = max(((a.double() - b).norm() / b.norm()).item() for a, b in zip(runs[0], (oracle, *oracles), strict=True))
    same = all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    return {"layer": name, "dtype": dtype, "backend": backend, "error": error, "equal_twice": same}


def _warm(job):
    """In a process of its own: compiles what a model's step, a training, or a layer with a tile launches."""
    kind, what, device = job
    if kind == "model":
        build_stepper(subject_named(what), 2, torch.device(device), train=True)
    elif kind == "training":
        from benchmarks.gpu_training import train

        train(torch.device(device), (64, 128))
    elif kind == "norm":
        for shape, join in _norm_shapes().values():
            norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS = what
            _norm_run(torch.device(device), torch.bfloat16, (2, *shape[1:]), join)()
    else:
        name, kernel, tile = what
        with tiles_set({kernel: tile}):
            _both(*draw((LAYERS[name][0], 1, *LAYERS[name][2:]), torch.bfloat16, device))


def _safely(function_and_job):
    function, job = function_and_job
    try:
        return function(job)
    except Exception as error:  # noqa: BLE001  # one case that fails is said
        return {"job": str(job), "error": f"{type(error).__name__}: {error}"[:300]}


def correct(world):
    """Every backend and precision on layers of the family and odd ones; beside it, whatever later stages launch is compiled."""
    backends = sorted({chosen_backend(world.device), "sdpa"})
    dtypes = world.dtypes or (list(DTYPES) if world.cuda else ["float32"])
    names, device = list(CORRECT)[-4:] if world.small else list(CORRECT), str(world.device)
    jobs = []
    if world.cuda and not world.small:
        jobs += [(_warm, ("model", name, device)) for name in world.models()]
        jobs += [(_warm, ("training", "", device))] if "training" in world.stages else []
        jobs += [(_warm, ("norm", tile, device)) for tile in NORM_TILES] if "norm tiles" in world.stages else []
    jobs += [(_correct, (n, t, b, device)) for n in names for t in dtypes for b in backends]
    if world.cuda and not world.small and "tiles" in world.stages:
        jobs += [(_warm, ("tile", each, device)) for each in _tile_jobs()]
    workers = max(1, min(15, (os.cpu_count() or 2) - 1)) if world.cuda else 1
    done, late = [], 0
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        news, end = pool.imap_unordered(_safely, jobs), min(world.until, time.monotonic() + world.compiling_s)
        for left in range(len(jobs), 0, -1):
            try:
                done.append(news.next(timeout=max(0.1, end - time.monotonic())))
            except multiprocessing.TimeoutError:
                late = left
                break
    failed = [each for each in done if each and "job" in each]
    rows = [each for each in done if each and "backend" in each]
    worst = {}
    for row in rows:
        key = f"{row['backend']} {row['dtype']}"
        worst[key] = max(worst.get(key, 0.0), row["error"])
    unequal = [row for row in rows if not row["equal_twice"]]
    return {"worst": worst, "not_equal_twice": unequal, "failed": failed, "not_done_in_time": late, "rows": rows}


NORMS = {
    "H1 stage 1": ((BATCH, 64, 64, 64), False),
    "H1 stage 1, shortcut": ((BATCH, 192, 64, 64), True),
    "H4 stage 1, shortcut": ((BATCH, 192, 96, 96), True),
    "stage 3": ((BATCH, 256, 16, 16), False),
    "odd": ((2, 20, 9, 7), True),
}
NORM_TILES = [(t, s, p) for t in (2048, 4096) for s in (1024, 2048, 4096) for p in (512, 1024)]


def norm(world):
    """The fused norm against float64, and against torch's operators in time."""
    rows = []
    for name, (shape, join) in NORMS.items():
        shape = (4, *shape[1:2], 8, 8) if world.small else shape
        x, r, g = _norm_maps(world.device, world.half(), shape)
        module = norms.Norm(shape[1], None if join else "silu").to(world.device).train()
        exact = norms.Norm(shape[1], None if join else "silu").to(world.device).double().train()
        outs = [
            _norm_step(m, *(e.to(t) for e in (x, r, g)), join)() for m, t in ((module, x.dtype), (exact, torch.double))
        ]
        error = max(((a.double() - b).norm() / b.norm().clamp_min(1e-9)).item() for a, b in zip(*outs, strict=True))
        run = _norm_step(module, x, r, g, join)
        again = all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))
        row = {"map": name, "shape": shape, "error": error, "equal_twice": again, "fused_us": device_us(run, world)}
        with separate_norm():
            row["separate_us"] = device_us(run, world)
        rows.append(row)
    return {"rows": rows}


def norm_tiles(world):
    """Microseconds of every kernel of the fused norm with other tiles: what `norm` should be told."""
    if not world.cuda:
        return {"skipped": "needs a GPU"}
    rows, kept = [], (norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS)
    for name, (shape, join) in _norm_shapes().items():
        run = _norm_run(world.device, world.half(), shape, join)
        for tile in NORM_TILES:
            norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS = tile
            run()
            own = {key: round(us, 1) for key, us in kernels_us(run, 3).items() if key.endswith("_kernel")}
            rows.append([name, *tile, own])
    norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS = kept
    return {"rows": rows}


def _norm_shapes():
    """Maps large enough for tiles to matter."""
    return dict(list(NORMS.items())[:4])


def _norm_maps(device, dtype, shape):
    torch.manual_seed(0)
    maps = (torch.randn(shape, device=device).to(dtype) for _ in range(3))
    return [each.contiguous(memory_format=torch.channels_last) for each in maps]


def _norm_run(device, dtype, shape, join):
    module = norms.Norm(shape[1], None if join else "silu").to(device).train()
    return _norm_step(module, *_norm_maps(device, dtype, shape), join)


def _norm_step(module, x, r, g, join):
    x, r = x.detach().requires_grad_(), r.detach().requires_grad_()
    wanted = [x, module.weight, module.bias, *([r] if join else [])]

    def run():
        out = module.joined(x, r, 0.5, "silu") if join else module(x)
        return (out, *torch.autograd.grad(out, wanted, g))

    return run


@contextmanager
def separate_norm():
    kept, norms.kernels_run = norms.kernels_run, lambda *_: False
    try:
        yield
    finally:
        norms.kernels_run = kept


def _both(inputs, shape, backend="auto"):
    low = [each.detach().requires_grad_() for each in inputs]
    out = halo_attention(*low[:3], tuple(low[3:]), shape, backend)
    torch.autograd.grad(out, low, torch.ones_like(out))


def layers(world):
    """Kernels of one attention layer forward and back, microseconds, by backend."""
    rows = []
    for name, shape in LAYERS.items():
        if world.small:
            shape = (16, 2, *shape[2:])
        inputs, numbers = draw(shape, world.half(), world.device)
        for backend in sorted({chosen_backend(world.device), "sdpa"}):
            run = lambda b=backend, i=inputs, n=numbers: _both(i, n, b)  # noqa: E731
            run()
            kernels = kernels_us(run) if world.cuda else {"all": device_us(run, world)}
            rows.append({"layer": name, "backend": backend, "us": sum(kernels.values()), "kernels": top(kernels, 8)})
    return {"rows": rows}


@contextmanager
def tiles_set(chosen):
    """Launch kernels with other tiles: by kernel, or by kernel and layer's head channels."""
    kept = triton_launch.tiling

    def tiling(problem, kernel):
        tile = chosen.get((kernel, problem.channels)) or chosen.get(kernel)
        if tile is None:
            return kept(problem, kernel)
        rows = min(tile[0], max(16, 1 << (problem.side**2 - 1).bit_length()))
        return triton_launch.Tiling(rows, *tile[1:])

    triton_launch.tiling = tiling
    try:
        yield
    finally:
        triton_launch.tiling = kept


def _tile_jobs():
    for name in TILED:
        whole = name.startswith("H0")
        for kernel in ("forward", *(("backward",) if whole else ("queries", "keys"))):
            for tile in TILES[kernel]:
                yield name, kernel, tile


def tiles(world):
    """Microseconds of every kernel with every tile: what `triton_launch.tiling` should say."""
    if not world.cuda:
        return {"skipped": "needs a GPU"}
    rows, best = [], {}
    for name, kernel, tile in _tile_jobs():
        if time.monotonic() > world.until:
            break
        inputs, numbers = draw(LAYERS[name], torch.bfloat16, world.device)
        try:
            with tiles_set({kernel: tile}):
                _both(inputs, numbers)
                kernels = kernels_us(lambda i=inputs, n=numbers: _both(i, n), 3)
            us = kernels.get(PRODUCTS[kernel], float("nan"))
            rows.append([name, kernel, *tile, round(us, 1)])
            if us < best.get((name, kernel), [1e9])[0]:
                best[name, kernel] = [round(us, 1), *tile]
        except Exception as error:  # noqa: BLE001  # a tile that a kernel cannot have is said
            rows.append([name, kernel, *tile, f"{type(error).__name__}: {error}"[:80]])
    world.found["tiles"] = {(kernel, LAYERS[name][3]): tuple(tile) for (name, kernel), (_, *tile) in best.items()}
    return {"best": {" ".join(key): value for key, value in best.items()}, "rows": rows}
