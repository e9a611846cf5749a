from dataclasses import replace

import pytest

from halosearch.errors import UsageError
from halosearch.families.halonet.config import CONV, HaloNetConfig, config_from_dict, heads_by_width
from halosearch.families.halonet.published import FAMILY, NAMED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 16}, "image size 16"),
        ({"block_size": 0}, "block size 0"),
        ({"halo_size": -1}, "halo size -1"),
        ({"expansion_ratio": 0.3}, "expansion ratio 0.3"),
        ({"value_ratio": 1.01}, "value ratio 1.01"),
        ({"heads": (3, 8, 8, 8)}, "3 heads"),
        ({"stage_depths": (3, 3, 0, 3)}, "stage depths"),
        ({"stage_kinds": ("attention", "x", "conv", "conv")}, "stage kinds"),
        ({"final_width": 0}, "final width 0"),
        ({"base_width": 2}, "base width 2"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_offending_value(change, words):
    with pytest.raises(UsageError, match=words) as caught:
        replace(FAMILY["h1"], **change)
    assert caught.value.hint


def test_a_block_of_at_least_the_largest_map_is_one_candidate_global_attention():
    big = HaloNetConfig(64, 16, 3, 2.0, (3, 3, 4, 3))
    bigger = replace(big, block_size=40, halo_size=0)
    assert big.canonical() == bigger.canonical()
    assert big.canonical().block_size == 16
    assert big.canonical().halo_size == 0


def test_a_later_first_attention_stage_makes_a_smaller_block_global():
    config = HaloNetConfig(64, 8, 2, 2.0, (3, 3, 4, 3), stage_kinds=(CONV, CONV, "attention", "attention"))
    assert config.first_attention_side() == 8
    assert config.canonical().halo_size == 0


def test_canonical_form_is_its_own_canonical_form_and_keeps_the_published_models():
    for name, config in NAMED.items():
        assert config.canonical().canonical() == config.canonical()
        if name in FAMILY:
            assert config.canonical() == config


def test_a_final_layer_that_changes_no_width_is_left_out():
    config = HaloNetConfig(64, 4, 1, 2.0, (3, 3, 4, 3), final_width=1024)
    assert config.canonical().final_width is None


def test_plain_values_and_back():
    for config in NAMED.values():
        assert config_from_dict(config.to_dict()) == config


def test_heads_by_width_have_sixteen_channels():
    assert heads_by_width() == (4, 8, 16, 32)
    assert heads_by_width(128) == (8, 16, 32, 64)


def test_map_sides_round_up():
    assert FAMILY["h7"].stage_sides() == (150, 75, 38, 19)
    assert HaloNetConfig(48, 4, 1, 2.0, (3, 3, 4, 3)).stage_sides() == (12, 6, 3, 2)
