"""Experiments: files read and refused, arms written out, rows planned, changes kept for all to see."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from halosearch.analysis.expectations import parse_expectation
from halosearch.errors import UsageError
from halosearch.families.known import candidate_text, parse_candidate
from halosearch.record.evaluation import ARM, COMPLETE, STEP_TIMES
from halosearch.record.table import Table
from halosearch.run.experiments import Asked, experiment_of, note_expectations, resolve_experiment
from halosearch.search.experiment import ExperimentPlanner, rows_of
from halosearch.search.planner import DECIDED, FINISHED, WAIT
from halosearch.spec.experiment import with_fields

BASE = "s=64,b=8,h=2,rv=1,rb=2,l3=4"
PAPER = sorted(Path(__file__, "../../../studies/paper").resolve().rglob("*.yaml"))
FILE = {
    "question": "Which?",
    "base": BASE,
    "vary": {"b,h": [[4, 1], [8, 0]]},
    "arms": {"rival": "efficientnet-b0:s=64", "plain": {"recipe.label_smoothing": 0}},
    "seeds": 3,
    "expect": ["score(b=4,h=1) > score(b=8,h=0)", "step_time(rival) < step_time(plain)"],
}


def here(device):
    del device
    return "cpu"


def resolved(folder, values=FILE, name="which.yaml", **said):
    path = folder / name
    path.write_text(yaml.safe_dump(values))
    return resolve_experiment(Asked(str(path), folder, said), here)


@pytest.mark.parametrize("path", PAPER, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_experiment_of_the_paper_is_understood_and_says_where_it_is_from(path):
    spec, folders, exists = resolve_experiment(Asked(str(path)), here)
    assert spec.name == folders.study.name == f"{'paper-gpu' if path.parent.name == 'gpu' else 'paper'}-{path.stem}"
    assert re.match(r"arXiv:2103\.12731", spec.experiment.source)
    assert set(spec.experiment.published) <= {arm.name for arm in spec.experiment.arms}
    assert not exists or spec.experiment.arms


def test_there_are_experiments_of_the_paper():
    stems = [path.stem for path in PAPER]
    assert len(set(stems)) >= 9
    assert all(stems.count(stem) == 2 for stem in stems), "each has a form for a CPU and one for a GPU"


def test_an_arm_with_randaugment_is_of_pictures_and_is_refused_on_scenes(tmp_path):
    values = FILE | {"arms": {"rival": "efficientnet-b0:s=64", "plain": {"recipe.randaugment": 9}}}
    with pytest.raises(UsageError, match="asks for RandAugment on scenes"):
        resolved(tmp_path, values)
    (tmp_path / "photos").mkdir()
    spec, _, _ = resolved(tmp_path, values | {"data": str(tmp_path / "photos")})
    assert {arm.name: arm.recipe for arm in spec.experiment.arms}["plain"] == {"randaugment": 9}


def test_arms_are_the_base_with_what_they_say_and_nothing_else():
    arms = {arm.name: arm for arm in experiment_of(FILE).arms}
    assert list(arms) == ["b=4,h=1", "b=8,h=0", "rival", "plain"]
    assert parse_candidate(arms["b=4,h=1"].network) == replace(parse_candidate(BASE), block_size=4, halo_size=1)
    assert arms["rival"].network == "efficientnet-b0:s=64"
    assert (arms["plain"].network, arms["plain"].recipe) == (
        candidate_text(parse_candidate(BASE)),
        {"label_smoothing": 0},
    )


@pytest.mark.parametrize(
    ("base", "fields", "text"),
    [
        ("h0", {"s": 128}, "s=128,b=8,h=3,rv=1,rb=0.5,l3=7"),
        ("efficientnet-b0", {"s": 64}, "efficientnet-b0:s=64"),
        ("resnet-50:s=64", {"se": True, "act": "silu"}, "resnet-50:s=64,se=yes,act=silu"),
        (BASE, {"df": None, "pos": "none"}, f"{BASE},pos=none"),
        ("h4", {}, "s=384,b=12,h=2,rv=1,rb=3,l3=12,df=1280"),
    ],
)
def test_fields_replace_values_of_any_notation(base, fields, text):
    assert candidate_text(parse_candidate(with_fields(base, fields))) == text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"expect": ["score(b=4,h=2) > score(b=8,h=0)"]}, "there is not"),
        ({"expect": []}, "has no expect"),
        ({"question": ""}, "has no question"),
        ({"vary": {}, "arms": {}}, "no vary and no arms"),
        ({"vary": {"b": 4}}, "not a list"),
        ({"vary": {"b,h": [[4]]}}, "b,h has [4]"),
        ({"vary": {"window": [6]}}, "window"),
        ({"arms": {"x": 3}}, "neither fields nor a network"),
        ({"arms": {"x": "vgg16"}}, "vgg16"),
        ({"arms": {"b=4,h=1": {}}}, "there twice"),
        ({"arms": {"x": {"recipe.dropout": 0.1}}}, "recipe.dropout"),
        ({"arms": {"x": {"recipe.clip": "much"}}}, "recipe.clip"),
        ({"arms": {"x": {"recipe.batch": 16.5}}}, "whole numbers"),
        ({"arms": {"x": {"recipe.learning_rate": -1}}}, "recipe.learning_rate"),
        ({"arms": {"x": {"recipe": {"cooldown": 1}}}}, "recipe.cooldown"),
        ({"seeds": 1}, "seeds"),
        ({"sedes": 3}, "did you mean 'seeds'"),
        ({"preset": "cpu-9h"}, "unknown preset"),
        ({"images": "many"}, "images"),
        ({"base": None}, "None"),
        ({"preset": 5}, "preset cannot be 5"),
        ({"workers": "many"}, "workers cannot be"),
        ({"data": 5}, "data cannot be 5"),
        ({"published": {"nosuch": 80}}, "'nosuch' that there is not"),
        ({"expect": "|| < 0.02"}, "no difference"),
        ({"arms": {"x": {"recipe": 3}}}, "not a mapping"),
    ],
)
def test_what_a_file_says_wrongly_is_one_sentence_with_a_way_out(tmp_path, change, why):
    with pytest.raises(UsageError) as error:
        resolved(tmp_path, FILE | change)
    assert why in f"{error.value} {error.value.hint}"
    assert error.value.hint


@pytest.mark.parametrize("text", ["- a\n- b\n", "question: [", "question: a\nquestion: b\n", "arms: {x: {}, x: {}}\n"])
def test_what_is_no_mapping_or_says_a_key_twice_is_refused(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UsageError):
        resolve_experiment(Asked(str(path), tmp_path), here)


def test_rows_are_balanced_and_all_arms_of_a_seed_share_it():
    experiment = experiment_of(FILE)
    rows = rows_of(experiment, 5)
    trained = [row for row in rows if row.kind == ARM]
    assert [(row.trial, row.repeat) for row in trained] == [(arm, seed) for seed in (1, 2, 3) for arm in range(4)]
    assert len({row.seed for row in trained}) == 3
    assert all(len({row.seed for row in trained if row.repeat == r}) == 1 for r in (1, 2, 3))
    timed = [row for row in rows if row.kind == STEP_TIMES]
    assert [sorted(row.candidate["networks"]) for row in timed] == [["plain", "rival"]] * experiment.timing_rows


def test_nothing_is_trained_where_no_score_is_compared_and_nothing_timed_where_no_step_is():
    experiment = experiment_of(FILE)
    only = [
        {row.kind for row in rows_of(experiment.model_copy(update={"expect": (text,)}), 0)}
        for text in experiment.expect
    ]
    assert only == [{ARM}, {STEP_TIMES}]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_rows_are_planned_in_whatever_order_they_end(seed):
    experiment, rng = experiment_of(FILE), random.Random(seed)
    planner, rows, running = ExperimentPlanner(experiment, 5), [], []
    while True:
        plan = planner.plan(rows)
        if plan.status == FINISHED:
            break
        if plan.status == DECIDED and (not running or rng.random() < 0.6):
            rows.append(plan.row)
            running.append(plan.row.id)
        elif running:
            place = running.pop(rng.randrange(len(running)))
            rows[place] = replace(rows[place], state=COMPLETE, runs=1)
        else:
            assert plan.status != WAIT
    assert [replace(row, id=-1, state="running", runs=0) for row in rows] == rows_of(experiment, 5)


def test_arms_that_are_compared_later_are_timed_together_with_the_others():
    """Expectations may change: step times that do not cover all arms that are compared now are measured anew."""
    one = experiment_of(FILE | {"expect": ["step_time(rival) < step_time(plain)"]})
    rows = [replace(row, id=n, state=COMPLETE, runs=1) for n, row in enumerate(rows_of(one, 5))]
    assert ExperimentPlanner(one, 5).plan(rows).status == FINISHED
    more = experiment_of(FILE | {"expect": ["step_time(rival) < step_time(b=4,h=1)"]})
    planner = ExperimentPlanner(more, 5)
    while (plan := planner.plan(rows)).status == DECIDED:
        rows.append(replace(plan.row, state=COMPLETE, runs=1))
    assert [row.repeat for row in rows] == [1, 2, 3, 4]
    assert all({"rival", "b=4,h=1"} <= set(row.candidate["networks"]) for row in rows[2:])


def test_more_seeds_go_on_where_fewer_ended():
    few, many = (experiment_of(FILE | {"seeds": seeds}) for seeds in (3, 5))
    rows = [replace(row, id=n, state=COMPLETE, runs=1) for n, row in enumerate(rows_of(few, 5))]
    following = ExperimentPlanner(many, 5).plan(rows)
    assert (following.row.repeat, following.row.trial, following.row.id) == (4, 0, len(rows))


def test_what_was_expected_first_stays_in_the_record_and_a_change_after_a_result_beside_it(tmp_path):
    table, said = Table(tmp_path / "trials.journal", create=True), []
    first, other = experiment_of(FILE), experiment_of(FILE | {"expect": ["score(b=4,h=1) < score(b=8,h=0)"]})
    note_expectations(table, first, said.append)
    note_expectations(table, other, said.append)  # before any result: no more than a correction
    assert table.facts()["experiment"] == {
        "hash": other.hash(), "expect": list(other.expect), "seeds": 3, "arms": 4, "changes": []
    }  # fmt: skip
    row = replace(rows_of(other, 5)[0], id=0)
    table.append(row, {})
    table.end(replace(row, state=COMPLETE, runs=1, result={"score": 0.1}))
    note_expectations(table, first, said.append)
    fact = table.facts()["experiment"]
    assert fact["expect"] == list(first.expect)
    assert [change["before"]["expect"] for change in fact["changes"]] == [list(other.expect)]
    assert [change["after_results"] for change in fact["changes"]] == [1]
    assert said == ["the experiment was changed after 1 results; the page will say so"]
    note_expectations(table, first, said.append)
    assert table.facts()["experiment"] == fact


def test_the_ten_lines_of_the_docs_are_ten_and_are_understood(tmp_path):
    text = Path(__file__, "../../../docs/experiments.md").resolve().read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    assert len(example.splitlines()) <= 10
    spec, _, _ = resolved(tmp_path, yaml.safe_load(example))
    assert all(parse_expectation(line, [arm.name for arm in spec.experiment.arms]) for line in spec.experiment.expect)
