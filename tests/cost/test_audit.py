import pytest

from halosearch.cost.audit import _traced_macs, audit
from halosearch.families.halonet.network import HaloNet
from halosearch.families.halonet.notation import parse_candidate
from halosearch.families.halonet.published import NAMED
from tests.cost.test_counts import random_configs

SMALL = [
    "s=64,b=8,h=3,rv=1.5,rb=0.75,l3=4",
    "s=48,b=5,h=1,rb=1,l3=2,conv=2,df=512",
    "s=80,b=map,h=0,rb=2,l3=3,heads=width",
    "s=64,b=4,h=0,rb=2,l3=1,conv=4",
]


@pytest.mark.parametrize("text", SMALL)
@pytest.mark.filterwarnings("ignore")
def test_closed_form_and_fvcore_agree_in_every_row(text):
    rows = audit(parse_candidate(text))
    assert len(rows) > 12
    assert [row for row in rows if not row.agrees] == []
    assert {row.part for row in rows if row.quantity == "macs"} >= {"conv", "linear", "total"}


@pytest.mark.filterwarnings("ignore")
def test_an_operator_that_is_not_counted_is_an_error_and_no_silent_zero():
    network = HaloNet(parse_candidate(SMALL[0]), backend="sdpa").eval()
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention"):
        _traced_macs(network, network.config.image_size)


IN_CI = ("h0", "h4", "h7-c2")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n if n in IN_CI else pytest.param(n, marks=pytest.mark.long) for n in NAMED])
def test_the_published_family_agrees_with_fvcore(name):
    assert all(row.agrees for row in audit(NAMED[name]))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_two_dozen_random_candidates_agree_with_fvcore():
    for config in random_configs(24, 5, sizes=[48, 64]):
        assert all(row.agrees for row in audit(config)), config
