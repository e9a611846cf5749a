"""Closed form against the built network (parameters), torch's FLOP counter on meta tensors (MACs), hooks (activations)."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from halosearch.families.halonet.counts import count, dials_of, layers
from halosearch.families.halonet.network import HaloAttention, HaloNet
from halosearch.families.halonet.notation import parse_candidate
from halosearch.families.halonet.published import FAMILY, NAMED, PUBLISHED
from halosearch.families.halonet.space import DIALS, HaloNetSpace, config_from_dials
from halosearch.families.halonet.twin import twin_of

PUBLISHED_PARAMS = {
    "h0": 5502248,
    "h1": 8101352,
    "h2": 9405608,
    "h3": 11842792,
    "h4": 19103464,
    "h5": 30718952,
    "h6": 43458280,
    "h7": 67434728,
}


def random_configs(n, seed, sizes=None):
    rng = np.random.default_rng(seed)
    space = HaloNetSpace() if sizes is None else HaloNetSpace().with_overrides({"s": sizes})
    values = {name: getattr(space, name) for name in DIALS}
    for _ in range(n):
        row = {name: options[rng.integers(len(options))] for name, options in values.items()}
        yield config_from_dials(row | ({"block_size": 10**6} if row["block_size"] == "map" else {}))


def built(config, **options):
    with torch.device("meta"):
        return HaloNet(config, **options).eval()


@pytest.mark.parametrize("name", PUBLISHED_PARAMS)
def test_published_models_have_the_published_parameters(name):
    params = count(FAMILY[name]).params
    assert params == PUBLISHED_PARAMS[name]
    slip = 0.04 if name == "h3" else 0.01  # df = 1024 and 12.3 M cannot both be right: see family.py
    assert abs(params / 1e6 / PUBLISHED[name].params_m - 1) < slip


def test_halonet50_and_the_wide_h4_have_the_published_parameters():
    assert round(count(FAMILY["halonet50"]).params / 1e6, 1) == 18.0
    wide = "s=384,b=12,h=2,rb=4,depths=3-4-12-3,w=128"
    assert round(count(parse_candidate(wide)).params / 1e6) == 85
    assert round(count(parse_candidate(wide + ",conv=2")).params / 1e6) == 87


FEW_AND_MANY = pytest.mark.parametrize("n", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.long])])


@FEW_AND_MANY
def test_parameters_equal_those_of_the_built_network(n):
    for config in [*NAMED.values(), *random_configs(n, 0), *(twin_of(c, 0.25) for c in NAMED.values())]:
        assert count(config).params == sum(p.numel() for p in built(config).parameters()), config


def macs_by_flop_counter(config):
    network = built(config, backend="reference")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, config.image_size, config.image_size, device="meta"))
    return counter.get_total_flops() // 2


@FEW_AND_MANY
def test_macs_equal_those_of_an_independent_counter(n):
    for config in [*(NAMED.values() if n > 12 else [NAMED["h0"], NAMED["h7-c12"]]), *random_configs(n // 8, 1)]:
        assert count(config).macs == macs_by_flop_counter(config), config


def activations_by_hooks(config):
    """Elements given out by convolutions, linear layers and AV (padded queries x value channels)."""
    total = 0

    def add(module, inputs, output):
        nonlocal total
        if isinstance(module, HaloAttention):
            side = inputs[0].shape[-1]
            tile = min(module.block_size, side)
            total += (-(-side // tile) * -(-tile // module.stride)) ** 2 * module.values
        else:
            total += output.numel()

    network = built(config)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | HaloAttention):
            module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.empty(1, 3, config.image_size, config.image_size, device="meta"))
    return total


@FEW_AND_MANY
def test_activations_equal_those_that_hooks_see(n):
    for config in [*(NAMED.values() if n > 12 else [NAMED["h0"], NAMED["h7-c12"]]), *random_configs(n // 8, 2)]:
        assert count(config).activations == activations_by_hooks(config), config


def test_layers_add_up_to_the_total():
    for config in random_configs(20, 3):
        cost = count(config)
        rows = list(layers(dials_of(config)))
        assert sum(int(row.repeat) * int(row.cost.params) for row in rows) == cost.params
        assert sum(int(row.repeat) * int(row.cost.macs) for row in rows) == cost.macs


def test_strided_attention_computes_a_quarter_of_the_scores():
    strided, plain = (
        [row for row in layers(dials_of(FAMILY["h1"])) if row.name == "scores" and row.block == f"stages.1.{which}"][0]
        for which in ("0", "rest")
    )
    # the strided layer reads a map four times as large with a quarter of its queries: as many scores as a later layer
    assert int(strided.cost.macs) == int(plain.cost.macs)


def test_the_twin_is_about_an_eighth_at_quarter_width():
    for name in ("h1", "h4"):
        ratio = count(twin_of(FAMILY[name], 0.25)).macs / count(FAMILY[name]).macs
        assert 0.06 < ratio < 0.2
