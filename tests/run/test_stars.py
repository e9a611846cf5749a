"""Stars: which arms they have, what their page says, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from halosearch.errors import UsageError
from halosearch.families.known import parse_candidate
from halosearch.record.evaluation import COMPLETE
from halosearch.report.ladder_page import write_ladder
from halosearch.report.star_summary import star_summary
from halosearch.run.stars import StarRequest, new_star
from halosearch.search.experiment import rows_of
from halosearch.spec.star import values_of
from tests.cli.process import error_of, here

CENTRE = "s=48,b=4,h=1,rv=1,rb=2,l3=2"


def star(tmp_path, vary=("l3=1,2,4,8", "rb=0.5,1,2,4"), images=(512, 1024, 2048), centre=CENTRE):
    return new_star(StarRequest("st", tmp_path, centre, vary, images, 3), lambda device: "cpu")


def ended(spec, loss):
    """All rows with the loss that a function of (arm's place, images, seed) gives."""
    rows = []
    for n, row in enumerate(rows_of(spec.experiment, spec.seed)):
        scores = [{"score": 1 - loss(row.trial, each, row.repeat), "images_seen": each} for each in spec.preset.rungs]
        rows.append(replace(row, id=n, state=COMPLETE, runs=1, result={"score": scores[-1]["score"], "scores": scores}))
    return rows


def test_the_centre_is_trained_once_and_belongs_to_every_dial(tmp_path):
    spec, _ = star(tmp_path)
    arms = spec.experiment.arms
    assert [arm.name for arm in arms] == ["centre", "l3=1", "l3=4", "l3=8", "rb=0.5", "rb=1", "rb=4"]
    assert len({arm.network for arm in arms}) == 7
    assert values_of(spec.experiment, "l3") == {0: 2.0, 1: 1.0, 2: 4.0, 3: 8.0}
    assert values_of(spec.experiment, "rb") == {0: 2.0, 4: 0.5, 5: 1.0, 6: 4.0}
    for place, value in values_of(spec.experiment, "l3").items():
        assert parse_candidate(arms[place].network).stage3_depth == value


def test_what_moves_with_compute_is_said_with_its_exponent_and_what_does_not_is_not(tmp_path):
    """Losses made by a law over l3 whose best value grows as compute^0.3, and by noise alone over rb."""
    spec, folders = star(tmp_path, vary=("l3=1,2,4,8,16", "rb=0.5,1,2,4"), images=(256, 1024, 4096, 16384))
    rows = rows_of(spec.experiment, spec.seed)
    macs = {row.trial: row.costs["macs"] for row in rows}
    depth, noise = values_of(spec.experiment, "l3"), np.random.default_rng(0).normal(size=(20, 8, 5))

    def loss(place, images, seed):
        x, t = depth.get(place, 2.0), macs[place] * images / (macs[0] * 256)
        made = 0.3 * x**-0.6 + (0.05 * x**0.6 + 0.1) * t**-0.36 + 0.3
        return made * np.exp(0.002 * noise[place, seed, spec.preset.rungs.index(images)])

    found = {dial["field"]: dial for dial in star_summary(spec.experiment, ended(spec, loss))}
    law = found["l3"]["law"]
    assert law["low"] < 0.3 < law["high"]
    assert law["missed"] < law["missed_still"]
    assert "grows as compute^" in found["l3"]["answer"]
    assert "is not held by these losses" in found["rb"]["answer"]
    summary = write_ladder(spec, folders, ended(spec, loss), {})
    page = (folders.report / "index.html").read_text()
    assert summary["answer"][1] == found["l3"]["answer"]
    assert page.count("<img") == 2
    assert json.loads((folders.report / "star.json").read_text())["dials"][0]["law"]["slope"] == law["slope"]


def test_a_star_without_trainings_says_so(tmp_path):
    spec, folders = star(tmp_path)
    summary = write_ladder(spec, folders, [], {})
    assert "no law yet" in summary["answer"][1]
    assert (folders.report / "index.html").exists()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"vary": ("l3=1,2,4",)}, "4 values"),
        ({"vary": ("h=0,1,2,3",)}, "'0' is no positive number"),
        ({"vary": ("heads=a,b,c,d",)}, "'a' is no positive number"),
        ({"vary": ("l3",)}, "--vary cannot be"),
        ({"vary": ("l3=1,2,4,8", "l3=1,2,4,8")}, "--vary cannot be"),
        ({"vary": ()}, "something to vary"),
        ({"images": (512, 1024)}, "3 lengths"),
        ({"vary": ("nonsense=1,2,3,4",)}, "nonsense"),
    ],
)
def test_what_is_no_star_is_refused(tmp_path, values, why):
    with pytest.raises(UsageError, match=why):
        star(tmp_path, **values)
    assert not (tmp_path / "studies").exists()


def test_a_table_s_dial_is_fitted_by_the_command_and_what_cannot_be_is_one_sentence(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    x, t = (np.repeat(axis.ravel(), 2) for axis in np.meshgrid([1.0, 2, 4, 8, 16], [1.0, 4, 16, 64]))
    loss = (0.3 * x**-0.6 + (0.02 * x**0.5 + 0.1) * t**-0.33 + 0.4) * np.exp(0.002 * rng.normal(size=len(x)))
    lines = [f"{a},{b},{c}" for a, b, c in zip(x, t, loss, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["depth,compute,loss", *lines]))
    found = json.loads(here("fit", "t.csv", "--dial", "depth", "--json", cwd=tmp_path, monkeypatch=monkeypatch).stdout)
    assert found["low"] < 0.3 < found["high"]
    said = here("fit", "t.csv", "--dial", "depth", cwd=tmp_path, monkeypatch=monkeypatch).stdout
    assert "grows as compute^" in said
    for words, why in (
        (["t.csv", "--dial", "width"], "no column width"),
        (["none", "--dial", "depth"], "one CSV file"),
        (["t.csv", "--dial", "depth", "--params", "4M"], "--params is of the law of size"),
    ):
        assert why in error_of(here("fit", *words, cwd=tmp_path, monkeypatch=monkeypatch))
