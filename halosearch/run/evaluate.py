"""One evaluation, in a worker's process: time the full candidate, train its twin, score it."""

from __future__ import annotations

import errno
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from halosearch.cost.devices import memory_of_others, resolve_device
from halosearch.cost.part_times import measure_parts
from halosearch.cost.parts import parts_of
from halosearch.cost.timing import TimingPlan, anchor_config, measure
from halosearch.errors import EnvironmentFault
from halosearch.families.halonet.config import HaloNetConfig
from halosearch.families.known import Config, parse_candidate, twin_of
from halosearch.gpu_faults import is_broken, is_out_of_memory
from halosearch.proxy.checkpoint import remove
from halosearch.proxy.data.dataset import HELD_OUT as HELD_OUT_IMAGES
from halosearch.proxy.data.dataset import TEST, DataRequest, Dataset
from halosearch.proxy.data.randaugment import augmented
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.training import DivergedError, Trainer, TrainingJob, TrainingResult, TrainingStoppedError
from halosearch.proxy.zero_cost import zero_cost_scores
from halosearch.record.candidates import config_of
from halosearch.record.evaluation import (
    ANCHOR,
    ARM,
    HELD_OUT,
    NETWORKS,
    RECIPE,
    REFERENCE,
    RETEST,
    RIVAL,
    RIVAL_HELD_OUT,
    STEP_TIME,
    STEP_TIMES,
    TRIAL,
    Evaluation,
)
from halosearch.run.engines.gpus import alone
from halosearch.run.protocol import Evaluate, MachineFaultError, ProcessBrokenError, StoppedError, World

MAX_ACCUMULATION = 8
PART_ROUNDS = 3
ZERO_COST_BATCH = 32
OTHERS_SHARE = 0.05
"""Share of a GPU's memory that others hold above which running out of it says nothing about a candidate."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every evaluation of a study shares. `fingerprint`: of the data as the driver found it; none: not compared.

    `timed`: whose step is measured: "all" candidates' with their training, some in rows of their own ("front"), or nobody's.
    `zero_cost`: whether untrained twins are scored. `stops`: whether trials may be stopped at a rung.
    """

    data: DataRequest
    recipe: Recipe
    rungs: tuple[int, ...]
    width_multiplier: float
    timing: TimingPlan
    device: str
    threads: int
    checkpoints: Path
    fingerprint: str = ""
    timed: str = "all"
    zero_cost: bool = True
    stops: bool = True


def at_home(settings: Settings, own: Path, shared: Path) -> Settings:
    """The settings of a worker on any machine: checkpoints in its own folder, decoded images in one that its machine shares."""
    decoded = settings.data.decoded
    data = replace(settings.data, cache=shared / "cache", decoded=decoded if decoded and decoded.exists() else None)
    return replace(settings, data=data, checkpoints=own / "checkpoints")


def make_evaluate(settings: Settings) -> Evaluate:
    """Open the data once, then evaluate row after row.

    Raises:
        EnvironmentFault: no such device or data here, or other data than the driver's.
    """
    resolve_device(settings.device)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)  # sharp attention makes numbers too small for a CPU to be quick with
    data = open_data(settings.data, settings.device)
    if settings.fingerprint not in ("", data.report.fingerprint):
        raise EnvironmentFault(f"a worker found other images at {settings.data.source} than the study's driver", "")

    def evaluate(row: Evaluation, world: World) -> dict[str, Any]:
        try:
            return _evaluate(settings, data, row, world)
        except TrainingStoppedError:
            raise StoppedError from None
        except RuntimeError as error:
            if not is_broken(error):
                raise
            raise ProcessBrokenError(f"the GPU context broke: {str(error).splitlines()[0]}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise MachineFaultError("the disk is full") from error
            raise

    return evaluate


def _evaluate(settings: Settings, data: Dataset, row: Evaluation, world: World) -> dict[str, Any]:
    started = time.monotonic()
    device = torch.device(settings.device)
    if row.kind == ANCHOR:
        with alone(device):
            return {"state": "complete", **measured_anchor(settings.timing, device)}
    if row.kind == STEP_TIMES:
        return step_times(row, settings.timing, device) | {"seconds": time.monotonic() - started}
    config = config_of(row.candidate)
    result: dict[str, Any] = {}
    to_the_top = row.rung in (-1, len(settings.rungs) - 1)
    try:
        if _is_timed(settings, row, to_the_top=to_the_top):
            with alone(device):
                result |= step_time(config, settings.timing, device)
                if isinstance(config, HaloNetConfig):
                    result |= {"parts": part_times(config, settings.timing, device)}
        if row.kind == STEP_TIME:
            return result | {"state": "complete", "seconds": time.monotonic() - started}
        if settings.zero_cost and row.kind == TRIAL and to_the_top:
            result |= {"zero_cost": zero_cost_of(settings, data, config, row.seed, device)}
        if world.should_stop():
            raise StoppedError
        trained, parts = _train(settings, data, row, config, device, world)
    except DivergedError as error:
        return result | {"state": "failed", "reason": str(error), "seconds": time.monotonic() - started}
    except (RuntimeError, MemoryError) as error:
        return result | _out_of_memory(error, device) | {"seconds": time.monotonic() - started}
    return (
        result
        | _scores(trained, _rungs_of(settings, row))
        | {"state": "complete", "batch_parts": parts, "seconds": time.monotonic() - started + trained.earlier_seconds}
    )


def _out_of_memory(error: BaseException, device: torch.device) -> dict[str, Any]:
    """What running out of memory says of a candidate.

    Raises:
        ProcessBrokenError: nothing, for others held the GPU's memory; it is tried again in a fresh process.
    """
    if not is_out_of_memory(error):
        raise error
    if (others := memory_of_others(device)) > OTHERS_SHARE:
        raise ProcessBrokenError(f"out of memory on {device} while other processes held {others:.0%} of it") from error
    return {"state": "infeasible", "reason": f"out of memory on {device}"}


def _is_timed(settings: Settings, row: Evaluation, *, to_the_top: bool) -> bool:
    """Whether a row measures its candidate's step."""
    if row.kind == TRIAL:
        return settings.timed == "all" and to_the_top
    return row.kind == STEP_TIME or (row.kind in (REFERENCE, RIVAL) and settings.timed != "none")


def measured_anchor(plan: TimingPlan, device: torch.device) -> dict[str, Any]:
    """The yardstick's own training-step time, with twice the rounds of a candidate."""
    plan = replace(plan, rounds=2 * plan.rounds, warmup=2 * plan.warmup)
    return measure({"anchor": anchor_config(plan.anchor_size)}, plan, device)[0].to_dict()


def step_time(config: Config, plan: TimingPlan, device: torch.device) -> dict[str, Any]:
    """Training-step time of the full network beside the anchor's, in the same rounds (see `anchor.in_seconds`)."""
    return {"step_time": measure({"candidate": config}, plan, device)[0].to_dict()}


def step_times(row: Evaluation, plan: TimingPlan, device: torch.device) -> dict[str, Any]:
    """Step times of several networks in the same rounds, by arm: whose step, where, and the seconds of every round."""
    try:
        with alone(device):
            timed = measure(
                {name: parse_candidate(text) for name, text in row.candidate[NETWORKS].items()}, plan, device
            )
    except (RuntimeError, MemoryError) as error:
        return _out_of_memory(error, device)
    return {"state": "complete", "step_times": {each.name: each.to_dict() for each in timed}}


def part_times(config: HaloNetConfig, plan: TimingPlan, device: torch.device) -> list[dict[str, Any]]:
    """Every part of the candidate timed alone, for the prediction of other candidates: name, key, share of the yardstick."""
    timed = measure_parts(config, replace(plan, rounds=PART_ROUNDS), device)
    names = list(parts_of(config))
    return [{"name": name, "key": part.key, "share": part.share} for name, part in zip(names, timed, strict=True)]


def _train(
    settings: Settings, data: Dataset, row: Evaluation, config: Config, device: torch.device, world: World
) -> tuple[TrainingResult, int]:
    """Train the twin; out of memory is first answered with smaller parts of a batch. Also returns the parts of a batch."""
    own = {name: type(getattr(settings.recipe, name))(value) for name, value in row.candidate.get(RECIPE, {}).items()}
    recipe = replace(settings.recipe, **own)
    recipe = replace(recipe, learning_rate=recipe.learning_rate * row.rate)
    data = augmented(data, recipe.randaugment)
    split, images = TEST, settings.data.test_images
    if row.kind in (HELD_OUT, RIVAL_HELD_OUT, ARM):
        split, images = HELD_OUT_IMAGES, data.size(HELD_OUT_IMAGES)
    rungs = _rungs_of(settings, row)
    training = TrainingJob(twin_of(config, settings.width_multiplier), recipe, rungs, row.seed, images, split)
    path = settings.checkpoints / f"{row.key}.pt"
    upto = None if row.rung < 0 or rungs != settings.rungs else row.rung + 1
    accumulate = 1
    while True:
        trainer = Trainer(
            training, data, device, path, world.should_stop, world.report, accumulate=accumulate, upto=upto
        )
        try:
            trained = trainer.run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or accumulate >= MAX_ACCUMULATION:
                raise
            accumulate *= 2
        else:
            if len(trained.scores) == len(training.rungs):
                remove(path)
            return trained, accumulate


def _rungs_of(settings: Settings, row: Evaluation) -> tuple[int, ...]:
    """Trials, retests and arms are scored at every rung; searched ones of a study without stops, and all others, only at the last.

    The lower rungs of candidates drawn evenly, which know of no other row, say how a ranking changes with length.
    """
    if row.kind in (RETEST, ARM) or (row.kind == TRIAL and (settings.stops or not row.known)):
        return settings.rungs
    return settings.rungs[-1:]


def zero_cost_of(
    settings: Settings, data: Dataset, config: Config, seed: int, device: torch.device
) -> dict[str, float]:
    """Scores of the untrained twin on a few training images; none where that fails: what decides nothing can fail nothing."""
    twin = twin_of(config, settings.width_multiplier)
    try:
        return zero_cost_scores(twin, data, seed, min(settings.recipe.batch, ZERO_COST_BATCH), device)
    except Exception as error:
        if is_broken(error):
            raise
        traceback.print_exc()
        return {}


def _scores(trained: TrainingResult, rungs: tuple[int, ...]) -> dict[str, Any]:
    scores = [score.to_dict() | {"images_seen": images} for score, images in zip(trained.scores, rungs, strict=False)]
    return {
        "score": trained.final.score,
        "final": scores[-1],
        "scores": scores,
        "curve": [list(point) for point in trained.curve],
        "images_per_s": trained.images_per_s,
        "train_seconds": trained.seconds,
    }
