"""The benchmark commands run end to end at their smallest and write a page and raw numbers with their provenance."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import (
    dials,
    fuzz_images,
    gpu_study,
    gpu_world,
    machine_code,
    paper,
    step_model,
    trained,
    twin_training,
)
from benchmarks.gpu_page import page_of
from benchmarks.recording import device_name, lines_of
from halosearch.proxy.data.folder import FolderLimits, open_folder

ROOT = Path(__file__).parent.parent
TRAINED = ROOT / "benchmarks" / "results" / "trained-cifar10-cpu.json"
STUDIES = ("studies/dense-6M", "studies/photos-6M", "studies/dense-20M")
SMALLEST = {
    "attention": ["--quick", "--rounds", "2"],
    "same_model": ["--comparisons", "2", "--rounds", "2"],
    "step_times": ["--rounds", "2", "--models", "h0"],
    "prediction": ["--rounds", "2", "--known", "8", "--unseen", "2"],
    "report": ["--rounds", "1", "--sizes", "30"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [each if each in ("attention", "report") else pytest.param(each, marks=pytest.mark.long) for each in SMALLEST],
)
def test_a_benchmark_runs_and_records(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--device", "cpu", "--folder", str(tmp_path), *SMALLEST[name]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    page, raw = (next(tmp_path.glob(pattern)) for pattern in ("*.md", "results/*.json"))
    document = json.loads(raw.read_text())
    assert {"device", "torch", "commit", "command", "date"} <= set(document["provenance"])
    assert raw.name in page.read_text()
    assert "unmeasured" in page.read_text()


def test_the_page_of_a_study_on_a_gpu_says_what_its_raw_numbers_say():
    records = list((ROOT / "benchmarks/results").glob("study-*.json"))
    assert records
    for raw in records:
        assert (
            gpu_study.page_of(json.loads(raw.read_text()), raw.name) == (ROOT / f"benchmarks/{raw.stem}.md").read_text()
        )


def test_the_interval_of_a_mean_covers_it_nineteen_times_of_twenty_at_five_values():
    draws = np.random.default_rng(0).normal(20, 8, (2000, 5))
    inside = [low <= 20 <= high for _, low, high in map(gpu_study.interval_of_a_mean, draws)]
    assert 0.935 <= np.mean(inside) <= 0.965


@pytest.mark.slow
def test_no_damaged_image_ends_a_run_or_is_read_otherwise(tmp_path):
    """A few of the fuzz run's files; its page has 30,000."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz_images",
        "--count",
        "300",
        "--seed",
        "5",
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads((tmp_path / "results/fuzz-images-cpu.json").read_text())
    assert document["differ"] == []
    assert document["counted"] + document["named"] == document["files"] == 316
    assert document["counted"] > 20


def test_the_fuzz_run_sees_pictures_that_change_places(tmp_path):
    fuzz_images.lay_out(tmp_path / "d", 60, 0)
    images = open_folder(tmp_path / "d", tmp_path / "cache", FolderLimits(200, 200, fuzz_images.SIDE))
    assert fuzz_images.compared(tmp_path / "d", images)[1] == []
    images._images = {split: np.roll(pixels, 1, axis=0) for split, pixels in images._images.items()}
    assert len(fuzz_images.compared(tmp_path / "d", images)[1]) > 10


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    (tmp_path / "kept.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert lines_of(tmp_path / "kept.jsonl") == [{"a": 1}, {"a": 2}]
    assert lines_of(tmp_path / "none.jsonl") == []


def test_committed_pages_stand_beside_their_raw_numbers():
    pages = sorted((ROOT / "benchmarks").glob("*-*.md"))
    assert pages
    for page in [page for page in pages if not page.stem.startswith("gpu-")]:
        document = json.loads((ROOT / "benchmarks/results" / f"{page.stem}.json").read_text())
        assert document["provenance"]["commit"] in page.read_text()


def test_the_pages_of_a_gpu_are_what_their_lines_say():
    pages = sorted((ROOT / "benchmarks").glob("gpu-*.md"))
    assert pages
    for page in pages:
        raw = ROOT / "benchmarks/results" / f"{page.stem}.jsonl"
        lines = [json.loads(line) for line in raw.read_text().splitlines()]
        assert page_of(lines, raw.name) == page.read_text()
        assert lines[0]["stage"] == "provenance"
        assert lines[0]["commit"] in page.read_text()


def test_pages_of_the_model_of_a_step_and_of_twins_say_what_their_numbers_say():
    results = ROOT / "benchmarks" / "results"
    lines = json.loads((results / "step-model-cpu.json").read_text())["lines"]
    assert (ROOT / "benchmarks/step-model-cpu.md").read_text().startswith(step_model.page_of(lines, results))
    twins = json.loads((results / "twin-training-cpu.json").read_text())
    page = (ROOT / "benchmarks/twin-training-cpu.md").read_text()
    assert page.startswith(twin_training.page_of(twins["seconds"], twins["asked"]))
    said = (ROOT / "docs/gpu.md").read_text()
    for model in ("h1", "h4"):
        before, now = (line for line in lines if line["model"] == model)
        assert f"{sum(before['bytes'].values()) / 1e9:.1f} → {sum(now['bytes'].values()) / 1e9:.1f} GB" in said
        assert f"{before['launches']:,} → {now['launches']:,}" in said


def offline_line(target, name, **more):
    return {"target": target, "name": name, "shared_bytes": 1000, "registers": 64, "spilled_bytes": 0} | more


@pytest.mark.slow
def test_the_offline_page_says_how_much_was_compiled_and_fails_where_one_kernel_does(tmp_path):
    offline_kernels = pytest.importorskip("benchmarks.offline_kernels")
    lines = [offline_line(target, name) for target in ("90", "80") for name in "ab"]
    assert "Every kernel compiles and fits: held.**" in offline_kernels.page_of(lines, "all", 2)
    part = offline_kernels.page_of(lines[:3], "all", 2)
    assert "fits: held so far.**" in part
    assert "| 1 of 2 |" in part
    for spoiled in ({"shared_bytes": 10**6}, {"error": "PTXASError"}):
        assert "fits: failed.**" in offline_kernels.page_of([*lines[:3], lines[3] | spoiled], "all", 2)


@pytest.mark.slow
def test_the_committed_offline_page_is_that_of_its_lines():
    offline_kernels = pytest.importorskip("benchmarks.offline_kernels")
    document = json.loads((ROOT / "benchmarks/results/offline-kernels-cpu.json").read_text())
    assert {line["code"] for line in document["lines"]} == {offline_kernels.code_of_kernels()}
    page = offline_kernels.page_of(document["lines"], document["asked"], document["count"])
    assert (ROOT / "benchmarks/offline-kernels-cpu.md").read_text().startswith(page)


def test_instructions_of_a_loop_are_told_from_the_others():
    """Two nested jumps back are one loop; what stands behind the last jump to itself is padding."""
    code = ["S2R R1, SR_TID.X", "IADD3 R2, R1, 0x1, RZ", "LDG.E R3, [R2]", "@P1 BRA 0x20", "FADD R4, R4, R3"]
    code += ["@!P0 BRA 0x10", "EXIT", "BRA 0x70", "NOP"]
    text = "\n".join(f"        /*{16 * at:04x}*/                   {line} ;" for at, line in enumerate(code))
    found = machine_code.instructions(text)
    assert (found.loop, found.others, found.loops) == (5, 2, 1)


@pytest.mark.parametrize("grid", [True, False])
def test_turns_of_loops_are_those_of_a_walk_over_the_windows(grid):
    height, width, block, halo, keys, images, heads, tiles = 13, 9, 4, 2, 16, 3, 2, 2
    sizes = {"H": height, "W": width, "B": block, "HALO": halo, "SIDE": 4, "WP": 8, "GRID": grid, "BN": keys, "BM": 8}
    blocks = [(y, x) for y in range(0, height, block) for x in range(0, width, block)]
    expected = 0
    for y, x in blocks:
        rows = [row for row in range(y - halo, y + block + halo) if 0 <= row < height]
        columns = [column for column in range(x - halo, x + block + halo) if 0 <= column < width]
        expected += len(range(0, len(rows) * (8 if grid else len(columns)), keys))

    def launch(name):
        shape = len(blocks) * heads, tiles, images
        return step_model.Launch(SimpleNamespace(params=[]), name, shape, (), sizes)

    assert machine_code.turns(launch("forward_kernel")) == (
        len(blocks) * heads * tiles * images,
        expected * heads * tiles * images,
    )
    assert machine_code.turns(launch("backward_keys_kernel")) == (
        expected * heads * images,
        2 * expected * heads * images,
    )


def test_bytes_and_launches_of_a_small_step_are_those_counted_by_hand():
    x = torch.empty(4, 8, device="meta")
    with step_model.Ledger() as ledger:
        y = x.t() @ x  # a view is free
        y += y.new_ones(8)
        torch._foreach_add_([y, y], 1.0)
    assert ledger.launches == {"mm": 1, "new_ones": 1, "add_": 1, "_foreach_add_": 1}
    assert ledger.bytes["mm"] == 4 * (32 + 32 + 64)
    assert ledger.bytes["add_"] == 4 * (64 + 8 + 64)
    assert ledger.bytes["_foreach_add_"] == 4 * 4 * 64
    assert step_model.bytes_of(torch.empty(3, 1, device="meta").expand(3, 100)) == 12


@pytest.mark.slow
def test_a_gpu_page_goes_on_after_a_line_that_was_cut_off(tmp_path):
    gpu = pytest.importorskip("benchmarks.gpu")  # imports Triton
    where = {"device": "a", "torch": "b", "commit": "c", "triton": "d"}
    (tmp_path / "gpu.jsonl").write_text(json.dumps({"stage": "provenance", **where}) + '\n{"stage": "st')
    assert [line["stage"] for line in gpu.known_lines(tmp_path / "gpu.jsonl", where)] == ["provenance"]


def test_the_use_of_a_slice_of_a_gpu_is_not_known(tmp_path):
    rows = ["timestamp, utilization.gpu [%]", "2026/11/26 10:00:00.000, 50 %", "2026/11/26 10:00:01.000, [N/A]"]
    (tmp_path / "use.csv").write_text("\n".join(rows))
    assert gpu_study.busy_after(tmp_path / "use.csv", 0) == 0.5
    (tmp_path / "use.csv").write_text("\n".join((rows[0], rows[2])))
    assert gpu_study.busy_after(tmp_path / "use.csv", 0) is None


def test_kernels_whose_long_names_begin_alike_are_summed():
    begin = "void at::native::vectorized_elementwise_kernel<4, at::native"
    assert gpu_world.top({begin + "::a": 5.0, begin + "::b": 2.0, "mine": 6.0}) == {begin: 7, "mine": 6}


@pytest.mark.parametrize(
    ("named", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 3090", "rtx-3090"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_two_kinds_of_gpu_have_two_pages(named, short, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: named)
    assert device_name(torch.device("cuda")) == short


@pytest.mark.slow
def test_the_first_minutes_run_where_there_is_no_gpu_and_go_on_where_they_were_cut_off(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--small",
        "--folder",
        str(tmp_path),
        "--only",
        "environment",
        "norm",
    ]
    for more, stages in ((["--seconds", "0"], {"skipped"}), ([], {"took_s"}), ([], {"took_s"})):
        done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in (tmp_path / "results/gpu-cpu.jsonl").read_text().splitlines()]
        latest = {line["stage"]: line for line in lines}
        assert set(latest) == {"provenance", "environment", "norm", "norm tiles"}
        assert all(stages & set(latest[stage]) for stage in ("environment", "norm"))
    assert sum(line["stage"] == "norm" for line in lines) == 2  # skipped once, then done once
    assert max(row["error"] for row in latest["norm"]["rows"]) < 1e-5
    assert "Batch norm" in (tmp_path / "gpu-cpu.md").read_text()


@pytest.mark.slow
def test_the_page_of_the_proxy_says_what_the_committed_records_say(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.proxy", *STUDIES, "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made, kept = (
        json.loads((folder / "results" / "proxy-cpu.json").read_text()) for folder in (tmp_path, ROOT / "benchmarks")
    )
    for study, candidates in zip(("dense-6M", "photos-6M", "dense-20M"), (43, 44, 60), strict=True):
        assert made[study]["candidates"] == kept[study]["candidates"] == candidates
        for one, other in zip(made[study]["by_length"], kept[study]["by_length"], strict=True):
            assert (one["images"], one["kind"]) == (other["images"], other["kind"])
            assert one["icc"] == pytest.approx(other["icc"])
            assert one["tau"] == pytest.approx(other["tau"])
    pairs = zip(made["dense-6M and photos-6M"], kept["dense-6M and photos-6M"], strict=True)
    for one, other in pairs:
        assert one["which"] == other["which"]
        assert [one[key] for key in ("plain", "rest", "labels")] == [
            pytest.approx(other[key]) for key in ("plain", "rest", "labels")
        ]


def test_the_sweep_sees_an_effect_and_names_a_dial_without_one_in_at_most_one_of_twenty_runs():
    """Scores made by hand: noise of 0.01, a seed's own level, one value 0.05 above the base; 200 records of eight seeds."""
    rng, found, wrong = np.random.default_rng(0), 0, 0
    wanted = dials.cases(8)
    for _ in range(200):
        level = 0.1 * rng.standard_normal(8)
        results = [
            {
                "dial": dial,
                "value": value,
                "seed": seed,
                "score": 0.1 + level[seed] + 0.05 * ((dial, value) == ("l3", "2")) + 0.01 * rng.standard_normal(),
            }
            for dial, value, seed in wanted
        ]
        effects, seen = dials.summarise(results)
        mean, low, high = effects["l3"]["2"]
        assert low < mean < high
        found += "l3" in seen
        wrong += bool(set(seen) - {"l3"})
    assert found == 200
    assert wrong <= 20  # 10 are expected at most; more than 20 by chance in fewer than one of 500 runs


def test_the_page_of_the_paper_s_experiments_says_what_the_committed_records_say():
    """Recomputed: verdicts and expectations; numbers to the digits that are printed."""
    for folder in paper.HEADS:
        said = (ROOT / "studies" / folder / "README.md").read_text()
        assert paper.page(ROOT, folder) == said
        assert said.count("**undecided**") < said.count("; ratio") + said.count(" seeds)")


def test_the_page_of_trained_models_is_that_of_its_numbers():
    document = json.loads(TRAINED.read_text())
    page = (ROOT / "benchmarks" / "trained-cifar10-cpu.md").read_text()
    assert page.startswith(trained.page_of(document["models"], document["words"]))
    for about in document["models"].values():
        assert about["finished"]
        assert about["epochs"][-1]["epoch"] == about["job"]["recipe"]["epochs"]
