import pytest
from hypothesis import given
from hypothesis import strategies as st

from halosearch.errors import UsageError
from halosearch.families.halonet.notation import candidate_text, parse_candidate
from halosearch.families.halonet.published import NAMED
from halosearch.families.halonet.space import DIALS, HaloNetSpace, config_from_dials, dials_from_config


@pytest.mark.parametrize("name", NAMED)
def test_a_named_model_and_its_dials_are_the_same_candidate(name):
    assert parse_candidate(candidate_text(NAMED[name])) == NAMED[name]
    assert parse_candidate(name.upper()) == NAMED[name]


def test_the_dials_of_h4_as_a_user_types_them():
    assert parse_candidate("s=384,b=12,h=2,rv=1,rb=3,l3=12,df=1280") == NAMED["h4"]


SPACE = HaloNetSpace()


@given(
    st.fixed_dictionaries({name: st.sampled_from([v for v in getattr(SPACE, name) if v != "map"]) for name in DIALS})
)
def test_any_row_of_the_space_survives_text_and_dials(dials):
    config = config_from_dials(dials)
    assert parse_candidate(candidate_text(config)) == config
    again = dials_from_config(config)
    assert again is not None
    assert config_from_dials(again) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h9", "no candidate called"),
        ("s=64", "'b' is missing"),
        ("s=64,b=8,h=1,rb=1,l3=x", "l3 does not take 'x'"),
        ("s=64,b=8,h=1,rb=1,l3=2,q=1", "unknown dial 'q'"),
        ("s=64,b=8,h=1,rb=1,l3=", "has no value"),
        ("s=64,s=64,b=8,h=1,rb=1,l3=2", "given twice|same"),
        ("s=64,b=8,h=1,rb=nan,l3=2", "rb does not take"),
        ("s=64,b=8,h=1,rb=1,l3=2,conv=9", "conv does not take"),
        ("s=64,b=8,h=1,rb=1,l3=2,s=96", "given twice"),
        ("s=64,b=8,h=1,rb=1,l3=2,heads=1-2", "heads does not take"),
        ("s=64,b=8,h=1,rb=1,l3=1e9", "l3 does not take"),
        ("s=64,b=8,h=1,rb=1,l3=2,kinds=abcd", "kinds does not take"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_a_hint(text, words):
    if "twice" in words and "s=96" not in text:
        text = "s=64,image_size=64,b=8,h=1,rb=1,l3=2"
        words = "given twice"
    with pytest.raises(UsageError, match=words) as caught:
        parse_candidate(text)
    assert caught.value.hint


def test_b_map_is_global_attention():
    config = parse_candidate("s=64,b=map,h=3,rb=2,l3=4")
    assert (config.canonical().block_size, config.canonical().halo_size) == (16, 0)


def test_overrides_are_checked_and_short_names_known():
    space = HaloNetSpace().with_overrides({"s": [64], "df": ["none", 512], "heads": "width"})
    assert space.image_size == (64,)
    assert space.final_width == (0, 512)
    assert space.hash() != HaloNetSpace().hash()
    for bad in (
        {"sz": [64]},
        {"s": []},
        {"s": [64.5]},
        {"rv": [0]},
        {"heads": ["three"]},
        {"conv": [7]},
        {"h": [-1]},
        {"b": ["whole"]},
    ):
        with pytest.raises(UsageError):
            HaloNetSpace().with_overrides(bad)


def test_the_default_space_holds_the_published_family_exactly():
    for name in (f"h{i}" for i in range(8)):
        dials = dials_from_config(NAMED[name])
        assert dials is not None
        assert all(dials[dial] in getattr(SPACE, dial) for dial in DIALS), name
