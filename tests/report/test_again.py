"""What a page offers to run the same study again does ask the same question."""

import shlex

import pytest
import yaml

from halosearch.cli import main
from halosearch.record.folders import folders_of
from halosearch.report.evidence import command_of, evidence_of
from halosearch.report.page import study_yaml
from halosearch.report.summary import summarise
from halosearch.run.begin import request, resolve

SAME = (
    "budget",
    "seed",
    "sampler",
    "rivals",
    "trials",
    "retests",
    "max_in_flight",
    "device",
    "data",
    "preset",
    "space",
    "space_hash",
)


def spec_of(**asked):
    return resolve(request(**asked), lambda _: "cpu")[0]


@pytest.mark.parametrize(
    "request_",
    [
        {"budget_params": 20_000_000},
        {
            "budget_params": 8_000_000,
            "tolerance": 0.02,
            "budget_macs": 3 * 10**9,
            "seed": 5,
            "sampler": "nsga2",
            "max_trials": 31,
        },
        {"budget_params": 20_000_000, "preset": "cpu-1h", "retests": 16, "max_in_flight": 6},
        {"budget_params": 8_000_000, "rivals": "none"},
        {"budget_params": 8_000_000, "rivals": "resnet-50:se=yes efficientnet-b0:s=64"},
    ],
)
def test_the_copied_command_asks_the_same_question(request_, monkeypatch, tmp_path):
    spec = spec_of(name="x", root=tmp_path, **request_)
    words = shlex.split(command_of(spec))
    taken = []
    monkeypatch.setattr(main, "run_or_forecast", taken.append)
    with pytest.raises(SystemExit):
        main.main([*words[1:], "--dir", str(tmp_path)])
    again = resolve(taken[0].request(), lambda _: "cpu")[0]
    assert again.name == "x-again"
    assert {key: getattr(again, key) for key in SAME} == {key: getattr(spec, key) for key in SAME}


def test_the_study_file_asks_the_same_question_and_a_written_space_needs_it(tmp_path):
    (tmp_path / "my.yaml").write_text(
        "{budget: {params: 8000000}, space: {h: [1, 2]}, preset: {name: cpu-1h, rungs: [4096]}}"
    )
    spec = spec_of(study=str(tmp_path / "my.yaml"), root=tmp_path)
    assert command_of(spec) == "halosearch study study.yaml"
    folders = folders_of(tmp_path, spec.name)
    folders.study.mkdir(parents=True)
    summary = summarise(evidence_of(spec, folders, [], 10))
    (tmp_path / "study.yaml").write_text(study_yaml(summary))
    assert yaml.safe_load(study_yaml(summary))["name"] == "my-again"
    again = spec_of(study=str(tmp_path / "study.yaml"), root=tmp_path)
    assert {key: getattr(again, key) for key in SAME} == {key: getattr(spec, key) for key in SAME}
