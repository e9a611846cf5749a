import pytest

from halosearch import __version__
from halosearch.analysis.published_nearby import comparison_with_published
from halosearch.cost.pools import pool_of
from halosearch.errors import InfeasibleError, UsageError
from halosearch.families.halonet.space import DIALS
from halosearch.families.known import nearest_member, search_of
from halosearch.gpu_faults import is_out_of_memory
from halosearch.proxy.training import DivergedError
from halosearch.record.folders import budget_name
from halosearch.run.begin import request, resolve
from halosearch.search.pool import Pool
from halosearch.search.reference import reference_dials
from halosearch.spec.presets import PRESETS, choose_preset
from halosearch.spec.study import FORMAT


def cpu(_):
    return "cpu"


def test_the_budget_names_the_study():
    assert [budget_name(n) for n in (20_000_000, 300_000, 19_100_000, 512)] == ["20M", "300K", "19.1M", "512"]


def test_the_tier_is_the_largest_that_fits_the_time():
    assert choose_preset("cpu", None).name == "cpu-10m"
    assert choose_preset("cpu", 60).name == "cpu-2m"
    assert choose_preset("cpu", 7200).name == "cpu-1h"
    assert choose_preset("cuda", None).name == "gpu-1h"
    assert choose_preset("cuda", 10**6).name == "gpu-1d"
    assert all(preset.largest <= 128 for preset in PRESETS.values() if preset.device == "cpu")


def test_everything_used_is_in_the_spec_and_flags_win_over_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("budget: {params: 6000000}\nseed: 5\nsampler: nsga2\nspace: {s: [48], rv: 1}\n")
    spec, folders, exists = resolve(request(str(tmp_path / "a.yaml"), tmp_path, seed=9), cpu)
    assert (spec.name, spec.seed, spec.sampler, spec.budget.params, exists) == ("a", 9, "nsga2", 6_000_000, False)
    assert spec.space["image_size"] == [48]
    assert spec.space["value_ratio"] == [1]
    assert folders.study == tmp_path / "studies" / "a"
    assert not folders.study.exists()


def test_every_value_out_of_its_domain_is_refused(tmp_path):
    for text in (
        "trials: 0",
        "workers: 0",
        "max_in_flight: 0",
        "name: a/b",
        "budget: {params: -5}",
        "budget: {params: 5000000, tolerance: 2}",
    ):
        (tmp_path / "a.yaml").write_text(("" if "budget" in text else "budget: {params: 5000000}\n") + text + "\n")
        with pytest.raises(UsageError):
            resolve(request(str(tmp_path / "a.yaml"), tmp_path), cpu)


def test_a_tier_that_cannot_contain_a_published_model_says_so():
    spec, _, _ = resolve(request(budget_params=19_000_000), cpu)
    [sentence] = comparison_with_published(spec)
    assert "H4 needs 384-pixel images" in sentence
    assert "not compared" in sentence
    spec, _, _ = resolve(request(budget_params=5_500_000, preset="gpu-1d", device="auto"), lambda _: "cuda")
    assert comparison_with_published(spec) == ["H0 (5,502,248 parameters) is a candidate of this study."]


def test_the_reference_is_a_row_of_the_cell_near_the_published_model():
    spec, _, _ = resolve(request(budget_params=20_000_000), cpu)
    pool = Pool(pool_of(spec), DIALS)
    dials = reference_dials(pool, "halonet", 20_000_000)
    assert nearest_member(search_of("halonet"), 20_000_000) == "h4"
    assert dials["expansion_ratio"] == 3
    assert dials["stage3_depth"] == 12
    assert dials["image_size"] == PRESETS["cpu-10m"].largest


def test_running_out_of_memory_is_recognised_by_its_words():
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    )
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(DivergedError("loss is nan"))


@pytest.mark.parametrize(
    "text", ["budget: 5M", "budget: {params: 5M}", "budget: 5000000\ntier: cpu-1h", "budget: 5M\nname: 20"]
)
def test_short_forms_of_a_study_file_are_read(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    spec, _, _ = resolve(request(str(tmp_path / "a.yaml"), tmp_path), cpu)
    assert spec.budget.params == 5_000_000
    assert spec.name == ("20" if "name" in text else "a")


@pytest.mark.parametrize(
    "text",
    [
        "budget: [1]",
        "space: [1]",
        "preset: [1]",
        "lookahead: four",
        "budget: 5 apples",
        "max_time_s: 2h",
        "data: 5",
        "device: 3",
        "tier: cpu-2m\npreset: cpu-1h",
        "storage: postgresql://u:secret@h/db",
    ],
)
def test_shapes_that_mean_nothing_are_refused_in_words(tmp_path, text):
    (tmp_path / "a.yaml").write_text(("" if "budget" in text else "budget: 5M\n") + text)
    with pytest.raises(UsageError):
        resolve(request(str(tmp_path / "a.yaml"), tmp_path), cpu)


def test_an_old_study_file_begins_a_study_of_this_version_and_nothing_said_is_the_default(tmp_path):
    (tmp_path / "a.yaml").write_text("format: 2\nhalosearch: 0.0.1\nbudget: 5M\nworkers: null\n")
    spec, _, _ = resolve(request(str(tmp_path / "a.yaml"), tmp_path), cpu)
    assert (spec.format, spec.halosearch) == (FORMAT, __version__)
    assert spec.workers >= 1


def test_a_study_file_written_by_hand_in_its_place_begins_the_study(tmp_path):
    (tmp_path / "studies" / "hand").mkdir(parents=True)
    (tmp_path / "studies" / "hand" / "study.yaml").write_text("budget: 5M\nseed: 4\n")
    spec, _, exists = resolve(request("hand", tmp_path), cpu)
    assert (spec.seed, spec.name, exists) == (4, "hand", False)


def test_a_space_of_which_nothing_can_be_built_is_an_empty_cell(tmp_path):
    for space in ("{rb: [0.3]}", "{rv: [1.03125], conv: [0]}"):
        (tmp_path / "a.yaml").write_text(f"budget: 5M\nspace: {space}\n")
        spec, _, _ = resolve(request(str(tmp_path / "a.yaml"), tmp_path), cpu)
        with pytest.raises(InfeasibleError):
            pool_of(spec)


def test_why_a_published_model_is_left_out_is_said_truly(tmp_path):
    (tmp_path / "a.yaml").write_text("budget: {params: 19.1M, tolerance: 0.05}\ntier: gpu-1d\nspace: {rb: [1]}\n")
    spec, _, _ = resolve(request(str(tmp_path / "a.yaml"), tmp_path), lambda _: "cuda")
    assert "expansion_ratio 3.0" in comparison_with_published(spec)[0]
    spec, _, _ = resolve(request(budget_params=20_000_000, tolerance=0.01, preset="gpu-1d"), lambda _: "cuda")
    assert "outside the budget" in comparison_with_published(spec)[0]


@pytest.mark.parametrize(("workers", "in_flight"), [(None, 4), (1, 4), (4, 4), (5, 10), (8, 16), (40, 80)])
def test_more_than_four_workers_allow_more_decisions_in_flight_in_a_new_study(workers, in_flight):
    spec, _, _ = resolve(request(budget_params=6_000_000, name="x", device="cpu", workers=workers), lambda _: "cpu")
    assert spec.max_in_flight == in_flight
    assert workers is None or spec.workers == workers


def test_a_name_that_would_be_read_as_a_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="read as a study file"):
        resolve(request(root=tmp_path, name="mine.yaml", budget_params="20M"), lambda device: "cpu")
