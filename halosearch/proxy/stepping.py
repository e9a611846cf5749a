"""How an optimiser step is carried out: operator by operator, or on CUDA as a graph that is captured once and replayed.

A twin's step is hundreds of small kernels, which a GPU runs faster than Python can launch them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from halosearch.gpu_faults import is_broken, is_out_of_memory
from halosearch.proxy.data.dataset import Batch, Dataset
from halosearch.proxy.objective import part_losses, training_loss
from halosearch.proxy.recipe import Recipe
from halosearch.proxy.scoring import autocast, to_float

EAGER_STEPS = 3
"""Steps before a graph is captured: in them kernels are compiled, and the optimiser makes its state."""
UNLOOKED = 32
"""Steps whose losses are read together on CUDA, because reading one waits for the device."""


def make_optimizer(groups: list[dict[str, Any]], recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW in one kernel for a parameter instead of a dozen: a twin has hundreds of small ones. On CUDA its rate lies there."""
    cuda = device.type == "cuda"
    rate: Any = torch.tensor(recipe.learning_rate, device=device) if cuda else recipe.learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=recipe.betas, fused=True, capturable=cuda)


def set_rate(optimizer: torch.optim.AdamW, factor: float, device: torch.device) -> None:
    """Every group's rate times a factor; on CUDA written where a captured graph reads it."""
    for group in optimizer.param_groups:
        value = group["rate"] * factor
        if device.type != "cuda":
            group["lr"] = value
        elif isinstance(group.get("own_lr"), Tensor) and group["own_lr"] is group["lr"]:
            group["lr"].fill_(value)
        else:
            group["lr"] = group["own_lr"] = torch.tensor(value, device=device)


def copy_state(network: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """A snapshot that later steps do not change."""
    return {
        "network": {name: value.detach().clone() for name, value in network.state_dict().items()},
        "optimizer": _cloned(optimizer.state_dict()),
    }


def restore(network: nn.Module, optimizer: torch.optim.AdamW, state: dict[str, Any]) -> None:
    """Bring a snapshot back in place, so that a captured graph goes on with it; before the first step, as a whole."""
    network.load_state_dict(state["network"])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = state["optimizer"]["state"]
    if len(optimizer.state) != len(saved) or not saved:
        optimizer.load_state_dict(state["optimizer"])
        return
    with torch.no_grad():
        for index, values in saved.items():
            own = optimizer.state[parameters[index]]
            for name, value in values.items():
                own[name].copy_(value)


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in value.items()}
    return [_cloned(item) for item in value] if isinstance(value, list) else value


@dataclass(slots=True)
class Stepping:
    """Forward, loss, backward, clipping and the optimiser's step, for a batch in `accumulate` parts."""

    network: nn.Module
    optimizer: torch.optim.AdamW
    data: Dataset
    recipe: Recipe
    device: torch.device
    accumulate: int
    _done: int = 0
    _graph: Any = None
    _static: Batch | None = None
    _out: Tensor = field(default_factory=lambda: torch.empty(0))
    _capturable: bool = True

    @property
    def unlooked(self) -> int:
        """Steps whose losses may be read together."""
        return UNLOOKED if self.device.type == "cuda" else 1

    def run(self, batch: Batch, factor: float) -> Tensor:
        """One step at a share of the peak rate; for every part of the batch its shares of the loss and of the mean loss over parts."""
        set_rate(self.optimizer, factor, self.device)
        self._done += 1
        if self.device.type != "cuda" or self.accumulate > 1:
            return self._step(batch)
        batch = Batch(*(each.to(self.device, non_blocking=True) for each in batch))
        if self._done <= EAGER_STEPS or not self._fits(batch) or not self._captured(batch):
            return self._aside(batch)
        for static, each in zip(self._static or (), batch, strict=True):
            static.copy_(each)
        self._graph.replay()
        return self._out.clone()

    def _fits(self, batch: Batch) -> bool:
        return self._static is None or all(a.shape == b.shape for a, b in zip(self._static, batch, strict=True))

    def _aside(self, batch: Batch) -> Tensor:
        """On a stream of its own, as what is captured later must have been begun."""
        here, aside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            out = self._step(batch)
        here.wait_stream(aside)
        return out

    def _captured(self, batch: Batch) -> bool:
        """Capture, once; a network that a graph cannot hold (it waits for the device on its way) is trained step by step."""
        if self._static is not None or not self._capturable:
            return self._capturable
        try:
            self._capture(batch)
        except RuntimeError as error:
            if is_broken(error) or is_out_of_memory(error):
                raise
            self._capturable, self._static, self._graph = False, None, None
            self.optimizer.zero_grad(set_to_none=True)
            warnings.warn(f"steps are not replayed as a graph: {str(error).splitlines()[0]}", stacklevel=2)
        return self._capturable

    def _capture(self, batch: Batch) -> None:
        self._static = Batch(*(each.clone() for each in batch))
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize(self.device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = self._step(self._static)

    def _step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        parts = zip(*(each.chunk(self.accumulate) for each in batch), strict=True)
        losses = [self._backward(Batch(*part), len(batch.images)) for part in parts]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        return torch.stack(losses)

    def _backward(self, part: Batch, batch: int) -> Tensor:
        """Add the gradients of a part of the batch; gives its shares of the batch's loss and of its mean loss over parts."""
        self.network.train()
        with autocast(self.device):
            outputs = self.network(to_float(part.images, self.device)).float()
        labels, dense = part.labels.to(self.device), part.dense.to(self.device)
        share = len(part.images) / batch
        loss = training_loss(outputs, labels, dense, self.data, self.recipe.label_smoothing) * share
        loss.backward()
        loss, outputs = loss.detach(), outputs.detach()
        fresh = part_losses(outputs, labels, dense, self.data).mean() * share if self.data.dense else loss.new_zeros(())
        return torch.stack((loss, fresh))
