"""A full training on Ray's workers (Ray Train): one process each, all started again from the last checkpoint when one dies."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from halosearch.errors import EnvironmentFault, HalosearchError, UsageError
from halosearch.files import write_text
from halosearch.run.engines.joining import Refused, connect
from halosearch.run.engines.ray_client import Cluster
from halosearch.run.model import Listening, ModelRequest, about_of, begin_model, folder_of, train_model
from halosearch.training.job import DivergedError
from halosearch.training.world import World

MOST_FAILURES = 5
"""How often workers may die before the training ends."""
RAY_FILES = ".ray"
"""Beside the models: what Ray Train writes for itself."""
REFUSED = "refused.json"
"""What a worker stumbled over and would stumble over again: not tried again."""


def train_on_ray(asked: ModelRequest, workers: int, address: str | None, device: str) -> dict[str, Any]:
    """Train on so many workers of a cluster (None: one that is started here); models/ must lie where all of them see it.

    Raises:
        HalosearchError: what a worker stumbled over, or workers that died too often.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    root = asked.root.resolve()
    data = asked.data if asked.data.startswith("hf:") else str(Path(asked.data).expanduser().resolve())
    asked = replace(asked, root=root, data=data, init=None if asked.init is None else asked.init.resolve())
    folder = folder_of(root, asked.name)
    if begin_model(asked, World()).about.get("finished"):  # what is wrong is said here, not by every worker
        return about_of(folder)
    refused_file = folder / REFUSED
    refused_file.unlink(missing_ok=True)
    if device != "auto" and torch.device(device).type not in ("cpu", "cuda"):
        raise UsageError(f"device {device!r} is not supported", "--device cpu, or cuda")
    gpu = device.startswith("cuda")
    try:
        connect(Cluster(address, asked.name, gpus=int(gpu)), workers + 1)
    except Refused as refused:
        raise EnvironmentFault(refused.sentence, refused.hint) from refused
    if device == "auto":  # what the workers have, not the machine that this is typed on
        gpu = ray.cluster_resources().get("GPU", 0) >= workers  # type: ignore[no-untyped-call]
    trainer = TorchTrainer(
        _on_worker,
        train_loop_config={"asked": asked},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name=asked.name,
            storage_path=str(folder.parent / RAY_FILES),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        if refused_file.exists():
            raise EnvironmentFault(*json.loads(refused_file.read_text(encoding="utf-8"))) from error
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFault(
            f"the training ended on Ray: {line}", "the same line goes on from its last checkpoint"
        ) from error
    finally:
        ray.shutdown()
    return about_of(folder)


def _on_worker(config: dict[str, Any]) -> None:
    """What every worker does: its share of the training."""
    from ray.train import get_context
    from ray.train.torch import get_device

    context = get_context()
    world = World(context.get_world_rank(), context.get_world_size(), context.get_local_rank())
    device = get_device()
    torch.set_num_threads(1)
    asked = config["asked"]
    refused = folder_of(asked.root, asked.name) / REFUSED
    if refused.exists():  # started again after it: it would be refused again
        raise RuntimeError(refused.read_text(encoding="utf-8"))
    if torch.device(str(device)).type == "cuda":
        torch.cuda.set_device(torch.device(str(device)))
    try:
        train_model(asked, torch.device(str(device)), world, Listening(_tell, _look, lambda: False))
    except HalosearchError as error:
        write_text(refused, json.dumps([error.sentence, error.hint]))
        raise  # the others wait for this one
    except DivergedError as error:
        write_text(refused, json.dumps([str(error), error.hint]))
        raise


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # Ray brings a worker's output to the driver


def _look(progress: Any, images_per_s: float, left_s: float) -> None:
    del progress, images_per_s, left_s
