"""The example of docs/families.md, as it is printed there."""

import re
from pathlib import Path

import pytest

from halosearch.analysis.law_of_costs import law_of
from halosearch.cost.audit import audit
from halosearch.cost.candidate_pool import Limits
from halosearch.cost.pools import pool_twin_macs, pool_within
from halosearch.families import known

TEXT = re.search(r"```python\n(.*?)```", Path(__file__, "../../../docs/families.md").resolve().read_text(), re.DOTALL)


@pytest.fixture
def example():
    """The families as they are with the example's."""
    before = dict(known.FAMILIES)
    source, space = TEXT.group(1), {"__name__": "plain_example"}
    exec(compile(source, "docs/families.md", "exec"), space)
    yield source
    known.FAMILIES.clear()
    known.FAMILIES.update(before)


def test_it_is_short(example):
    assert len(example.splitlines()) < 100


@pytest.mark.parametrize("text", ["plain:w=16,d=1,s=48", "plain:w=24,d=3,s=50"])
def test_it_is_read_written_counted_and_built(example, text):
    config = known.parse_candidate(text)
    assert known.candidate_text(config) == text
    cost = known.count(config)
    assert cost.params == sum(p.numel() for p in known.build(config).parameters())
    assert all(row.agrees for row in audit(config))


def test_its_pool_is_what_brute_force_finds_and_rows_lead_back(example):
    search = known.search_of("plain")
    space = search.space(image_size=(48, 64), channels=(16, 24, 32, 48), convs=(1, 2, 3))
    rows = pool_within("plain", space, Limits(1_000_000, 0.3))
    wanted = {
        (s, w, d)
        for s in (48, 64)
        for w in (16, 24, 32, 48)
        for d in (1, 2, 3)
        if 700_000 <= known.count(known.parse_candidate(f"plain:w={w},d={d},s={s}")).params <= 1_300_000
    }
    assert wanted
    assert {(r["image_size"], r["channels"], r["convs"]) for r in rows.to_dict("records")} == wanted
    for row in rows.to_dict("records"):
        config = known.config_of_dials(row)
        assert known.family_of(config).name == "plain"
        assert known.count(config).params == row["params"]
    twins = [known.count(known.twin_of(known.config_of_dials(r), 0.5)).macs for r in rows.to_dict("records")]
    assert pool_twin_macs("plain", rows, 0.5).tolist() == twins


def test_no_family_s_dials_are_all_among_another_s(example):
    sets = {each.name: set(each.search.space.dials()) for each in known.FAMILIES.values() if each.search}
    assert not [(a, b) for a in sets for b in sets if a != b and sets[a] <= sets[b]]


def test_too_few_timed_members_make_no_law():
    assert law_of([({"macs": 1e9, "activations": 1e6}, 0.1)] * 7) is None
