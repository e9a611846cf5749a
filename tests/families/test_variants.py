"""Masks, pooling, positions, activations and squeeze-excite: against single pixels, against SASA by unfolding, and counted three ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from halosearch.cost.audit import audit
from halosearch.errors import UsageError
from halosearch.families.halonet.attention.call import Inputs, Shape
from halosearch.families.halonet.attention.halo_attention import masked_attention
from halosearch.families.halonet.config import config_from_dict
from halosearch.families.halonet.counts import count
from halosearch.families.halonet.network import HaloAttention, HaloNet
from halosearch.families.halonet.notation import candidate_text, parse_candidate
from halosearch.families.halonet.twin import twin_of
from halosearch.families.halonet.variant import Variant
from tests.families.test_attention import HEADS, D, E, make, per_pixel, relative_error

SMALL = "s=64,b=4,h=2,rv=1.5,rb=0.5,depths=1-2-1-2,w=16,heads=1-2-2-4"
ALONE = [
    *("mask=5", "mask=1", "down=pooled", "pos=absolute", "pos=none", "act=relu", "se=yes"),
    *("b=1,h=2,mask=5", "b=map,mask=3", "b=map,pos=none", "conv=2,se=yes,act=relu", "rqk=0.5", "w=32", "df=64"),
]
MASKED = [  # height, width, block, halo, stride, mask
    (5, 7, 4, 1, 1, 3),
    (5, 7, 4, 1, 2, 3),
    (9, 9, 4, 1, 2, 1),
    (9, 5, 3, 2, 2, 5),
    (9, 5, 3, 2, 1, 3),
    (8, 8, 8, 3, 2, 5),
    (6, 6, 8, 3, 1, 7),
    (16, 16, 5, 2, 2, 5),
    (19, 19, 10, 3, 1, 7),
    (12, 12, 1, 1, 1, 3),
    (12, 12, 1, 2, 2, 5),
    (7, 7, 7, 0, 1, 3),
    (8, 8, 4, 0, 1, 1),
    (1, 1, 4, 2, 1, 3),
]
BACKENDS = ["reference", "sdpa", "tiled"]
variants = st.builds(
    Variant,
    mask=st.sampled_from([None, 1, 3, 5]),
    downsampling=st.sampled_from(["strided", "pooled"]),
    positions=st.sampled_from(["relative", "absolute", "none"]),
    activation=st.sampled_from(["silu", "relu"]),
    squeeze_excite=st.booleans(),
)


def config_of(text):
    """`SMALL` with some of its dials replaced."""
    dials = dict(part.split("=") for part in SMALL.split(",")) | dict(
        part.split("=") for part in text.split(",") if part
    )
    if dials.get("w") == "32":
        dials["heads"] = "2-2-4-4"
    return parse_candidate(",".join(f"{key}={value}" for key, value in dials.items()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", MASKED)
def test_masked_outputs_and_gradients_equal_those_of_single_pixels(geometry, backend):
    *cut, mask = geometry
    inputs = make(*cut)
    ours = masked_attention(Inputs(*inputs), Shape(HEADS, *cut[2:]), mask, backend)
    oracle = per_pixel(*inputs, *cut[2:], mask // 2)
    assert relative_error(ours, oracle) < 1e-12
    weight = torch.randn(oracle.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grads = [torch.autograd.grad((o * weight).sum(), inputs, allow_unused=True) for o in (ours, oracle)]
    for a, b in zip(*grads, strict=True):
        if b is not None and b.norm() > 0:
            assert relative_error(a, b) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("k", "block"), [(3, 1), (3, 4), (5, 3), (7, 8), (7, 20)])
def test_sasa_is_the_special_case_whatever_the_block(k, block, backend):
    """SASA (arXiv:1906.05909) by unfolding every pixel's own k x k window, in which what lies outside the map does not count."""
    side, halo = 12, k // 2
    q, key, v, height, width = make(side, side, block, halo, 1)
    ours = masked_attention(Inputs(q, key, v, height, width), Shape(HEADS, block, halo), k, backend)

    def unfolded(t):
        patches = F.unfold(t.permute(0, 3, 1, 2), k, padding=halo)  # (N, C k k, pixels)
        return patches.unflatten(1, (HEADS, -1, k * k)).permute(0, 4, 1, 3, 2)  # N, pixels, heads, window, channels

    keys, values = unfolded(key), unfolded(v)
    inside = F.unfold(torch.ones(1, 1, side, side, dtype=q.dtype), k, padding=halo)[0].T > 0
    offset = torch.arange(-halo, halo + 1) + halo + block + 2 * halo - 1
    tables = (height[offset][:, None] + width[offset][None]).flatten(0, 1)
    queries = q.flatten(1, 2).unflatten(-1, (HEADS, D))
    scores = torch.einsum("nphd,nphkd->nphk", queries, keys) * D**-0.5 + torch.einsum("nphd,kd->nphk", queries, tables)
    weights = scores.masked_fill(~inside[:, None], float("-inf")).softmax(-1)
    sasa = torch.einsum("nphk,nphke->nphe", weights, values).reshape(2, side, side, HEADS * E)
    assert relative_error(ours, sasa) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", ["sdpa", "tiled"])
def test_what_lies_outside_a_mask_is_never_seen_in_any_dtype(backend, dtype):
    inputs = [t.detach().to(dtype) for t in make(9, 9, 4, 2, 1)]
    far = inputs[1].clone()
    far[:, 5:] = 50.0
    base, changed = (
        masked_attention(Inputs(inputs[0], k, *inputs[2:]), Shape(HEADS, 4, 2), 3, backend) for k in (inputs[1], far)
    )
    assert torch.equal(base[:, :4], changed[:, :4])
    assert not torch.equal(base[:, 4:], changed[:, 4:])


@pytest.mark.parametrize("side", [8, 9])
def test_pooled_is_attention_everywhere_and_then_the_mean_of_two_by_two(side):
    config = replace(config_of("down=pooled"), image_size=8 * side)  # stage 2 reads side s/4 = 2 side
    torch.manual_seed(0)
    pooled = HaloAttention(config, 1, 2, "reference").double()
    everywhere = HaloAttention(config, 1, 1, "reference").double()
    everywhere.load_state_dict(pooled.state_dict())
    x = torch.randn(1, 32, side, side, dtype=torch.float64)
    whole, found = everywhere(x).detach().numpy(), pooled(x).detach().numpy()
    half = -(-side // 2)
    assert found.shape[2:] == (half, half)
    for row in range(half):
        for column in range(half):
            mean = whole[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((2, 3))
            np.testing.assert_allclose(found[:, :, row, column], mean, atol=1e-12)


def test_absolute_positions_are_added_to_what_a_layer_reads():
    torch.manual_seed(0)
    absolute = HaloAttention(config_of("pos=absolute"), 0, 1, "reference").double()
    none = HaloAttention(config_of("pos=none"), 0, 1, "reference").double()
    none.load_state_dict({name: value for name, value in absolute.state_dict().items() if name in none.state_dict()})
    x = torch.randn(2, 16, 16, 16, dtype=torch.float64)
    rows, columns = absolute.rel_row.T[:, :, None], absolute.rel_column.T[:, None, :]
    assert relative_error(absolute(x), none(x + rows + columns)) < 1e-12
    assert relative_error(absolute(x), none(x)) > 1e-3
    rolled = torch.roll(
        none(x), (4, 4), (2, 3)
    )  # without positions a shift by whole blocks changes nothing, but at the border
    assert relative_error(none(torch.roll(x, (4, 4), (2, 3)))[:, :, 8:12, 8:12], rolled[:, :, 8:12, 8:12]) < 1e-12


def counted_by_torch(config, classes):
    with torch.device("meta"):
        network = HaloNet(config, classes, backend="reference").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, config.image_size, config.image_size, device="meta"))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize("text", ALONE)
def test_every_variant_alone_is_counted_as_it_is_built(text):
    config = config_of(text)
    cost = count(config, 7)
    assert (cost.params, cost.macs) == counted_by_torch(config, 7)
    if not text.startswith(("rqk", "w=", "df")):
        assert config.canonical() != config_of("").canonical()


@pytest.mark.parametrize("text", ["mask=5,se=yes,act=relu", "down=pooled,pos=absolute", "pos=none,conv=1"])
def test_variants_agree_with_fvcore_in_every_row(text):
    rows = audit(config_of(text), 7)
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


def random_config(rng, variant):
    dials = {
        "s": rng.choice([48, 64, 65, 80]), "b": rng.choice([1, 3, 4, 8, 100]), "h": rng.choice([2, 3]), "rb": rng.choice([0.5, 1, 2]),
        "rv": rng.choice([1, 2]), "rqk": rng.choice([0.5, 1]), "w": rng.choice([8, 16]), "conv": rng.choice([0, 1, 3]),
        "df": rng.choice([0, 32]),
    }  # fmt: skip
    dials |= {"depths": "-".join(map(str, rng.integers(1, 3, 4))), "heads": "-".join(map(str, rng.choice([1, 2], 4)))}
    return replace(parse_candidate(",".join(f"{key}={value}" for key, value in dials.items())), variant=variant)


@pytest.mark.parametrize("n", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.long])])
def test_random_combinations_are_counted_as_they_are_built(n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        one = lambda *values: values[rng.integers(len(values))]  # noqa: E731
        variant = Variant(
            one(None, 1, 3, 5), one("strided", "pooled"), one("relative", "absolute", "none"), one("silu", "relu"), one(True, False)
        )  # fmt: skip
        config = random_config(rng, variant)
        cost = count(config, 5)
        assert (cost.params, cost.macs) == counted_by_torch(config, 5), candidate_text(config)


@pytest.mark.parametrize("text", [*ALONE, "mask=5,down=pooled,pos=absolute,act=relu,se=yes"])
def test_backends_give_one_network_and_its_twin_keeps_the_variant(text):
    config = config_of(text)
    twin = twin_of(config, 0.5)
    assert twin.variant == config.canonical().variant
    torch.manual_seed(0)
    first = HaloNet(twin, 5, backend="reference").double()
    for module in first.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # gains begin at 0, which would hide the branches
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for backend in ("sdpa", "tiled"):
        other = HaloNet(twin, 5, backend=backend).double()
        other.load_state_dict(first.state_dict())
        assert relative_error(other(x), first(x)) < 1e-9


@settings(max_examples=60, deadline=None)
@given(variants, st.sampled_from([(4, 2), (1, 2), (16, 0)]))
def test_variants_are_read_back_from_text_and_values(variant, cut):
    config = replace(config_of(""), block_size=cut[0], halo_size=cut[1], variant=variant)
    assert parse_candidate(candidate_text(config)) == config
    assert config_from_dict(config.to_dict()) == config
    assert config.canonical().canonical() == config.canonical()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mask=4", "odd numbers"),
        ("mask=7", "h=3"),
        ("down=max", "strided, pooled"),
        ("pos=rotary", "relative, absolute, none"),
        ("act=gelu", "silu, relu"),
        ("se=perhaps", "yes or no"),
    ],
)
def test_what_is_no_variant_is_answered_with_a_way_out(text, said):
    with pytest.raises(UsageError) as error:
        config_of(text)
    assert said in f"{error.value.sentence} {error.value.hint}"
