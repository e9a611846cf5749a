import json
import subprocess
import sys

import pytest

from tests.cli.process import error_of, halosearch, here, tiny
from tests.cost.test_counts import PUBLISHED_PARAMS

HEAVY = ("torch", "ray", "optuna", "pandas", "plotly", "fvcore", "numpy", "scipy", "rich", "pydantic.main")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command in this process, in a folder of its own; it must succeed."""

    def run(*words):
        done = here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_help_answers_without_importing_anything_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "halosearch", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {name for name in HEAVY if name != "pydantic.main"}
    for command in ("show", "cost", "time", "train", "space", "study", "status", "frontier", "report"):
        assert command in done.stdout


@pytest.mark.parametrize("package", ["pydantic", "torch"])
def test_a_package_that_is_missing_is_named_and_no_bug(package):
    """One is needed before the command line can be read, the other when a network is built."""
    code = (
        f"import sys\nsys.modules['{package}'] = None\nsys.argv = ['halosearch', 'time', 'h1']\n"
        "import halosearch.__main__ as command\ncommand.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: the package {package} cannot be imported")
    assert "pip install" in second


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom halosearch.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pandas', 'torch', 'optuna', 'scipy', 'plotly', 'ray', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_cost_gives_the_published_parameters_by_name_and_by_dials(command):
    for name in ("h0", "h4", "h7"):
        document = json.loads(command("cost", name, "--json").stdout)
        assert document["params"] == PUBLISHED_PARAMS[name]
        by_dials = json.loads(command("cost", document["candidate"], "--json").stdout)
        assert by_dials == document
    typed = json.loads(command("cost", "s=384,b=12,h=2,rv=1,rb=3,l3=12,df=1280", "--json").stdout)
    assert typed["params"] == PUBLISHED_PARAMS["h4"]
    assert typed["macs"] > 10**9
    assert typed["activations"] > 10**7


def test_cost_by_layer_adds_up_and_a_yaml_file_is_a_candidate(command, tmp_path):
    (tmp_path / "c.yaml").write_text("{s: 64, block_size: 8, h: 1, rb: 1, l3: 2}")
    document = json.loads(command("cost", tmp_path / "c.yaml", "--by-layer", "--json").stdout)
    assert sum(row["repeat"] * row["macs"] for row in document["layers"]) == document["macs"]
    table = command("cost", "h0", "--by-layer").stdout
    assert "stages.3.rest" in table


def test_audit_sets_fvcore_beside_the_closed_form(command):
    document = json.loads(command("cost", "s=48,b=6,h=1,rb=1,l3=1", "--audit", "--json").stdout)
    assert all(row["agrees"] for row in document["audit"])
    assert {row["part"] for row in document["audit"]} >= {"conv", "linear", "matmul", "total"}


def test_show_names_the_source_of_published_numbers(command):
    text = command("show", "h4").stdout
    assert "arXiv:2103.12731" in text
    assert "83.3" in text
    assert json.loads(command("show", "h0", "--json").stdout)["published"]["params_m"] == 5.5


def test_space_says_how_many_and_the_range_of_every_dial(command):
    document = json.loads(command("space", "--budget-params", "20M", "--json").stdout)
    assert document["size"] > 10**6
    assert 19_000_000 <= document["params"]["min"] <= document["params"]["max"] <= 21_000_000
    assert document["dials"]["image_size"]["min"] == 48
    assert document["dials"]["image_size"]["max"] == 640
    assert set(document["dials"]) == {
        "image_size",
        "block_size",
        "halo_size",
        "value_ratio",
        "expansion_ratio",
        "stage3_depth",
        "final_width",
        "heads",
        "conv_stages",
    }


@pytest.mark.slow
def test_time_measures_with_an_interval_and_a_fingerprint():
    document = json.loads(
        halosearch(
            "time",
            "s=32,b=4,h=1,rb=0.5,l3=1",
            "s=64,b=4,h=1,rb=0.5,l3=1",
            "--rounds",
            3,
            "--batch-size",
            2,
            "--json",
            check=0,
        ).stdout
    )
    assert [m["measures"] for m in document["measurements"]] == ["forward"] * 2 + ["training step"] * 2
    for row in document["measurements"]:
        assert 0 < row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
        assert row["device"]["torch"]
        assert len(row["samples_s"]) == 3
        assert row["memory_bytes"] > 0
    forward, step = document["measurements"][0], document["measurements"][2]
    assert step["seconds"]["median"] > forward["seconds"]["median"]


def test_train_scores_a_twin(command):
    document = json.loads(
        command("train", "h0", "--image-size", 48, "--images", 64, "--preset", "cpu-2m", "--json").stdout
    )
    assert set(document["final"]["accuracy"]) == {"shape", "texture", "relation"}
    assert document["images_per_s"] > 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["study", "--budget-params", "20MB"], 2, "'20MB' is not a number"),
        (["space", "--budget-params", "-3M"], 2, "not a number"),
        (["study"], 2, "needs a budget"),
        (["study", "--budget-params", "20M", "--max-time", "soon"], 2, "'soon' is not a duration"),
        (["study", "--budget-params", "20M", "--tolerance", "2"], 2, "'2' is not a share"),
        (["space", "--budget-params", "300K"], 3, "smallest feasible budget is 3,896,296"),
        (["study", "--budget-params", "300K"], 3, "smallest feasible budget"),
        (["cost", "h9"], 2, "no candidate called 'h9'"),
        (["cost", "s=64,b=8"], 2, "'h' is missing"),
        (["status", "nothing"], 2, "no study 'nothing'"),
        (["study", "--budget-params", "20M", "--sampler", "magic"], 2, "unknown sampler 'magic'"),
        (["study", "--budget-params", "20M", "--preset", "huge"], 2, "unknown preset 'huge'"),
        (["study", "--budget-params", "20M", "--device", "cuda"], 4, "no CUDA device"),
        (["time", "h0", "--device", "tpu"], 4, "device 'tpu'"),
        (["study", "--budget-params", "5M", "--data", "nowhere"], 4, "there is no data at"),
        (["nonsense"], 2, "No such command"),
        (["cost", "h0", "--nope"], 2, "No such option"),
        (["time", "h0", "--batch-size", "1", "--train"], 2, "training step of 1 image"),
        (["cost", "none#3"], 2, "no study 'none'"),
        (["study", "--budget-params", "20M", "--name", "../x"], 2, "name"),
        (["study", "absent.yaml"], 2, "cannot be read"),
    ],
)
def test_errors_are_one_sentence_one_way_out_and_their_exit_code(words, code, sentence, tmp_path, monkeypatch):
    if "cuda" in words:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    done = here(*words, cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == code
    assert sentence in error_of(done)
    assert not list(tmp_path.glob("studies/*/trials.journal"))


@pytest.mark.parametrize(
    "words",
    [
        ["study", "--budget-params", "20MB"],
        ["study", "--budget-params", "20M", "--preset", "huge", "--device", "cpu"],
        ["study", "bad.yaml"],
        ["status", "nothing"],
        ["space", "--budget-params", "300K"],
    ],
)
def test_budget_and_usage_errors_answer_before_torch_is_imported(words, tmp_path):
    (tmp_path / "bad.yaml").write_text("bugdet: 3")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "halosearch", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode in (2, 3)
    assert not any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budget: {params: 5000000}\nbugdet: 3\n", "unknown key 'bugdet'"),
        ("budget: {parms: 5}\n", "unknown key 'parms' under budget"),
        ("space: {image_sz: [64]}\nbudget: {params: 5000000}\n", "image_sz"),
        ("- a\n", "not a mapping"),
        ("budget: {params: 5000000}\nseed: many\n", "seed"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_study_file_that_is_off_is_refused_by_key(text, sentence, tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text(text)
    done = here("study", "s.yaml", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 2
    assert sentence in error_of(done)


def test_a_study_file_of_another_version_exits_6(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text("format: 99\nbudget: {params: 5000000}\n")
    done = here("study", "s.yaml", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 6
    assert "format 99" in error_of(done)


def test_a_folder_that_is_no_study_is_never_overwritten(tmp_path, monkeypatch):
    (tmp_path / "studies" / "20M").mkdir(parents=True)
    (tmp_path / "studies" / "20M" / "thesis.txt").write_text("mine")
    done = here("study", "--budget-params", "20M", cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 2
    assert "not a study" in error_of(done)
    assert [path.name for path in (tmp_path / "studies" / "20M").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_dry_run_forecasts_ranges_and_writes_nothing(tmp_path):
    document = json.loads(halosearch("study", tiny(tmp_path), "--dry-run", "--json", cwd=tmp_path, check=0).stdout)
    assert document["pool_size"] > 10
    assert 0 < document["study_seconds"][0] <= document["study_seconds"][1]
    assert len(document["probes"]) == 3
    assert 0 <= document["share_not_fitting"] <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_version():
    from halosearch import __version__

    assert __version__ in halosearch("--version", check=0).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "dask"], "unknown engine 'dask'"),
        (["--gpus-per-trial", "0.5"], "--gpus-per-trial says how to run on Ray, and the engine is local"),
        (["--ray", "--engine", "local"], "--ray says how to run on Ray, and the engine is local"),
        (["--max-gpu-hours", "2", "--device", "cpu"], "--max-gpu-hours limits GPUs, and this study uses none"),
        (["--max-trial-memory", "lots"], "--max-trial-memory 'lots' is not a size"),
        (["--max-trial-time", "5"], "--max-trial-time '5' is not a duration"),
        (["--storage", "postgresql://me:secret@host/db"], "carries a password"),
    ],
)
def test_where_and_how_long_to_run_is_checked_at_once(words, said, tmp_path, monkeypatch):
    done = here("study", "--budget-params", "20M", "--device", "cpu", *words, cwd=tmp_path, monkeypatch=monkeypatch)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not list(tmp_path.iterdir())
