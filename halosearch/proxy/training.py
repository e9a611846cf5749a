"""Short training of a twin: one trunk at a constant rate, a cooldown branch and a score at every rung.

The same job gives the same weights, bit for bit, on the same device with the same thread count, whether or not it was
stopped and resumed on the way: batches are a function of (seed, step) alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.halonet.network import WEIGHTS_VERSION, HaloNet
from halosearch.proxy import checkpoint
from halosearch.proxy.data.dataset import TEST, TRAIN, Dataset
from halosearch.proxy.recipe import Recipe, parameter_groups, residual_scale
from halosearch.proxy.scoring import Score, evaluate, split_logits, to_float

CURVE_POINTS = 24
NORM_BATCHES = 8
NORM_MOMENTUM = 0.1


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train: network, recipe, `rungs` in images seen (rising), seed of weights and order, test images to score."""

    config: HaloNetConfig
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

    def _build(self) -> tuple[HaloNet, torch.optim.AdamW]:
        torch.manual_seed(self.job.seed)
        classes = sum(factor.classes for factor in self.data.factors)
        network = HaloNet(self.job.config, classes, residual_scale=residual_scale(self.job.config))
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(network, self.job.config, self.job.recipe)
        return network, torch.optim.AdamW(groups, lr=self.job.recipe.learning_rate, betas=self.job.recipe.betas)

    def _step(self, network: HaloNet, optimizer: torch.optim.AdamW, progress: _Progress, images: int) -> None:
        started, recipe = self.clock(), self.job.recipe
        factor = (
            recipe.cooldown_factor(progress.step, images) if progress.cooling else recipe.trunk_factor(progress.step)
        )
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        ids = batch_ids(self.job.seed, progress.step, recipe.batch, self.data.size(TRAIN))
        pixels, labels = self.data.batch(TRAIN, ids, self.job.config.image_size, (self.job.seed, progress.step))
        optimizer.zero_grad(set_to_none=True)
        value = sum(
            self._backward(network, part, target, len(ids))
            for part, target in zip(pixels.chunk(self.accumulate), labels.chunk(self.accumulate), strict=True)
        )
        if not math.isfinite(value):
            raise DivergedError(f"loss is {value} at step {progress.step}")
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        progress.step += 1
        progress.trained += len(ids)
        progress.seconds += self.clock() - started
        shown = progress.step * recipe.batch
        if progress.step % max(1, recipe.steps(self.job.rungs[-1]) // CURVE_POINTS) == 0:
            progress.curve.append((shown, value))
        self.on_step(shown, self.job.rungs[self._last_rung() - 1], value)

    def _backward(self, network: HaloNet, pixels: Tensor, labels: Tensor, batch: int) -> float:
        """Add the gradients of a part of the batch; returns its share of the batch's loss."""
        network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = network(to_float(pixels, self.device)).float()
        loss = training_loss(logits, labels.to(self.device), self.data, self.job.recipe.label_smoothing) * (
            len(pixels) / batch
        )
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def _settle_norms(self, network: HaloNet, step: int) -> None:
        """Average batch-norm statistics over fresh training batches: running ones lag behind weights that moved for few steps."""
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
        network.train()
        for i in range(NORM_BATCHES):
            ids = batch_ids(self.job.seed, step + i, self.job.recipe.batch, self.data.size(TRAIN))
            pixels, _ = self.data.batch(TRAIN, ids, self.job.config.image_size, (self.job.seed, step + i))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                network(to_float(pixels, self.device))
        for norm in norms:
            norm.momentum = NORM_MOMENTUM

    def _finish_rung(self, network: HaloNet, optimizer: torch.optim.AdamW, progress: _Progress, trunk: Any) -> None:
        self._settle_norms(network, progress.step)
        score = evaluate(
            network, self.data, self.job.split, self.job.config.image_size, self.device, self.job.test_images
        )
        if not math.isfinite(score.score):
            raise DivergedError(f"test loss is not finite after {self.job.rungs[progress.rung]} images")
        progress.scores.append(score.to_dict())
        progress.rung, progress.cooling = progress.rung + 1, False
        if progress.rung < len(self.job.rungs):
            progress.step = self.job.recipe.trunk_steps(self.job.rungs[progress.rung - 1])
            network.load_state_dict(trunk["network"])
            optimizer.load_state_dict(trunk["optimizer"])

    def _job_key(self) -> dict[str, Any]:
        job = self.job
        return {
            "config": job.config.to_dict(),
            "weights": WEIGHTS_VERSION,
            "recipe": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(job.recipe).items()},
            "rungs": list(job.rungs),
            "seed": job.seed,
            "test_images": job.test_images,
            "split": job.split,
            "data": self.data.report.fingerprint,
        }

    def _save(self, network: HaloNet, optimizer: torch.optim.AdamW, progress: _Progress, trunk: Any) -> None:
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

    def _resume(self, network: HaloNet, optimizer: torch.optim.AdamW) -> tuple[_Progress, Any]:
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
    epochs = positions // size
    orders = {
        epoch: np.random.Generator(np.random.Philox(key=[seed, int(epoch)])).permutation(size)
        for epoch in np.unique(epochs)
    }
    return np.array([orders[epoch][position % size] for epoch, position in zip(epochs, positions, strict=True)])


def training_loss(logits: Tensor, labels: Tensor, data: Dataset, smoothing: float) -> Tensor:
    """Cross-entropy in nats, mean over images, summed over the labels' factors."""
    blocks = split_logits(logits, data.factors)
    return torch.stack(
        [F.cross_entropy(block, labels[:, i], label_smoothing=smoothing) for i, block in enumerate(blocks)]
    ).sum()


def _copy_state(network: HaloNet, optimizer: torch.optim.AdamW) -> dict[str, Any]:
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
