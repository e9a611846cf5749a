"""Short training of a twin: one trunk at a constant rate, a cooldown branch and a score at every rung.

The same job gives the same weights, bit for bit, on the same device with the same thread count, whether or not it was
stopped and resumed on the way: batches are a function of (seed, step) alone.
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
from halosearch.proxy.network import build
from halosearch.proxy.objective import part_losses, training_loss
from halosearch.proxy.recipe import Recipe, parameter_groups
from halosearch.proxy.scoring import Score, evaluate, to_float

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
        network, optimizer = self._build()
        progress, trunk = self._resume(network, optimizer)
        saved, earlier = self.clock(), progress.seconds
        last = self._last_rung()
        while progress.rung < last:
            images = self.job.rungs[progress.rung]
            if not progress.cooling and progress.step == self.job.recipe.trunk_steps(images):
                trunk, progress.cooling = _copy_state(network, optimizer), True
            if progress.cooling and progress.step == self.job.recipe.steps(images):
                self._finish_rung(network, optimizer, progress, trunk)
                continue
            if self.should_stop() or self.clock() - saved > self.save_every_s:
                self._save(network, optimizer, progress, trunk)
                saved = self.clock()
                if self.should_stop():
                    raise TrainingStoppedError
            self._step(network, optimizer, progress, images)
        if last < len(self.job.rungs):
            self._save(network, optimizer, progress, None)
        return self._result(progress, earlier)

    def _last_rung(self) -> int:
        """How many rungs this run reaches."""
        return len(self.job.rungs) if self.upto is None else min(self.upto, len(self.job.rungs))

    def _build(self) -> tuple[nn.Module, torch.optim.AdamW]:
        torch.manual_seed(self.job.seed)
        network = build(self.job.config, self.data, self.device)
        groups = parameter_groups(network, self.job.config, self.job.recipe)
        rate, betas = self.job.recipe.learning_rate, self.job.recipe.betas
        # one kernel for a parameter instead of a dozen: a twin has hundreds of small ones
        return network, torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)

    def _step(self, network: nn.Module, optimizer: torch.optim.AdamW, progress: _Progress, images: int) -> None:
        started, recipe = self.clock(), self.job.recipe
        factor = (
            recipe.cooldown_factor(progress.step, images) if progress.cooling else recipe.trunk_factor(progress.step)
        )
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        ids = batch_ids(self.job.seed, progress.step, recipe.batch, self.data.size(TRAIN))
        batch = self.data.batch(TRAIN, ids, self.job.config.image_size, (self.job.seed, progress.step))
        optimizer.zero_grad(set_to_none=True)
        parts = zip(*(each.chunk(self.accumulate) for each in batch), strict=True)
        losses = [self._backward(network, Batch(*part), len(ids)) for part in parts]
        value, fresh = (sum(found) for found in zip(*losses, strict=True))
        if not math.isfinite(value):
            raise DivergedError(f"loss is {value} at step {progress.step}")
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        progress.step += 1
        progress.fresh += [fresh] if self.data.dense else []
        progress.trained += len(ids)
        progress.seconds += self.clock() - started
        shown = progress.step * recipe.batch
        if progress.step % max(1, recipe.steps(self.job.rungs[-1]) // CURVE_POINTS) == 0:
            progress.curve.append((shown, value))
        self.on_step(shown, self.job.rungs[self._last_rung() - 1], value)

    def _backward(self, network: nn.Module, part: Batch, batch: int) -> tuple[float, float]:
        """Add the gradients of a part of the batch; returns its shares of the batch's loss and of its mean loss over parts."""
        network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            outputs = network(to_float(part.images, self.device)).float()
        labels, dense = part.labels.to(self.device), part.dense.to(self.device)
        share = len(part.images) / batch
        loss = training_loss(outputs, labels, dense, self.data, self.job.recipe.label_smoothing) * share
        loss.backward()
        fresh = part_losses(outputs.detach(), labels, dense, self.data).mean() * share if self.data.dense else 0.0
        return float(loss.detach()), float(fresh)

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
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                network(to_float(pixels, self.device))
        for norm in norms:
            norm.momentum = NORM_MOMENTUM

    def _finish_rung(self, network: nn.Module, optimizer: torch.optim.AdamW, progress: _Progress, trunk: Any) -> None:
        self._settle_norms(network, progress.step)
        score = evaluate(
            network, self.data, self.job.split, self.job.config.image_size, self.device, self.job.test_images
        )
        if not math.isfinite(score.score):
            raise DivergedError(f"test loss is not finite after {self.job.rungs[progress.rung]} images")
        score = replace(score, prequential=self._prequential(progress))
        progress.scores.append(score.to_dict())
        progress.rung, progress.cooling = progress.rung + 1, False
        if progress.rung < len(self.job.rungs):
            progress.step = self.job.recipe.trunk_steps(self.job.rungs[progress.rung - 1])
            del progress.fresh[progress.step :]
            network.load_state_dict(trunk["network"])
            optimizer.load_state_dict(trunk["optimizer"])

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

    def _save(self, network: nn.Module, optimizer: torch.optim.AdamW, progress: _Progress, trunk: Any) -> None:
        if self.path is not None:
            checkpoint.save(
                self.path,
                {
                    "job": self._job_key(),
                    "progress": asdict(progress),
                    "trunk": trunk,
                    "live": _copy_state(network, optimizer),
                },
            )

    def _resume(self, network: nn.Module, optimizer: torch.optim.AdamW) -> tuple[_Progress, Any]:
        state = checkpoint.load(self.path, self._job_key()) if self.path is not None else None
        if state is None:
            return _Progress(), None
        network.load_state_dict(state["live"]["network"])
        optimizer.load_state_dict(state["live"]["optimizer"])
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


def _copy_state(network: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """A snapshot that later steps do not change."""
    return {
        "network": {name: value.detach().clone() for name, value in network.state_dict().items()},
        "optimizer": _cloned(optimizer.state_dict()),
    }


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return [_cloned(item) for item in value] if isinstance(value, list) else value
