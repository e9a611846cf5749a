"""What `benchmarks.gpu` asks of a GPU, stage by stage; each gives plain values."""

import multiprocessing
import os
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from halosearch.cost.peaks import measure_peaks
from halosearch.cost.steps import build_stepper, captured, compiling, seconds_per_step
from halosearch.cost.subjects import is_timm, subject_of, timm_subject
from halosearch.cost.timing import TimingPlan, interval
from halosearch.families import norm as norms
from halosearch.families.halonet.attention import triton_launch
from halosearch.families.halonet.attention.call import Shape
from halosearch.families.halonet.attention.halo_attention import chosen_backend, halo_attention
from halosearch.families.halonet.space import dials_from_config
from halosearch.families.known import parse_candidate, twin_of
from halosearch.proxy.data.dataset import DataRequest
from halosearch.record.evaluation import TRIAL, Evaluation

BATCH, ROUNDS, STEPS = 64, 7, 10
TRIAL_CANDIDATE = "s=128,b=8,h=3,rv=1,rb=1.5,l3=8,df=1024"
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
}
TILES = {  # kernel: queries, keys, warps, stages; queries are cut to what a block has
    "forward": [(64, k, w, s) for k in (32, 64, 128) for w in (2, 4) for s in (1, 2)]
    + [(32, 64, 2, 2), (32, 64, 4, 2), (64, 64, 8, 2), (64, 128, 8, 2)],
    "backward": [(64, k, w, s) for k in (32, 64) for w in (2, 4, 8) for s in (1, 2)],
    "queries": [(q, k, w, 1) for q in (32, 64) for k in (32, 64) for w in (4, 8)],
    "keys": [(q, k, w, 1) for q in (32, 64) for k in (32, 64) for w in (4, 8)],
}
PRODUCTS = {
    "forward": "forward_kernel",
    "backward": "backward_kernel",
    "queries": "backward_queries_kernel",
    "keys": "backward_keys_kernel",
}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass
class World:
    """The device, whether little images will do, and what earlier stages found."""

    device: torch.device
    small: bool
    found: dict
    dtypes: list | None = None

    @property
    def cuda(self):
        return self.device.type == "cuda"

    def half(self):
        return torch.bfloat16 if self.cuda else torch.float32


def environment(world):
    smi = ""
    if world.cuda:
        query = "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.draw,temperature.gpu,memory.used"
        smi = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
        ).stdout
    peaks = measure_peaks(world.device)
    world.found["peaks"] = peaks
    return {"smi": smi.strip(), "cpus": os.cpu_count(), "backend": chosen_backend(world.device), **peaks.to_dict()}


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
    """In a process of its own: compiles what a model's step, or a layer with a tile, launches."""
    kind, what, device = job
    if kind == "model":
        build_stepper(_subject(what), 2, torch.device(device), train=True)
    else:
        name, kernel, tile = what
        with _tile(kernel, tile):
            _both(*draw((LAYERS[name][0], 1, *LAYERS[name][2:]), torch.bfloat16, device))
    return


def _safely(function_and_job):
    function, job = function_and_job
    try:
        return function(job)
    except Exception as error:
        return {"job": str(job), "error": f"{type(error).__name__}: {error}"[:300]}


def correct(world):
    """Every backend and precision on layers of the family and odd ones; beside it, whatever later stages launch is compiled."""
    backends = sorted({chosen_backend(world.device), "sdpa"})
    dtypes = world.dtypes or (list(DTYPES) if world.cuda else ["float32"])
    names = list(CORRECT)[-4:] if world.small else list(CORRECT)
    device = str(world.device)
    checks = [(_correct, (n, t, b, device)) for n in names for t in dtypes for b in backends]
    if world.cuda and not world.small:
        models = ["h1", "h4", "h0", "h7", "h2", "h3", "h5", "h6"]
        checks += [(_warm, ("model", name, device)) for name in models]
        checks += [(_warm, ("tile", each, device)) for each in _tile_jobs()]
    workers = max(1, min(14, (os.cpu_count() or 2) - 2)) if world.cuda else 1
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(_safely, checks))
    failed = [each for each in done if each and "error" in each and "job" in each]
    rows = [each for each in done if each and "backend" in each]
    worst = {}
    for row in rows:
        key = f"{row['backend']} {row['dtype']}"
        worst[key] = max(worst.get(key, 0.0), row["error"])
    unequal = [row for row in rows if not row["equal_twice"]]
    return {"worst": worst, "not_equal_twice": unequal, "failed": failed, "rows": rows}


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
        x, r, g = _norm_maps(world, shape)
        module = norms.Norm(shape[1], None if join else "silu").to(world.device).train()
        exact = norms.Norm(shape[1], None if join else "silu").to(world.device).double().train()
        outs = [
            _norm_step(m, *(e.to(t) for e in (x, r, g)), join)() for m, t in ((module, x.dtype), (exact, torch.double))
        ]
        error = max(((a.double() - b).norm() / b.norm().clamp_min(1e-9)).item() for a, b in zip(*outs, strict=True))
        run = _norm_step(module, x, r, g, join)
        again = all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))
        row = {"map": name, "shape": shape, "error": error, "equal_twice": again, "fused_us": _device_us(run, world)}
        with _separate_norm():
            row["separate_us"] = _device_us(run, world)
        rows.append(row)
    return {"rows": rows}


def norm_tiles(world):
    """Microseconds of every kernel of the fused norm with other tiles: what `norm` should be told."""
    if not world.cuda:
        return {"skipped": "needs a GPU"}
    rows, kept = [], (norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS)
    for name, (shape, join) in list(NORMS.items())[:4]:
        module = norms.Norm(shape[1], None if join else "silu").to(world.device).train()
        run = _norm_step(module, *_norm_maps(world, shape), join)
        for tile in NORM_TILES:
            norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS = tile
            run()
            own = {key: round(us, 1) for key, us in _kernels(run, 3).items() if key.endswith("_kernel")}
            rows.append([name, *tile, own])
    norms.TILE, norms.SUMMED_TILE, norms.MOST_PARTS = kept
    return {"rows": rows}


def _norm_maps(world, shape):
    torch.manual_seed(0)
    maps = (torch.randn(shape, device=world.device).to(world.half()) for _ in range(3))
    return [each.contiguous(memory_format=torch.channels_last) for each in maps]


def _norm_step(module, x, r, g, join):
    x, r = x.detach().requires_grad_(), r.detach().requires_grad_()
    wanted = [x, module.weight, module.bias, *([r] if join else [])]

    def run():
        out = module.joined(x, r, 0.5, "silu") if join else module(x)
        return (out, *torch.autograd.grad(out, wanted, g))

    return run


@contextmanager
def _separate_norm():
    kept, norms.kernels_run = norms.kernels_run, lambda _: False
    try:
        yield
    finally:
        norms.kernels_run = kept


def _device_us(run, world, times=5):
    """Microseconds of the device's kernels; of the host where there is no device."""
    run()
    if not world.cuda:
        return 1e6 * seconds_per_step(run, 1, world.device)
    return sum(_kernels(run, times).values())


def _kernels(run, times=5):
    """Microseconds of every kernel of a run, by name."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(times):
            run()
        torch.cuda.synchronize()
    return {each.key: each.self_device_time_total / times for each in profile.key_averages()}


def _top(kernels, count=14):
    ordered = sorted(kernels.items(), key=lambda pair: -pair[1])[:count]
    return {name[:60]: round(us) for name, us in ordered}


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
            kernels = _kernels(run) if world.cuda else {"all": _device_us(run, world)}
            rows.append({"layer": name, "backend": backend, "us": sum(kernels.values()), "kernels": _top(kernels, 8)})
    return {"rows": rows}


@contextmanager
def _tile(kernel, tile):
    """Launch a kernel with another tile."""
    kept = triton_launch.tiling

    def tiling(problem, which):
        if which != kernel:
            return kept(problem, which)
        rows = min(tile[0], max(16, 1 << (problem.side**2 - 1).bit_length()))
        return triton_launch.Tiling(rows, *tile[1:])

    triton_launch.tiling = tiling
    try:
        yield
    finally:
        triton_launch.tiling = kept


def _tile_jobs():
    for name, shape in LAYERS.items():
        whole = (-(-shape[5] // shape[7])) ** 2 <= triton_launch.QUERIES and shape[3] + shape[4] <= triton_launch.WIDE
        for kernel in ("forward", *(("backward",) if whole else ("queries", "keys"))):
            for tile in TILES[kernel]:
                yield name, kernel, tile


def tiles(world):
    """Microseconds of every kernel with every tile: what `triton_launch.tiling` should say."""
    if not world.cuda:
        return {"skipped": "needs a GPU"}
    rows = []
    for name, kernel, tile in _tile_jobs():
        inputs, numbers = draw(LAYERS[name], torch.bfloat16, world.device)
        try:
            with _tile(kernel, tile):
                _both(inputs, numbers)
                kernels = _kernels(lambda i=inputs, n=numbers: _both(i, n), 3)
            us = sum(value for key, value in kernels.items() if key == PRODUCTS[kernel])
            rows.append([name, kernel, *tile, round(us, 1)])
        except Exception as error:
            rows.append([name, kernel, *tile, f"{type(error).__name__}: {error}"[:80]])
    best = {}
    for name, kernel, *tile, us in rows:
        if isinstance(us, float) and us > 0 and us < best.get((name, kernel), [1e9])[0]:
            best[(name, kernel)] = [us, *tile]
    return {"best": {" ".join(key): value for key, value in best.items()}, "rows": rows}


def _subject(name):
    return timm_subject(name) if is_timm(name) else subject_of(parse_candidate(name))


def step(world, name, *, compiled=False):
    """One training step: the user's and the device's, its memory, launches and largest kernels."""
    batch = 2 if world.small else BATCH
    subject = _subject(name)
    with compiling(compiled=compiled):
        stepper = build_stepper(subject, batch, world.device, train=True, compiled=compiled)
        for _ in range(3):
            stepper.run()
        replay, how = captured(stepper, world.device)
        user = [seconds_per_step(stepper.run, STEPS if world.cuda else 1, world.device) for _ in range(ROUNDS)]
        own = [] if replay is None else [seconds_per_step(replay, STEPS, world.device) for _ in range(ROUNDS)]
        found = {
            "model": name,
            "batch": batch,
            "image_size": subject.image_size,
            "user_s": interval(user).to_dict(),
            "device_s": interval(own).to_dict() if own else None,
            "graph": how,
            "memory_bytes": stepper.memory_bytes,
            "first_step_s": stepper.first_step_s,
        }
        if world.cuda:
            with torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            ) as profile:
                stepper.run()
                torch.cuda.synchronize()
            averages = profile.key_averages()
            found["launches"] = sum(each.count for each in averages if "LaunchKernel" in each.key)
            found["kernels_us"] = _top({each.key: each.self_device_time_total for each in averages if each.self_device_time_total}, 20)  # fmt: skip
    return found


def separate_norm(world, name):
    """The step with torch's own norms: what the fused ones save."""
    with _separate_norm():
        return step(world, name)


def compiled(world, name):
    """The step through torch.compile; for a network of ours also whether its gradients are the eager ones."""
    found = step(world, name, compiled=True) if world.cuda else {}
    if is_timm(name):
        return found
    return found | {"gradients": _compiled_gradients(world, name)}


def _compiled_gradients(world, name):
    subject = _subject("s=64,b=8,h=3,rv=1,rb=1.5,l3=2,df=512" if world.small or not world.cuda else name)
    torch.manual_seed(0)
    network = subject.build().to(world.device, memory_format=torch.channels_last).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    x = torch.randn(8, 3, subject.image_size, subject.image_size, device=world.device)
    x = x.contiguous(memory_format=torch.channels_last)
    target = torch.arange(8, device=world.device)

    def gradients(called):
        network.zero_grad(set_to_none=True)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=world.cuda):
            loss = F.cross_entropy(called(x).float(), target)
        loss.backward()
        return {n: p.grad.detach().clone() for n, p in network.named_parameters()}

    fast = torch.compile(network, dynamic=False, backend="inductor" if world.cuda else "aot_eager")
    a, b = gradients(fast), gradients(network)
    worst = sorted((((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-12)).item(), n) for n in a)[-3:]
    return {"worst": worst}


def pictures(world):
    """Are scenes the same on this device and on a CPU, and how fast are they drawn?"""
    from halosearch.proxy.data.dense_scenes import DenseScenes
    from halosearch.proxy.data.device_scenes import DeviceScenes

    here, there = DenseScenes("scenes-2", 0, 64), DeviceScenes("scenes-2", 0, 64, str(world.device))
    ids, found = np.arange(32), {}
    for size in (64,) if world.small else (64, 128, 320):
        ours, theirs = (each.batch("train", ids, size, None) for each in (here, there))
        apart = (ours.images.int() - theirs.images.cpu().int()).abs()
        found[size] = {
            "levels_apart": apart.max().item(),
            "share_of_bytes_apart": (apart > 0).float().mean().item(),
            "targets_apart": (ours.dense - theirs.dense.cpu()).abs().max().item(),
            "labels_equal": torch.equal(ours.labels, theirs.labels.cpu()),
        }
        many = np.arange(64 if world.small else 1024)
        there.batch("train", many, size, None)
        seconds = seconds_per_step(lambda s=size, m=many: there.batch("train", m, s, None), 3, world.device)
        found[size]["images_per_s"] = len(many) / seconds
    return {"sizes": found}


def training(world):
    """A twin trained for a while: step by step and as a graph, each twice. Same scores? How many images a second, how busy the GPU?"""
    from halosearch.proxy import stepping
    from halosearch.proxy.data.sources import open_data
    from halosearch.proxy.recipe import Recipe
    from halosearch.proxy.training import Trainer, TrainingJob

    config = twin_of(parse_candidate(TRIAL_CANDIDATE), 0.25)
    with tempfile.TemporaryDirectory() as folder:
        request = DataRequest("scenes-2", 0, 1000, 1024, config.image_size, Path(folder), dense=True)
        data = open_data(request, str(world.device))
    job = TrainingJob(
        config, Recipe(batch=16 if world.small else 64), (64, 128) if world.small else (3200, 6400), 0, 1024
    )
    rows, kept = [], stepping.EAGER_STEPS
    for how, eager in (("first, graph", kept), ("graph", kept), ("graph", kept), ("eager", 10**9), ("eager", 10**9)):
        stepping.EAGER_STEPS = eager
        trainer = Trainer(job, data, world.device)
        started = time.perf_counter()
        result = trainer.run()
        total = time.perf_counter() - started
        rows.append({"how": how, "scores": [s.score for s in result.scores], "images_per_s": result.images_per_s, "train_s": result.seconds, "total_s": total})  # fmt: skip
    stepping.EAGER_STEPS = kept
    found = {"rows": rows}
    if world.cuda:
        kernels = _kernels(lambda: Trainer(job, data, world.device).run(), 1)
        found["device_s"] = sum(us for key, us in kernels.items()) / 1e6
        found["kernels_us"] = _top(kernels, 16)
    return found


def trial(world):
    """One evaluation as a worker runs it, twice: where does its time go, and what of it was compiling?"""
    from halosearch.proxy.recipe import Recipe
    from halosearch.run import evaluate as evaluation

    class Alone:
        should_stop = staticmethod(lambda: False)
        report = staticmethod(lambda *_: None)

    small = world.small or not world.cuda
    candidate = parse_candidate(TRIAL_CANDIDATE)
    rows = []
    with tempfile.TemporaryDirectory() as folder, _stopwatch(evaluation) as spent:
        settings = evaluation.Settings(
            DataRequest("scenes-2", 0, 300_000, 128 if small else 4096, 128, Path(folder), dense=True),
            Recipe(batch=16 if small else 64),
            (64, 128) if small else (3200, 12_800),
            0.25,
            TimingPlan(
                2 if small else 64,
                3 if small else 9,
                1 if small else 10,
                1 if small else 3,
                anchor_size=64 if small else 224,
            ),
            str(world.device),
            1,
            Path(folder),
        )
        evaluate = evaluation.make_evaluate(settings)
        for _ in range(2):
            spent.clear()
            started = time.perf_counter()
            result = evaluate(Evaluation(0, TRIAL, dials_from_config(candidate), trial=0), Alone())
            wanted = ("state", "reason", "train_seconds", "images_per_s", "zero_cost", "score")
            rows.append({"total_s": time.perf_counter() - started, **spent, **{key: result.get(key) for key in wanted}})
    return {"candidate": TRIAL_CANDIDATE, "rows": rows}


@contextmanager
def _stopwatch(module):
    """Seconds that the parts of an evaluation take."""
    spent, kept = {}, {name: getattr(module, name) for name in ("step_time", "part_times", "zero_cost_of", "_train")}

    def watched(name, function):
        def run(*arguments):
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent[f"{name.strip('_')}_s"] = time.perf_counter() - started

        return run

    for name, function in kept.items():
        setattr(module, name, watched(name, function))
    try:
        yield spent
    finally:
        for name, function in kept.items():
            setattr(module, name, function)
