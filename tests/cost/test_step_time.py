"""The prediction on networks whose times follow a law that is known, and parts that are timed for real."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from halosearch.cost.candidate_pool import Limits, candidate_pool
from halosearch.cost.part_times import measure_parts
from halosearch.cost.parts import parts_of
from halosearch.cost.roofline import Setting
from halosearch.cost.step_time import TERMS, TimedModel, TimedPart, fit, kind_of, part_terms, predict_rows
from halosearch.cost.timing import TimingPlan
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.notation import parse_candidate
from halosearch.families.halonet.published import FAMILY
from halosearch.families.halonet.space import HaloNetSpace, config_from_dials

SETTING = Setting(4, True, 4)
LAW = dict(zip(TERMS, (1e-9, 3e-8, 1.2e-9, 2e-9, 4e-8, 2e-9, 5e-8, 0, 8e-7, 2e-8, 1e-8, 6e-9, 4e-3), strict=True))


@functools.cache
def whole_cell():
    return candidate_pool(HaloNetSpace(image_size=(48, 64, 96, 128)), Limits(10_000_000, 0.01))


def random_candidates(n, seed):
    rows = whole_cell().sample(n, random_state=seed).reset_index(drop=True)
    return rows, [config_from_dials(row) for row in rows.to_dict("records")]


def timed_by_law(configs, noise, rng, factor=1.3):
    """Models of a device that takes LAW seconds, with relative noise."""
    models = []
    for config in configs:
        dials, total, parts = dials_of(config), 0.0, []
        places = parts_of(config)
        for name, (repeat, terms) in part_terms(dials, SETTING).items():
            share = float(terms @ np.array(list(LAW.values())))
            total += float(repeat) * share
            if name in places:
                seen = share * np.exp(noise * rng.standard_normal())
                parts.append(TimedPart(kind_of(dials, name), places[name].key, tuple(terms.tolist()), seen))
        models.append(TimedModel(dials, factor * total * np.exp(noise * rng.standard_normal()), tuple(parts)))
    return models


def test_a_law_of_the_terms_is_found_exactly_from_exact_times():
    rng = np.random.default_rng(0)
    _, known = random_candidates(30, 1)
    rows, unseen = random_candidates(20, 2)
    model = fit(timed_by_law(known, 0.0, rng), SETTING)
    truth = timed_by_law(unseen, 0.0, rng)
    predicted = predict_rows(model, rows)
    errors = np.abs(predicted["ratio"].to_numpy() / [each.ratio for each in truth] - 1)
    assert np.median(errors) < 1e-6
    assert errors.max() < 0.05  # parts outside what was seen, such as a head without its final convolution
    assert model.factor == pytest.approx(1.3)
    one = model.predict(dials_of(unseen[3]))
    assert one.ratio[0] == pytest.approx(predicted["ratio"][3])


@pytest.mark.slow
def test_intervals_hold_about_as_often_as_they_say():
    hits = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = fit(timed_by_law(random_candidates(24, 100 + seed)[1], 0.05, rng), SETTING)
        truth = timed_by_law(random_candidates(20, 200 + seed)[1], 0.05, rng)
        for each in truth:
            predicted = model.predict(each.dials)
            hits.append(float(predicted.low[0]) <= each.ratio <= float(predicted.high[0]))
            assert abs(float(predicted.ratio[0]) / each.ratio - 1) < 0.3
    assert np.mean(hits) > 0.9


def test_too_little_is_no_prediction():
    rng = np.random.default_rng(0)
    assert fit(timed_by_law(random_candidates(3, 1)[1], 0.0, rng), SETTING) is None
    assert fit([], SETTING) is None


def test_a_kind_of_part_that_was_never_timed_is_no_number_and_one_far_larger_is_marked():
    rng = np.random.default_rng(0)
    known = [config for config in random_candidates(60, 1)[1] if "conv" not in config.stage_kinds]
    model = fit(timed_by_law(known, 0.0, rng), SETTING)
    conv = model.predict(dials_of(parse_candidate("s=64,b=4,h=1,rb=1,l3=2,df=512,conv=2")))
    assert np.isnan(conv.ratio[0])
    within, beyond = (model.predict(dials_of(each)).extrapolated[0] for each in (known[0], FAMILY["h7"]))
    assert not within
    assert beyond


def test_a_part_that_was_timed_is_taken_from_the_table_not_from_the_regression():
    rng = np.random.default_rng(0)
    configs = random_candidates(30, 1)[1]
    models = timed_by_law(configs, 0.0, rng)
    slow = {part.key for part in models[0].parts}
    models = [
        replace(m, parts=tuple(replace(p, share=p.share * (3 if p.key in slow else 1)) for p in m.parts))
        for m in models
    ]
    model = fit(models, SETTING)
    keys = {name: part.key for name, part in parts_of(configs[0]).items()}
    from_table = float(model.predict(models[0].dials, keys).ratio[0]) / model.factor
    repeats = part_terms(models[0].dials, SETTING)
    shares = dict(zip(keys, (part.share for part in models[0].parts), strict=True))
    assert from_table == pytest.approx(sum(float(repeats[name][0]) * share for name, share in shares.items()))


def test_the_parts_of_a_network_are_its_blocks_by_place_and_equal_parts_share_a_key():
    parts = parts_of(parse_candidate("s=64,b=4,h=1,rb=1,l3=2,df=512"))
    assert list(parts) == ["stem", *(f"stages.{i}.{w}" for i, w in itertools.product(range(4), ("0", "rest"))), "head"]
    assert set(parts) == set(part_terms(dials_of(parse_candidate("s=64,b=4,h=1,rb=1,l3=2,df=512")), SETTING))
    again = parts_of(parse_candidate("s=64,b=4,h=1,rb=1,l3=9,df=512"))
    assert {name: part.key for name, part in parts.items()} == {name: part.key for name, part in again.items()}
    other = parts_of(parse_candidate("s=64,b=4,h=2,rb=1,l3=2,df=512"))
    assert [name for name in parts if parts[name].key == other[name].key] == ["stem", "head"]
    single = parse_candidate("s=64,b=4,h=1,rb=1,l3=1")
    assert "stages.2.rest" not in parts_of(single)


def test_a_part_of_four_times_the_positions_takes_longer_beside_the_same_yardstick():
    plan = TimingPlan(2, 3, anchor_size=32)
    small, large = (
        [part.share for part in measure_parts(parse_candidate(text), plan, torch.device("cpu"))]
        for text in ("s=32,b=4,h=1,rb=0.5,l3=1,conv=4", "s=160,b=4,h=1,rb=0.5,l3=1,conv=4")
    )
    assert large[0] > 3 * small[0] > 0  # the stem, 25 times the positions
    assert sum(large) > 1.5 * sum(small)
