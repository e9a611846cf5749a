"""One model of the options: study.yaml, the command line and the presets are the fields of one class."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from halosearch.cli import main
from halosearch.cli.signature import study_parameters
from halosearch.errors import UsageError
from halosearch.run.begin import Request, resolve
from halosearch.spec.flags import Flag, merged, nested, options_of
from halosearch.spec.presets import PRESETS
from halosearch.spec.quantities import parse_count
from halosearch.spec.study import StudySpec

OPTIONS = list(options_of(StudySpec))


@pytest.fixture
def typed(monkeypatch, capsys):
    """What the `study` command makes of words, and what it said."""
    taken = []
    monkeypatch.setattr(main, "run_or_forecast", taken.append)

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main.main(["study", *words])
        assert end.value.code == 0
        return taken.pop().request().said, capsys.readouterr().err

    return run


def test_every_flag_is_an_option_of_the_command_and_no_other_word_is():
    shown = CliRunner().invoke(main.app, ["study", "--help"], env={"COLUMNS": "200"}).output
    for option in OPTIONS:
        assert f"{option.flag.name} " in shown
        assert not option.flag.old or option.flag.old not in shown
    assert len({option.key for option in OPTIONS}) == len(OPTIONS)
    assert {each.name for each in study_parameters()} >= {option.key for option in OPTIONS}


WORDS = {
    "rivals": ("efficientnet-b0; resnet-50", ("rivals",), ("efficientnet-b0", "resnet-50")),
    "budget_params": ("20M", ("budget", "params"), 20_000_000),
    "budget_macs": ("4G", ("budget", "max_macs"), 4 * 10**9),
    "tolerance": ("2%", ("budget", "tolerance"), 0.02),
    "max_time": ("2h", ("max_time_s",), 7200.0),
    "max_trials": ("7", ("trials",), 7),
    "max_trial_time": ("90s", ("max_trial_time_s",), 90.0),
    "max_trial_memory": ("8GiB", ("max_trial_memory",), 2**33),
    "preset": ("cpu-1h", ("preset", "name"), "cpu-1h"),
    "storage": ("sqlite:////x.db", ("storage",), "sqlite:////x.db"),
    "max_gpu_hours": ("1.5", ("max_gpu_hours",), 1.5),
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_what_is_typed_lands_in_its_field(typed, option):
    word, path, value = WORDS.get(option.key, ("3" if option.type is int else "x", option.path, None))
    said, heard = typed(option.flag.name, word)
    for name in path:
        assert list(said) == [name]
        said = said[name]
    assert said == (value if value is not None else option.type(word))
    assert heard == ""


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.flag.old], ids=lambda option: option.key)
def test_a_deprecated_flag_means_the_same_and_is_said_once(typed, option):
    word = "3" if option.type is int else "cpu-1h"
    said, heard = typed(option.flag.old, word)
    assert said == typed(option.flag.name, word)[0]
    assert heard.count(option.flag.old) == 1
    assert option.flag.name in heard


def test_train_knows_the_old_name_of_its_preset_and_says_it_once(monkeypatch, capsys):
    wanted = []

    def asked(each, say):
        wanted.append(each.preset)
        raise UsageError("asked", "enough")

    monkeypatch.setattr("halosearch.run.train_once.train_once", asked)
    for flags, code in ((["--tier", "cpu-2m"], 2), (["--preset", "cpu-2m"], 2), (["--tier", "x", "--preset", "y"], 2)):
        with pytest.raises(SystemExit) as end:
            main.main(["train", "h0", *flags])
        assert end.value.code == code
        heard = capsys.readouterr().err
        assert heard.count("--tier is now called --preset") == (flags[0] == "--tier" and len(flags) == 2)
    assert wanted == ["cpu-2m", "cpu-2m"]
    assert "old and its new name" in heard
    assert "--tier" not in CliRunner().invoke(main.app, ["train", "--help"], env={"COLUMNS": "200"}).output


def test_deprecated_keys_of_a_study_file_mean_the_same_and_are_said_once(tmp_path):
    told = []
    (tmp_path / "old.yaml").write_text("budget: 8M\ntier: {name: cpu-1h, rungs: [4096]}\nlookahead: 6\nworkers: 2\n")
    (tmp_path / "new.yaml").write_text(
        "budget: 8M\npreset: {name: cpu-1h, rungs: [4096]}\nmax_in_flight: 6\nworkers: 2\n"
    )
    specs = []
    for name in ("old", "new"):
        spec, _, _ = resolve(
            Request(str(tmp_path / f"{name}.yaml"), tmp_path, {"name": "x"}, told.append), lambda _: "cpu"
        )
        specs.append(spec)
    assert specs[0] == specs[1]
    assert specs[0].preset.rungs == (4096,)
    assert [line.split(" is now")[0] for line in told] == ["old.yaml: tier", "old.yaml: lookahead"]


def test_a_field_with_a_flag_is_an_option_at_once():
    class Inner(BaseModel):
        depth: Annotated[int | None, Flag("--depth", "How deep.")] = None

    class Outer(BaseModel):
        inner: Inner
        width: Annotated[float, Flag("--wide", "How wide.", key="wide")] = 1.0

    assert [(o.key, o.path, o.type) for o in options_of(Outer)] == [
        ("depth", ("inner", "depth"), int),
        ("wide", ("width",), float),
    ]
    assert nested(Outer, {"depth": 3, "wide": None}) == {"inner": {"depth": 3}}


trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(mappings, mappings)
def test_what_is_said_later_wins_and_what_is_not_said_stays(below, above):
    whole = merged(below, above)
    assert set(whole) == set(below) | set(above)
    for key, value in whole.items():
        if key not in above:
            assert value == below[key]
        elif isinstance(above[key], dict) and isinstance(below.get(key), dict):
            assert value == merged(below[key], above[key])
        else:
            assert value == above[key]


def test_presets_are_whole_and_their_timing_has_rounds_enough():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.device in ("cpu", "cuda")
        assert preset.retests <= preset.uniform <= preset.trials


@pytest.mark.parametrize(
    ("text", "value"),
    [("20M", 20_000_000), ("19.1M", 19_100_000), ("5,288,548", 5_288_548), ("5_288_548", 5_288_548), ("1,500K", 1_500_000),
     ("4g", 4 * 10**9), (" 300K ", 300_000)],
)  # fmt: skip
def test_counts_are_read_as_people_write_them(text, value):
    assert parse_count(text, "--budget-params") == value


@pytest.mark.parametrize(
    "text", ["7,5M", "7,50M", "1,2345", "12,34,567", "1,000,00", ",500", "1,,000", "5_2M", "-3M", "0", "M", "1e6"]
)
def test_a_comma_that_separates_no_group_of_three_is_not_read_as_another_magnitude(text):
    with pytest.raises(UsageError, match="not a number"):
        parse_count(text, "--budget-params")
