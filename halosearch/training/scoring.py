"""What a network scores on the pictures that are kept for it; every process scores its share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.errors import EnvironmentFault
from halosearch.proxy.scoring import to_float
from halosearch.training.loading import Loaded, ScoredPictures, ScoreKeys, loaded
from halosearch.training.world import World

TOP = 5
BATCH = 128


@torch.inference_mode()
def score_network(
    network: nn.Module, pictures: ScoredPictures, device: torch.device, precision: str, world: World, workers: int = 0
) -> tuple[dict[str, float], dict[str, str]]:
    """Loss, top-1 and top-5 over all pictures that can be read, how many those are, and the reasons of the others by name.

    Raises:
        EnvironmentFault: none can be read.
    """
    network.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    unreadable: dict[str, str] = {}
    batches = ScoreKeys(len(pictures), world.rank, world.size, BATCH)
    for part in loaded(pictures, batches, workers, pinned=False):
        unreadable |= dict(part.unreadable)
        if len(part.labels):
            sums += _sums(network, part, device, precision)
    loss, first, among, count = world.summed(sums).tolist()
    if not count:
        raise EnvironmentFault(
            "not one of the pictures to score can be read", "check the data; the training goes on when they can be"
        )
    found = {"test_loss": loss / count, "top1": first / count, "top5": among / count, "scored": int(count)}
    return found, unreadable


def _sums(network: nn.Module, part: Loaded, device: torch.device, precision: str) -> Tensor:
    """Summed loss, right ones, right ones among five, images."""
    with autocast(device, precision):
        logits = network(to_float(part.images, device)).float()
    labels = part.labels.to(device)
    best = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    count = torch.full_like(loss, len(labels))
    return torch.stack([loss, best[:, 0].sum(), best.any(1).sum(), count]).double()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """In bfloat16 where that is so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_bfloat16(device, precision))


def is_bfloat16(device: torch.device, precision: str) -> bool:
    """Where it is asked for, or by itself on CUDA."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
