"""The closed form beside fvcore's count of the built network: parameters by block, MACs by operator.

fvcore traces the `reference` attention on real tensors. It counts batch norm and pooling, which our convention leaves out,
so the comparison is by operator. An operator that fvcore can neither count nor is known to cost nothing is an error: it
would be a silent zero.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from halosearch.families.known import Config, build, count, layers_of

OUTSIDE_CONVENTION = ("batch_norm",)
FREE_OPERATORS = frozenset(
    f"aten::{name}"
    for name in (
        "relu_",
        "silu_",
        "silu",
        "max_pool2d",
        "avg_pool2d",
        "abs",
        "le",
        "pad",
        "constant_pad_nd",
        "unfold",
        "mul",
        "add",
        "add_",
        "softmax",
        "masked_fill",
        "bitwise_not",
        "logical_not",
        "__and__",
        "bitwise_and",
        "mean",
        "sigmoid",
        "index",
        "index_select",
        "neg",
        "sub",
        "pow",
        "floor_divide",
        "rsub",
        "lt",
        "ge",
        "eq",
        "clamp",
        "arange",
        "all",
    )
)
"""Element-wise, pooling and data-moving operators and arithmetic on sizes: zero MACs by our convention."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One comparison: what, by closed form, by fvcore, and whether they agree exactly."""

    quantity: str
    part: str
    closed_form: int
    fvcore: int

    @property
    def agrees(self) -> bool:
        """Exact equality."""
        return self.closed_form == self.fvcore


def audit(config: Config, classes: int = 1000) -> list[AuditRow]:
    """Compare every block's parameters, every operator's MACs and both totals.

    Raises:
        RuntimeError: the network uses an operator that fvcore does not count and that is not known to be free.
    """
    network = build(config, classes, explicit=True).eval()
    rows = [
        AuditRow("params", block, ours, theirs) for block, ours, theirs in _params_by_block(config, network, classes)
    ]
    closed, traced = _macs_by_operator(config, classes), _traced_macs(network, config.image_size)
    rows += [AuditRow("macs", operator, closed[operator], traced[operator]) for operator in sorted(closed | traced)]
    cost = count(config, classes)
    rows.append(AuditRow("params", "total", cost.params, sum(p.numel() for p in network.parameters())))
    rows.append(AuditRow("macs", "total", cost.macs, sum(traced.values())))
    return rows


def _params_by_block(config: Config, network: nn.Module, classes: int) -> list[tuple[str, int, int]]:
    built: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        parts = name.split(".")
        built[".".join(parts[:3]) if parts[0] == "stages" else parts[0]] += parameter.numel()
    closed: Counter[str] = Counter()
    for layer in layers_of(config, classes):
        if layer.block.endswith(".rest"):
            for index in range(int(layer.repeat)):
                closed[f"{layer.block.removesuffix('rest')}{index + 1}"] += int(layer.cost.params)
        else:
            closed[layer.block] += int(layer.repeat * layer.cost.params)
    return [(block, closed[block], built[block]) for block in sorted(closed | built) if closed[block] or built[block]]


def _macs_by_operator(config: Config, classes: int) -> Counter[str]:
    macs: Counter[str] = Counter()
    for layer in layers_of(config, classes):
        macs[layer.operator] += int(layer.repeat * layer.cost.macs)
    return macs


def _traced_macs(network: nn.Module, size: int) -> Counter[str]:
    device = next(network.parameters()).device
    analysis = FlopCountAnalysis(network, torch.zeros(1, 3, size, size, device=device))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    counted = Counter(
        {name: int(value) for name, value in analysis.by_operator().items() if name not in OUTSIDE_CONVENTION}
    )
    unknown = sorted(set(analysis.unsupported_ops()) - FREE_OPERATORS)
    if unknown:
        raise RuntimeError(f"fvcore does not count {', '.join(unknown)}: their MACs would be a silent zero")
    return counted
