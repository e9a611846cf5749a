"""Which process this is of a training over several: torchrun's and Ray Train's processes say it in their environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from halosearch.errors import EnvironmentFault

_UNSYNCED: dict[str, Any] = {
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    else "broadcast_buffers": False
}
"""Statistics are averaged after every step instead (torch 2.13 renamed the flag)."""


@dataclass(frozen=True, slots=True)
class World:
    """Rank among `size` processes, and its place on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def shared(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network whose gradients are averaged over all processes."""
        if self.size == 1:
            return network
        ids = [device.index or 0] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, **_UNSYNCED)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def mean_into(self, tensors: Sequence[Tensor]) -> None:
        """Every tensor becomes its mean over all processes."""
        if self.size == 1 or not tensors:
            return
        flat = self.summed(torch.cat([each.reshape(-1) for each in tensors])) / self.size
        for each, mean in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
            each.copy_(mean.view_as(each))

    def joined(self, words: dict[str, str]) -> dict[str, str]:
        """What all processes know together."""
        if self.size == 1:
            return words
        found: list[dict[str, str]] = [{} for _ in range(self.size)]
        dist.all_gather_object(found, words)
        return {key: value for each in found for key, value in each.items()}

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def first(self, value: float) -> float:
        """What the leading process has."""
        if self.size == 1:
            return value
        found = [None] * self.size
        dist.all_gather_object(found, value)
        assert found[0] is not None
        return float(found[0])

    def local_device(self) -> int:
        """Number of this process's GPU: its own among all, or the only one that the environment shows it."""
        alone = torch.cuda.device_count() == 1 and os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return 0 if alone else self.local_rank

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each is true in any process: all of them stop together, or none does."""
        if self.size == 1:
            return flags
        found = torch.tensor([float(flag) for flag in flags])
        if dist.get_backend() == "nccl":
            found = found.cuda()  # the process's own
        dist.all_reduce(found)
        return tuple(each > 0 for each in found.tolist())


def world_here() -> World:
    """What the environment says; one process where it says nothing.

    Raises:
        EnvironmentFault: it says something that is no number.
    """
    words = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if words["WORLD_SIZE"] is None:
        return World()
    try:
        found = World(int(words["RANK"] or 0), int(words["WORLD_SIZE"]), int(words["LOCAL_RANK"] or 0))
    except ValueError as error:
        raise EnvironmentFault(
            f"RANK, WORLD_SIZE or LOCAL_RANK is no number: {words}", "start it by torchrun"
        ) from error
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if found.size > 1 and name not in os.environ]
    if missing:
        raise EnvironmentFault(
            f"WORLD_SIZE is {found.size} and {missing[0]} is not said", "start it by torchrun, or unset WORLD_SIZE"
        )
    return found


@contextmanager
def together(world: World, device: torch.device) -> Iterator[None]:
    """The processes know each other while this lasts; nothing to do for one, or where Ray Train has done it."""
    own = world.size > 1 and not dist.is_initialized()
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if own:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        if own:
            dist.destroy_process_group()
