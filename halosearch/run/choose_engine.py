"""Who runs a study's evaluations: processes of this machine, a Ray cluster, or Ray Tune. The study is the same with each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from halosearch.errors import UsageError
from halosearch.record.folders import Folders
from halosearch.run.engines.gpus import gpus_for, is_amd, kinds_here
from halosearch.run.engines.limits import Limits
from halosearch.run.engines.local import LocalWorkers
from halosearch.run.engines.ray_client import Cluster, RayClient, Serve, WorkPlan
from halosearch.run.evaluate import Settings, at_home, make_evaluate
from halosearch.run.place import ENGINES, LOCAL, RAY, Place, parallel
from halosearch.run.protocol import Evaluate, Workers
from halosearch.spec.study import StudySpec

MakeWorkers = Callable[[StudySpec, Settings, Folders, str, Callable[[str], None]], Workers]
"""Given spec, settings, folders, the record's identity and whom to tell: workers."""


def limits_of(spec: StudySpec) -> Limits:
    """What one evaluation may take: by default as long as the whole study's preset was made for, and ten minutes at least."""
    seconds = spec.max_trial_time_s or max(600.0, 60.0 * spec.preset.minutes)
    return Limits(seconds, spec.max_trial_memory)


def workers_at(place: Place, evaluation: Callable[[Settings], Evaluate] = make_evaluate) -> MakeWorkers:
    """What makes the workers of a place; `evaluation` must be importable wherever they run.

    Raises:
        UsageError: there is no such engine.
    """
    if place.engine not in ENGINES:
        raise UsageError(f"unknown engine {place.engine!r}", f"engines are {', '.join(ENGINES)}")

    def make(
        spec: StudySpec, settings: Settings, folders: Folders, identity: str, message: Callable[[str], None]
    ) -> Workers:
        if place.engine == LOCAL:
            gpus = _gpus(spec)
            settings = replace(settings, device="cuda") if gpus else settings
            return LocalWorkers(parallel(spec), evaluation, settings, folders.logs, limits_of(spec), gpus)
        share = place.share(spec)
        if spec.device.startswith("cuda") and 0 < share < 1 and spec.preset.timed != "none":
            raise UsageError(
                f"--gpus-per-trial {share:g} lets others compute on a GPU while a step is timed there",
                "--gpus-per-trial 1, or a preset with timed: none",
            )
        where = hashlib.sha256(f"{identity} {folders.study.resolve()}".encode()).hexdigest()[:16]
        cluster = Cluster(place.address, f"halosearch-{where}", spec.threads, share)
        plan = WorkPlan(parallel(spec), evaluation, settings, at_home, limits_of(spec), cluster, folders.checkpoints)
        return RayClient(_serve(place.engine), plan, folders.checkpoints, folders.logs, message)

    return make


def _gpus(spec: StudySpec) -> tuple[str, ...]:
    """A GPU of its own for every worker.

    Raises:
        UsageError: there are fewer, and step times are measured, which two on one GPU would spoil.
    """
    if not spec.device.startswith("cuda"):
        return ()
    gpus = gpus_for(spec.device, kinds_here(), amd=is_amd())
    if parallel(spec) > len(gpus) and spec.preset.timed != "none":
        raise UsageError(
            f"{parallel(spec)} workers would share {len(gpus)} GPU(s), and measure each other's step times",
            f"--workers {max(1, len(gpus))}",
        )
    return gpus


def _serve(engine: str) -> Serve:
    if engine == RAY:
        from halosearch.run.engines import ray_engine

        return ray_engine.serve
    from halosearch.run.engines import ray_tune

    return ray_tune.serve
