"""EfficientNet and ResNet: exact counts three ways, notation, twins, and timm's own networks where timm is installed."""

import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from halosearch.cost.audit import audit
from halosearch.errors import UsageError
from halosearch.families.efficientnet.config import EfficientNetConfig
from halosearch.families.efficientnet.notation import MEMBERS as EFFICIENTNETS
from halosearch.families.halonet.published import FAMILY
from halosearch.families.known import build, candidate_text, count, parse_candidate, twin_of
from halosearch.families.published import published_models
from halosearch.families.resnet.config import ResNetConfig
from halosearch.families.resnet.notation import MEMBERS as RESNETS
from halosearch.families.rivals import nearest_rival, rivals_of
from halosearch.spec.quantities import parse_rivals

# The authors' and PyTorch's own counts, a classifier of 1,000 classes included.
PARAMETERS = {
    "efficientnet-b0": 5_288_548,
    "efficientnet-b1": 7_794_184,
    "efficientnet-b2": 9_109_994,
    "efficientnet-b3": 12_233_232,
    "efficientnet-b4": 19_341_616,
    "efficientnet-b5": 30_389_784,
    "efficientnet-b6": 43_040_704,
    "efficientnet-b7": 66_347_960,
    "resnet-50": 25_557_032,
    "resnet-101": 44_549_160,
    "resnet-152": 60_192_808,
    "resnet-50:se=yes": 28_088_024,
}
efficientnets = st.builds(
    EfficientNetConfig,
    width=st.sampled_from([0.25, 0.5, 0.9, 1.0, 1.15, 1.4]),
    depth=st.sampled_from([0.3, 1.0, 1.3]),
    image_size=st.integers(32, 80),
    narrowed=st.sampled_from([1.0, 0.5, 0.125]),
)
resnets = st.builds(
    ResNetConfig,
    depths=st.tuples(*[st.integers(1, 3)] * 4),
    image_size=st.integers(32, 80),
    squeeze_excite=st.booleans(),
    activation=st.sampled_from(["relu", "silu"]),
    base_width=st.sampled_from([4, 8, 13, 32]),
)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_published_parameters(name):
    assert count(parse_candidate(name)).params == PARAMETERS[name]


def test_published_macs_of_efficientnets_to_the_digits_that_were_printed():
    """arXiv:1905.11946, table 2, counts multiply-adds; ours leave batch norm and activations out, so they may be a little less."""
    for row in published_models():
        if row.family == "EfficientNet AA":
            counted = count(EFFICIENTNETS[row.model.lower()]).macs / 1e9
            assert counted == pytest.approx(row.macs_g, rel=0.06), row.model


def counted_by_torch(config, classes):
    network = build(config, classes, explicit=True).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, config.image_size, config.image_size))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


@settings(max_examples=25, deadline=None)
@given(st.one_of(efficientnets, resnets), st.integers(2, 20))
def test_closed_form_network_and_torch_s_counter_agree(config, classes):
    cost = count(config, classes)
    assert (cost.params, cost.macs) == counted_by_torch(config, classes)


@pytest.mark.parametrize(
    "name", ["efficientnet-b0:s=64", "resnet-50:s=64", "resnet:depths=1-2-1-1,s=65,se=yes,act=silu,w=16"]
)
def test_closed_form_and_fvcore_agree_block_by_block(name):
    rows = audit(parse_candidate(name), classes=7)
    assert len(rows) > 8
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", PARAMETERS)
def test_every_member_agrees_with_fvcore(name):
    assert all(row.agrees for row in audit(parse_candidate(name)))


def test_activations_are_the_outputs_of_convolutions_and_linear_layers():
    for member in (EFFICIENTNETS["b0"], RESNETS["50"]):
        config = dataclasses.replace(member, image_size=64)
        network, seen = build(config, 10).eval(), list[int]()

        def note(module, inputs, out, seen=seen):
            seen.append(out.numel())

        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(note)
        with torch.no_grad():
            network(torch.zeros(1, 3, 64, 64))
        assert count(config, 10).activations == sum(seen)


@settings(max_examples=100, deadline=None)
@given(st.one_of(efficientnets, resnets))
def test_notation_is_read_back(config):
    assert parse_candidate(candidate_text(config)) == config


@pytest.mark.parametrize("name", [*PARAMETERS, "h0", "h4", "halonet50"])
def test_names_are_read_in_any_case_and_written_by_name_where_they_have_one(name):
    assert parse_candidate(name.upper()) == parse_candidate(name)
    if name not in {**FAMILY, "halonet50": None}:
        assert candidate_text(parse_candidate(name)) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("efficientnet-b8", "efficientnet-b0 to efficientnet-b7"),
        ("efficientnet:w=1.4,d=1.8", "needs s"),
        ("efficientnet:w=1.4,d=1.8,s=380,s=96", "given twice"),
        ("efficientnet:w=1.4,d=1.8,size=380", "takes w, d, s"),
        ("efficientnet:w=zero,d=1.8,s=380", "positive number"),
        ("efficientnet:w=1.4,d=1.8,s=", "has no value"),
        ("efficientnet-b0:s=16", "below 32"),
        ("resnet-18", "resnet-50, resnet-101, resnet-152"),
        ("resnet", "needs depths"),
        ("resnet:depths=3-4-6", "four numbers"),
        ("resnet-50:se=maybe", "yes or no"),
        ("resnet-50:act=gelu", "relu, silu"),
        ("vgg16", "efficientnet-b0 to -b7"),
    ],
)
def test_what_is_no_member_is_answered_with_a_way_out(text, said):
    with pytest.raises(UsageError) as error:
        parse_candidate(text)
    assert said in f"{error.value.sentence} {error.value.hint}"


@pytest.mark.parametrize("name", ["efficientnet-b0:s=64", "resnet-50:s=64,se=yes"])
@pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
def test_a_twin_keeps_depth_and_size_and_learns(name, share):
    config = parse_candidate(name)
    twin = twin_of(config, share)
    assert parse_candidate(candidate_text(twin)) == twin
    assert twin.image_size == config.image_size
    assert count(twin, 10).params < 1.5 * share**1.2 * count(config, 10).params
    torch.manual_seed(0)
    network = build(twin, 5)
    assert len([m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]) == len(
        [m for m in build(config, 5).modules() if isinstance(m, torch.nn.Conv2d)]
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    images, labels = torch.randn(10, 3, 64, 64), torch.arange(10) % 5
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.7 * losses[0]


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed (an optional extra)")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("efficientnet-b0", "efficientnet_b0"),
        ("efficientnet-b2:s=96", "efficientnet_b2"),
        ("resnet-50", "resnet50"),
        ("resnet-50:se=yes,s=97", "seresnet50"),
    ],
)
def test_with_timm_s_weights_ours_gives_what_timm_s_gives(ours, theirs):
    from halosearch.cost.subjects import import_timm

    config = parse_candidate(ours)
    other, own = import_timm().create_model(theirs).eval(), build(config).eval()
    generator = torch.Generator().manual_seed(0)
    for value in other.state_dict().values():
        if value.is_floating_point():  # every gain, mean and variance too: fresh ones would hide a wrong order
            spread = 0.3 * torch.rand(value.shape, generator=generator) + 0.85 if value.ndim == 1 else value
            value.copy_(spread)
    mine = own.state_dict()
    assert len(mine) == len(other.state_dict())
    own.load_state_dict(
        {name: value.reshape(mine[name].shape) for name, value in zip(mine, other.state_dict().values(), strict=True)}
    )
    images = torch.randn(2, 3, config.image_size, config.image_size, generator=generator)
    with torch.no_grad():
        expected, found = other(images).numpy(), own(images).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (5_000_000, "b0"),
        (6_000_000, "b0"),
        (6_600_000, "b1"),
        (20_000_000, "b4"),
        (12_000_000, "b3"),
        (10**9, "b7"),
        (1, "b0"),
    ],
)
def test_the_rival_of_a_budget_is_the_nearest_efficientnet_by_ratio(params, name):
    assert nearest_rival("halonet", params) == f"efficientnet-{name}"


def test_rivals_read_images_of_the_study_s_sizes_and_none_is_there_twice():
    sizes = (48, 64, 96)
    assert rivals_of(["nearest"], "halonet", 20_000_000, sizes) == ("efficientnet-b4:s=96",)
    assert rivals_of(["resnet-50", "efficientnet-b0:s=64"], "halonet", 1, sizes) == (
        "resnet-50:s=96",
        "efficientnet-b0:s=64",
    )
    assert rivals_of(["resnet-50", "resnet-50:s=300", "resnet-50:s=32"], "halonet", 1, sizes) == (
        "resnet-50:s=96",
        "resnet-50:s=48",
    )
    assert rivals_of(["efficientnet-b1"], "halonet", 1, (64, 240, 640)) == ("efficientnet-b1",)
    assert rivals_of(["none"], "halonet", 20_000_000, sizes) == ()
    assert parse_rivals("efficientnet:w=1,d=1,s=64; resnet-50", "--rivals") == (
        "efficientnet:w=1,d=1,s=64",
        "resnet-50",
    )
    for text in ("h4", "vgg16"):
        with pytest.raises(UsageError):
            rivals_of([text], "halonet", 1, sizes)
    with pytest.raises(UsageError):
        parse_rivals(" ; ", "--rivals")
