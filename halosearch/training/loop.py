"""The loop of a full training: one process or several, stopped and resumed at any step with the same result.

Everything random is a function of (seed, epoch or step, part): the order and augmentation of pictures, and what dropout and stochastic
depth leave out. A step has (processes times accumulated parts) equal parts, so that two processes do what one does with two parts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.errors import EnvironmentFault
from halosearch.families.building_blocks import Classifier
from halosearch.proxy import checkpoint
from halosearch.proxy.data.pictures import Source
from halosearch.proxy.scoring import to_float
from halosearch.training.job import DivergedError, ModelJob, Progress, StoppedError
from halosearch.training.loading import (
    LEAST,
    EpochKeys,
    Loaded,
    Place,
    ReadersLostError,
    ScoredPictures,
    TrainingPictures,
    check_batch,
    check_readable,
    loaded,
    mixing,
)
from halosearch.training.optimizer import Averaged, keep_frozen, make_optimizer
from halosearch.training.scoring import autocast, score_network
from halosearch.training.world import World

LOOK_EVERY = 20
"""Steps between two readings of the loss: reading one makes a GPU wait."""


def _quiet(*anything: object) -> None:
    del anything


@dataclass(slots=True)
class ModelTrainer:
    """One full training with the world passed in. `network`: built, and begun from other weights where asked for."""

    job: ModelJob
    network: Classifier
    source: Source
    device: torch.device
    path: Path
    world: World = field(default_factory=World)
    loader_workers: int = 0
    should_stop: Callable[[], bool] = lambda: False
    on_begin: Callable[[Progress], None] = _quiet
    on_look: Callable[[Progress, float, float], None] = _quiet
    on_epoch: Callable[[Progress], None] = _quiet
    save_every_s: float = 60.0
    clock: Callable[[], float] = time.monotonic

    def run(self) -> tuple[Progress, dict[str, Tensor]]:
        """Train to the end, from the checkpoint where there is one; progress, and the weights that are kept (averaged where asked for).

        Raises:
            StoppedError: `should_stop` became true; the checkpoint holds the state.
            DivergedError: NaN or infinite loss.
            EnvironmentFault: data or processes are not what is needed; the last checkpoint stands.
        """
        running = _Running(self)
        progress = running.resume()
        if self.world.any_of(progress.step != int(self.world.first(progress.step)))[0]:
            raise EnvironmentFault(
                "processes stand at different steps: not all of them see the same models/",
                "put it where all machines see it",
            )
        self.on_begin(progress)
        try:
            self._epochs(running, progress)
        except ReadersLostError as error:
            if not self.should_stop():
                raise EnvironmentFault(
                    f"a process that reads pictures ended: {error}", "the same line goes on; or with --loader-workers 0"
                ) from error
            if not error.scoring and self.world.size == 1:  # several save together, and the others are not here
                running.save(progress)
            raise StoppedError from error
        return progress, running.kept()

    def _epochs(self, running: _Running, progress: Progress) -> None:
        """What is left of them. `seconds` are those of steps and of reading their pictures, not of scoring and saving."""
        steps, saved = running.place.steps, self.clock()
        last = self.job.recipe.epochs * steps
        while progress.step < last:
            epoch, mark = progress.step // steps, self.clock()
            for parts in running.batches(epoch, progress.step % steps):
                running.step(progress, parts)
                epoch_ends, look = progress.step % steps == 0, progress.step % LOOK_EVERY == 0
                due = stop = False
                if look or epoch_ends or self.world.size == 1 or self.device.type != "cuda":
                    due, stop = self.world.any_of(self.clock() - saved > self.save_every_s, self.should_stop())
                if look or epoch_ends or due or stop:
                    running.look(progress)
                progress.seconds += self.clock() - mark
                if epoch_ends:
                    running.end_epoch(progress, epoch)
                if due or stop or epoch_ends:
                    running.save(progress)
                    saved = self.clock()
                if stop and progress.step < last:
                    raise StoppedError
                mark = self.clock()


class _Running:
    """What a training works on."""

    def __init__(self, trainer: ModelTrainer) -> None:
        job, recipe = trainer.job, trainer.job.recipe
        self.trainer, self.recipe, self.world = trainer, recipe, trainer.world
        parts = recipe.accumulate * self.world.size
        check_batch(recipe.batch, parts)
        self.place = Place(len(trainer.source.train), recipe.batch, job.seed, parts)
        network = trainer.network.to(trainer.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Classifier = network
        self.optimizer, self.rates = make_optimizer(network, recipe)
        self.wrapped = self.world.shared(network, trainer.device)
        self.averaged = Averaged(network, recipe.ema) if recipe.ema else None
        self.pictures = TrainingPictures(trainer.source.train, recipe, job.image_size, job.seed)
        self.mixing = mixing(recipe, job.classes)
        self.losses: list[Tensor] = []
        self.failed = dict[str, str]()
        self.looked = (trainer.clock(), 0)

    def batches(self, epoch: int, first: int) -> Iterator[list[Loaded]]:
        """Steps of an epoch from `first` on, each with the parts of this process."""
        own = range(self.recipe.accumulate)
        parts = tuple(self.world.rank * self.recipe.accumulate + k for k in own)
        keys = EpochKeys(self.place, epoch, first, parts)
        pinned = self.trainer.device.type == "cuda"
        found = loaded(self.pictures, keys, self.trainer.loader_workers, pinned=pinned)
        for _ in range(first, self.place.steps):
            yield [next(found) for _ in own]

    def step(self, progress: Progress, parts: list[Loaded]) -> None:
        """One step of the optimiser."""
        self.wrapped.train()
        keep_frozen(self.network, self.recipe.frozen)
        factor = self.recipe.factor(progress.step, self.place.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        total = torch.zeros((), device=self.trainer.device)
        for place, part in enumerate(parts):
            progress.unreadable |= dict(part.unreadable)
            self.failed |= dict(part.unreadable)  # not those of an earlier start, which may be back
            check_readable(self.failed, self.place.size // self.world.size)
            number = self.world.rank * self.recipe.accumulate + place
            torch.manual_seed(seed_of(self.trainer.job.seed, progress.step, number))
            last = place == len(parts) - 1
            waits = self.wrapped.no_sync() if self.world.size > 1 and not last else nullcontext()  # type: ignore[operator]
            with waits:
                loss = self._loss(part) / len(parts)
                loss.backward()
            total += loss.detach()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Batch norm's statistics are those of all processes' parts: every process scores, and keeps, the same network.
        self.world.mean_into([each for each in self.network.buffers() if each.is_floating_point()])
        if self.averaged is not None:
            self.averaged.follow(self.network, progress.step)
        self.losses.append(total)
        progress.step += 1

    def _loss(self, part: Loaded) -> Tensor:
        """Mean loss of a part; a part of which nothing could be read counts nothing, and its gradients are nought."""
        device = self.trainer.device
        if len(part.labels) < LEAST:
            side = self.trainer.job.image_size  # every process takes part in every step
            self.network.eval()  # statistics are those of pictures
            with autocast(device, self.recipe.precision):
                nothing: Tensor = self.wrapped(torch.zeros(2, 3, side, side, device=device)).sum() * 0
            self.network.train()
            keep_frozen(self.network, self.recipe.frozen)
            return nothing
        images, labels = part.images.to(device, non_blocking=True), part.labels.to(device, non_blocking=True)
        x, targets = to_float(images, device), labels
        if self.mixing is not None:
            x, targets = self.mixing(x, labels)
        with autocast(device, self.recipe.precision):
            logits = self.wrapped(x)
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.recipe.label_smoothing)

    def look(self, progress: Progress) -> None:
        """Read the losses since the last look.

        Raises:
            DivergedError: one of them is no number.
        """
        if not self.losses:
            return
        values = (self.world.summed(torch.stack(self.losses)) / self.world.size).tolist()
        self.losses.clear()
        if not all(math.isfinite(value) for value in values):
            raise DivergedError(f"the loss is no number before step {progress.step}")
        for value in values:  # one by one: the sum must not depend on when it was looked at
            progress.loss_sum += value
        progress.loss_steps += len(values)
        then, before = self.looked
        now = self.trainer.clock()
        self.looked = (now, progress.step)
        rate = (progress.step - before) * self.recipe.batch / max(now - then, 1e-9) if progress.step > before else 0.0
        left = (self.recipe.epochs * self.place.steps - progress.step) * self.recipe.batch / rate if rate else 0.0
        self.trainer.on_look(progress, rate, left)

    def end_epoch(self, progress: Progress, epoch: int) -> None:
        """Score what is kept, and add the epoch's row; all losses have been looked at."""
        scored, unreadable = self.score()
        progress.unreadable |= unreadable
        progress.epochs.append(
            {
                "epoch": epoch + 1,
                "images": progress.step * self.recipe.batch,
                "train_loss": progress.loss_sum / max(1, progress.loss_steps),
                **scored,
                "rate": self.recipe.factor(progress.step - 1, self.place.steps) * self.recipe.learning_rate,
                "seconds": progress.seconds,
            }
        )
        progress.loss_sum, progress.loss_steps = 0.0, 0
        self.looked = (self.trainer.clock(), progress.step)
        self.trainer.on_epoch(progress)

    def score(self) -> tuple[dict[str, float], dict[str, str]]:
        """Of all pictures to score, by the weights that are kept; and what could not be read, by any process.

        Raises:
            EnvironmentFault: that is a good part of them.
        """
        trainer = self.trainer
        best = self.network if self.averaged is None else self.averaged.module
        pictures = ScoredPictures(trainer.source.test, self.recipe.test_crop, trainer.job.image_size)
        found, own = score_network(
            best, pictures, trainer.device, self.recipe.precision, self.world, trainer.loader_workers
        )
        unreadable = self.world.joined(own)
        check_readable(unreadable, len(pictures), "to score ")
        return found, unreadable

    def kept(self) -> dict[str, Tensor]:
        """The weights that are handed on."""
        best = self.network if self.averaged is None else self.averaged.module
        return {name: each.detach().cpu().clone() for name, each in best.state_dict().items()}

    def save(self, progress: Progress) -> None:
        """Keep everything; the leading process writes it."""
        progress.unreadable = self.world.joined(progress.unreadable)
        if not self.world.leads:
            return
        state = {
            "job": self.trainer.job.to_dict(),
            "progress": {name: getattr(progress, name) for name in Progress.__dataclass_fields__},
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
        }
        checkpoint.save(self.trainer.path, state)

    def resume(self) -> Progress:
        """From the checkpoint of the same job, or from the beginning where there is none."""
        state = checkpoint.load(self.trainer.path, self.trainer.job.to_dict())
        if state is None:
            if self.trainer.path.exists():
                raise EnvironmentFault(
                    f"{self.trainer.path.name} cannot be read, or is of another training",
                    "try again; or remove it to begin anew",
                )
            return Progress()
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        progress = Progress(**state["progress"])
        self.looked = (self.trainer.clock(), progress.step)
        return progress


def seed_of(seed: int, step: int, part: int) -> int:
    """A seed of its own for every part of every step."""
    return ((seed * 0x9E3779B97F4A7C15) ^ (step * 0xBF58476D1CE4E5B9) ^ (part * 0x94D049BB133111EB)) % 2**62
