"""Short training of a twin: one trunk at a constant rate, a cooldown branch and a score at every rung.

The same job gives the same weights, bit for bit, on the same CPU with the same thread count, whether or not it was
stopped and resumed on the way: batches are a function of (seed, step) alone. On CUDA that was seen and is not promised by PyTorch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halosearch.families.halonet.network import WEIGHTS_VERSION
from halosearch.families.known import Config, values_of
from halosearch.proxy import checkpoint
from halosearch.proxy.data.dataset import TEST, TRAIN, Batch, Dataset
from halosearch.proxy.data.device_scenes import pixels_at_once
from halosearch.proxy.network import build
from halosearch.proxy.recipe import Recipe, parameter_groups
from halosearch.proxy.scoring import Score, autocast, evaluate, to_float
from halosearch.proxy.stepping import Stepping, copy_state, make_optimizer, restore

CURVE_POINTS = 24
SETTLED_FROM = 0.25
"""Share of a training after which its losses on new images count: earlier ones rank how fast networks begin, not how far they get."""
NORM_MOMENTUM = 0.1


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train: network, recipe, `rungs` in images seen (rising), seed of weights and order, test images to score."""

    config: Config
    recipe: Recipe
    rungs: tuple[int, ...]
    seed: int
    test_images: int
    split: str = TEST


@dataclass(slots=True)
class TrainingResult:
    """Scores by rung, the training-loss curve as (images, nats summed over factors), images per second while training.

    `seconds` of training, `earlier_seconds` of it in runs before this one.
    """

    scores: list[Score]
    curve: list[tuple[int, float]]
    images_per_s: float
    seconds: float
    earlier_seconds: float = 0.0

    @property
    def final(self) -> Score:
        """The score of the last rung."""
        return self.scores[-1]


class TrainingStoppedError(Exception):
    """Training was asked to stop; its checkpoint is written."""


class DivergedError(Exception):
    """The loss is no longer a number."""


@dataclass(slots=True)
class _Progress:
    """Where training stands: a phase is (rung, in cooldown); plain values, saved with the weights."""

    step: int = 0
    rung: int = 0
    cooling: bool = False
    curve: list[tuple[int, float]] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)
    """Mean over parts of the loss of every step's images, without smoothing, where there are dense targets."""
    scores: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    trained: int = 0


@dataclass(slots=True)
class _Running:
    """What a training works on, and what it has not looked at yet: losses by step, batches drawn ahead."""

    network: nn.Module
    optimizer: torch.optim.AdamW
    stepping: Stepping
    losses: list[tuple[int, Tensor]] = field(default_factory=list)
    ahead: dict[int, Batch] = field(default_factory=dict)


def _ignore(images: int, total: int, loss: float) -> None:
    del images, total, loss


@dataclass(slots=True)
class Trainer:
    """One training with the world passed in: data, device, checkpoint, a way to be stopped, a listener.

    `upto`: how many of the job's rungs to run now (None: all). Where some are left, the checkpoint keeps the trunk, so that a
    later run of the same job goes on from it and ends like one that never paused.
    """

    job: TrainingJob
    data: Dataset
    device: torch.device
    path: Path | None = None
    should_stop: Callable[[], bool] = lambda: False
    on_step: Callable[[int, int, float], None] = _ignore
    save_every_s: float = 20.0
    accumulate: int = 1
    upto: int | None = None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> TrainingResult:
        """Train through all rungs, resuming from the checkpoint of the same job if there is one.

        Raises:
            TrainingStoppedError: `should_stop` became true; the checkpoint holds the state.
            DivergedError: NaN or infinite loss, with the step.
        """
        running = self._build()
        progress, trunk = self._resume(running)
        saved, earlier = self.clock(), progress.seconds
        last = self._last_rung()
        while progress.rung < last:
            images = self.job.rungs[progress.rung]
            if not progress.cooling and progress.step == self.job.recipe.trunk_steps(images):
                trunk, progress.cooling = copy_state(running.network, running.optimizer), True
            if progress.cooling and progress.step == self.job.recipe.steps(images):
                self._finish_rung(running, progress, trunk)
                continue
            if self.should_stop() or self.clock() - saved > self.save_every_s:
                self._save(running, progress, trunk)
                saved = self.clock()
                if self.should_stop():
                    raise TrainingStoppedError
            self._step(running, progress, images)
        if last < len(self.job.rungs):
            self._save(running, progress, None)
        return self._result(progress, earlier)

    def _last_rung(self) -> int:
        """How many rungs this run reaches."""
        return len(self.job.rungs) if self.upto is None else min(self.upto, len(self.job.rungs))

    def _build(self) -> _Running:
        torch.manual_seed(self.job.seed)
        network = build(self.job.config, self.data, self.device)
        optimizer = make_optimizer(
            parameter_groups(network, self.job.config, self.job.recipe), self.job.recipe, self.device
        )
        stepping = Stepping(network, optimizer, self.data, self.job.recipe, self.device, self.accumulate)
        return _Running(network, optimizer, stepping)

    def _step(self, running: _Running, progress: _Progress, images: int) -> None:
        started, recipe = self.clock(), self.job.recipe
        factor = (
            recipe.cooldown_factor(progress.step, images) if progress.cooling else recipe.trunk_factor(progress.step)
        )
        batch = self._batch(running, progress.step)
        running.losses.append((progress.step, running.stepping.run(batch, factor)))
        progress.step += 1
        progress.trained += len(batch.images)
        if len(running.losses) >= running.stepping.unlooked:
            self._look(running, progress)
        progress.seconds += self.clock() - started

    def _look(self, running: _Running, progress: _Progress) -> None:
        """Read the losses of the steps since the last look."""
        value, every = math.nan, max(1, self.job.recipe.steps(self.job.rungs[-1]) // CURVE_POINTS)
        for step, losses in running.losses:
            value, fresh = (sum(found) for found in zip(*losses.tolist(), strict=True))
            if not math.isfinite(value):
                raise DivergedError(f"loss is {value} at step {step}")
            progress.fresh += [fresh] if self.data.dense else []
            if (step + 1) % every == 0:
                progress.curve.append(((step + 1) * self.job.recipe.batch, value))
        if running.losses:
            running.losses.clear()
            self.on_step(progress.step * self.job.recipe.batch, self.job.rungs[self._last_rung() - 1], value)

    def _batch(self, running: _Running, step: int) -> Batch:
        """The batch of a step; on a GPU drawn with those that follow, where no batch depends on its step."""
        recipe, size = self.job.recipe, self.job.config.image_size
        ahead = self.device.type == "cuda" and not self.data.augmented
        together = pixels_at_once(self.device) // (recipe.batch * size**2) if ahead else 1
        if step not in running.ahead:
            steps = range(step, step + max(1, together))
            ids = [batch_ids(self.job.seed, each, recipe.batch, self.data.size(TRAIN)) for each in steps]
            drawn = self.data.batch(TRAIN, np.concatenate(ids), size, (self.job.seed, step))
            parts = zip(*(each.split(recipe.batch) for each in drawn), strict=True)
            running.ahead = {each: Batch(*part) for each, part in zip(steps, parts, strict=True)}
        return running.ahead.pop(step)

    @torch.no_grad()
    def _settle_norms(self, network: nn.Module, step: int) -> None:
        """Average batch-norm statistics over fresh training batches: running ones lag behind weights that moved for few steps."""
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
        network.train()
        for i in range(self.job.recipe.norm_batches):
            ids = batch_ids(self.job.seed, step + i, self.job.recipe.batch, self.data.size(TRAIN))
            pixels = self.data.batch(TRAIN, ids, self.job.config.image_size, (self.job.seed, step + i)).images
            with autocast(self.device):
                network(to_float(pixels, self.device))
        for norm in norms:
            norm.momentum = NORM_MOMENTUM

    def _finish_rung(self, running: _Running, progress: _Progress, trunk: Any) -> None:
        started = self.clock()
        self._look(running, progress)  # waits for the steps that were launched
        progress.seconds += self.clock() - started
        self._settle_norms(running.network, progress.step)
        score = evaluate(
            running.network, self.data, self.job.split, self.job.config.image_size, self.device, self.job.test_images
        )
        if not math.isfinite(score.score):
            raise DivergedError(f"test loss is not finite after {self.job.rungs[progress.rung]} images")
        score = replace(score, prequential=self._prequential(progress))
        progress.scores.append(score.to_dict())
        progress.rung, progress.cooling = progress.rung + 1, False
        if progress.rung < len(self.job.rungs):
            progress.step = self.job.recipe.trunk_steps(self.job.rungs[progress.rung - 1])
            del progress.fresh[progress.step :]
            restore(running.network, running.optimizer, trunk)

    def _prequential(self, progress: _Progress) -> float | None:
        """Score on images that were new when they were seen; within the first epoch they all are."""
        if not progress.fresh or progress.step * self.job.recipe.batch > self.data.size(TRAIN):
            return None
        return 1 - float(np.mean(progress.fresh[int(SETTLED_FROM * progress.step) :]))

    def _job_key(self) -> dict[str, Any]:
        job = self.job
        return {
            "config": values_of(job.config),
            "weights": WEIGHTS_VERSION,
            "recipe": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(job.recipe).items()},
            "rungs": list(job.rungs),
            "seed": job.seed,
            "test_images": job.test_images,
            "split": job.split,
            "data": self.data.report.fingerprint,
        }

    def _save(self, running: _Running, progress: _Progress, trunk: Any) -> None:
        self._look(running, progress)
        if self.path is not None:
            checkpoint.save(
                self.path,
                {
                    "job": self._job_key(),
                    "progress": asdict(progress),
                    "trunk": trunk,
                    "live": copy_state(running.network, running.optimizer),
                },
            )

    def _resume(self, running: _Running) -> tuple[_Progress, Any]:
        state = checkpoint.load(self.path, self._job_key()) if self.path is not None else None
        if state is None:
            return _Progress(), None
        restore(running.network, running.optimizer, state["live"])
        return _Progress(**state["progress"]), state["trunk"]

    def _result(self, progress: _Progress, earlier: float) -> TrainingResult:
        scores = [Score(**score) for score in progress.scores]
        speed = progress.trained / progress.seconds if progress.seconds else float("nan")
        curve = [(int(n), float(loss)) for n, loss in progress.curve]
        return TrainingResult(scores, curve, speed, progress.seconds, earlier)


def batch_ids(seed: int, step: int, batch: int, size: int) -> np.ndarray:
    """Ids of a step's batch: epoch after epoch, each a permutation keyed by (seed, epoch)."""
    positions = np.arange(step * batch, (step + 1) * batch)
    return np.array([_order(seed, int(position) // size, size)[position % size] for position in positions])


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of an epoch; a step asks for one, or two at its turn."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(size)
