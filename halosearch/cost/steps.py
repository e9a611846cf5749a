"""One step of a network as a function: built, compiled or captured, with its memory and the seconds of its first run."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from halosearch.cost.subjects import CLASSES, Subject
from halosearch.gpu_faults import is_broken, is_out_of_memory

BATCHES = 4
"""Random batches in turn, so that no step reads what the last one left in a cache; never zeros."""
CAPTURE_WARMUP = 3
MAX_COMPILED = 256


@dataclass(frozen=True, slots=True)
class Stepper:
    """`run` is the user's step: `step` on the next of the `batches`.

    `memory_bytes`: peak of building the model and running a step eagerly; `first_step_s` includes compiling.
    """

    run: Callable[[], None]
    step: Callable[[torch.Tensor], None]
    batches: list[torch.Tensor]
    memory_bytes: int
    first_step_s: float


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def build_stepper(
    subject: Subject, batch_size: int, device: torch.device, *, train: bool, compiled: bool = False
) -> Stepper:
    """Build the network (seed 0, channels_last) and run its first step.

    A training step is forward, loss, zeroed gradients, backward and Nesterov SGD; on CUDA under bfloat16 autocast with float32
    weights. Input is random and resident.

    Raises:
        torch.OutOfMemoryError: the model does not fit (CUDA).
    """
    with _peak_memory(device) as peak:
        torch.manual_seed(0)
        network = subject.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (batch_size, 3, subject.image_size, subject.image_size)
        batches = [
            torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last) for _ in range(BATCHES)
        ]
        make_step = _training_step if train else _forward
        make_step(network, network, batch_size, device)(batches[0])  # eagerly: what is compiled allocates out of sight
        synchronize(device)
    # every size its own kernels; inductor's layouts would be undone by the attention, which wants channels last
    options: Any = {"layout_optimization": False} if device.type == "cuda" else None
    called = torch.compile(network, dynamic=False, options=options) if compiled else network
    step = make_step(network, called, batch_size, device)
    turn = 0

    def run() -> None:
        nonlocal turn
        turn += 1
        step(batches[turn % len(batches)])

    started = time.perf_counter()
    run()
    synchronize(device)
    return Stepper(run, step, batches, peak[0], time.perf_counter() - started)


@contextmanager
def compiling(*, compiled: bool) -> Iterator[None]:
    """Compile each of many networks: they share their code, which torch would otherwise stop compiling after a few."""
    if not compiled:
        yield
        return
    import torch._dynamo

    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=MAX_COMPILED, fail_on_recompile_limit_hit=True):
        yield


def seconds_per_step(
    run: Callable[[], object], steps: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Host seconds of a step, a GPU's work included: one wait before and one after `steps` of them."""
    synchronize(device)
    started = clock()
    for _ in range(steps):
        run()
    synchronize(device)
    return (clock() - started) / steps


def can_capture(device: torch.device) -> bool:
    """Whether steps can be graphs there at all."""
    return device.type == "cuda"


def captured(stepper: Stepper, device: torch.device, pool: Any = None) -> tuple[Callable[[], None] | None, str]:
    """The step as a CUDA graph on one static batch, into which the next batch is copied before every replay.

    `pool`: of memory, for graphs that are never replayed at once. Returns: the replay, or None with the reason.
    """
    if device.type != "cuda":
        return None, "the host's clock"
    batches, turn, static = stepper.batches, 0, stepper.batches[0].clone()
    replayed, how = graph_of(lambda: stepper.step(static), device, pool)
    if replayed is None:
        return None, how

    def replay() -> None:
        nonlocal turn
        turn += 1
        static.copy_(batches[turn % len(batches)])
        replayed()

    return replay, how


def graph_of(run: Callable[[], None], device: torch.device, pool: Any = None) -> tuple[Callable[[], None] | None, str]:
    """What a function launches, as a CUDA graph to replay; None with the reason where it cannot be captured."""
    try:
        here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        aside.wait_stream(here)  # what is read there may still be written here
        with torch.cuda.device(device), torch.cuda.stream(aside):
            for _ in range(CAPTURE_WARMUP):
                run()
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()  # the graph's own memory comes beside what eager steps left
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                run()
    except RuntimeError as error:
        if is_broken(error) or is_out_of_memory(error):
            raise
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        return None, f"the host's clock: the step cannot be captured ({str(error).splitlines()[0]})"

    def replay(kept: object = run) -> None:
        del kept  # what the graph reads and writes lives as long as the graph
        graph.replay()

    return replay, "replayed CUDA graph"


def _training_step(
    network: nn.Module, called: Callable[..., torch.Tensor], batch_size: int, device: torch.device
) -> Callable[[torch.Tensor], None]:
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    targets = torch.arange(batch_size, device=device) % CLASSES

    def step(batch: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(called(batch).float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _forward(
    network: nn.Module, called: Callable[..., torch.Tensor], batch_size: int, device: torch.device
) -> Callable[[torch.Tensor], None]:
    del batch_size, device
    network.eval()

    @torch.inference_mode()
    def step(batch: torch.Tensor) -> None:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type == "cuda"):
            called(batch)

    return step


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int]]:
    """Peak bytes that tensors take above the level at entry: the allocator's count on CUDA, that of live tensors on a CPU.

    On a CPU it is taken at the ends of operators; what an operator takes and gives back within itself is not in it. Resident
    memory says nothing here: a process keeps what it once had, and the next network finds it there.
    """
    peak = [0]
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device) - before
        return
    with _LiveTensors() as live:
        yield peak
    peak[0] = live.peak


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of all storages that operators have made and that still live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak, self._bytes = 0, 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._take_note(tensor.untyped_storage())
        return out

    def _take_note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(storage, self._forget, size).atexit = False

    def _forget(self, size: int) -> None:
        self._bytes -= size
