"""The simulator's clock, the tables, the comparison: on tables made by hand."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from halosearch.bench import contenders
from halosearch.bench.compare import Case, best_out_of_the_box, cases_of, run_all, run_case, summarise
from halosearch.bench.contenders import CONTENDERS, run
from halosearch.bench.families import CHOICES, FAMILIES, member
from halosearch.bench.page import page, verdict
from halosearch.bench.score import Ruler, measure, median_interval, ratio_interval, recommended
from halosearch.bench.simulate import Asked, InPool, Replay, Search, replay_asked, replay_in_pool
from halosearch.bench.table import Table, read_table, write_table
from halosearch.cli.main import main
from halosearch.errors import EnvironmentFault, UsageError

NEVER = lambda second, row: False  # noqa: E731


def table(n=30, seconds=(1.0, 3.0), seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"a": np.arange(1, n + 1), "b": rng.integers(1, 5, n)})
    rows["params"], rows["macs"] = rows["a"] * 10, rows["a"] ** 2 + 5
    scores = np.log(rows["a"].to_numpy())[:, None, None] + 0.1 * rng.standard_normal((n, 2, 2))
    space = {"a": list(range(1, 101)), "b": [1, 2, 3, 4]}
    return Table(
        "t", rows, ("a", "b"), (100, 400), scores, np.tile(seconds, (n, 1)), (0, 10 * n), space, {"pool_size": n}
    )


def test_a_table_is_read_as_it_was_written(tmp_path):
    made = table()
    write_table(tmp_path / "t", made)
    read = read_table(tmp_path / "t")
    pd.testing.assert_frame_equal(read.rows, made.rows, check_dtype=False)
    assert np.allclose(read.scores, made.scores, atol=1e-6)
    assert np.allclose(read.seconds, made.seconds, atol=1e-3)
    assert (read.rungs, read.budget, read.features) == (made.rungs, made.budget, made.features)


def test_a_table_that_is_not_there_or_damaged_is_said(tmp_path):
    with pytest.raises(UsageError, match="no recorded table"):
        read_table(tmp_path)
    write_table(tmp_path, table())
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path)


def test_one_worker_takes_the_sum_of_the_seconds_and_eight_an_eighth():
    made = table(32)
    for workers in (1, 8):
        replay = replay_in_pool(InPool("random"), made, Search(0, workers), NEVER, np.ones(len(made.rows)))
        assert replay.seconds - replay.sampler_seconds == pytest.approx(32 * 4 / workers, abs=0.2)
        assert sorted(row for _, row in replay.found) == list(range(32))
        times = [second for second, _ in replay.found]
        assert times == sorted(times)


def test_a_stopped_trial_costs_its_rung_and_a_promoted_one_the_difference():
    made = table(32)
    replay = replay_in_pool(InPool("random", eta=4), made, Search(0, 1), NEVER, np.ones(len(made.rows)))
    assert len(replay.found) == 8
    assert replay.seconds - replay.sampler_seconds == pytest.approx(32 * 1 + 8 * 3, abs=0.2)


def test_asked_searches_keep_all_workers_busy_and_are_not_charged_for_asks_outside():
    made, told, order = table(12), [], iter(range(12))
    outside = iter([True, False] * 100)

    def ask():
        return ("handle", None) if next(outside) else ("handle", next(order))

    replay = replay_asked(Asked(ask, lambda *told_: told.append(told_[1]), 1000), made, Search(0, 3), NEVER)
    assert (replay.asks, replay.outside, len(replay.proposed)) == (24, 12, 12)
    assert replay.seconds - replay.sampler_seconds == pytest.approx(12 * 4 / 3, abs=0.2)
    assert sorted(told) == list(range(12))
    stopped = replay_asked(Asked(lambda: (0, None), lambda *_: None, 50), made, Search(0, 3), NEVER)
    assert (stopped.asks, stopped.proposed) == (50, [])


FAST = [name for name, kind in CONTENDERS.items() if isinstance(kind, InPool)] + ["Optuna random"]
SLOW = [name for name in CONTENDERS if name not in FAST]


@pytest.mark.parametrize(
    "name", [*FAST, *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.long]) for name in SLOW)]
)
@pytest.mark.parametrize("workers", [1, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_every_contender_stays_inside_the_budget_and_proposes_no_row_twice(name, workers):
    made = member("saturating", 1)
    limit = [0]

    def until(second, row):
        limit[0] += 1
        return limit[0] >= 12

    replay = run(name, made, 1, workers, until)
    assert len(set(replay.proposed)) == len(replay.proposed)
    low, high = made.budget
    assert made.rows["params"][replay.proposed].between(low, high).all()
    if isinstance(CONTENDERS[name], InPool):
        assert replay.outside == 0


def test_the_ruler_is_one_for_all_rows_and_counts_what_was_not_seen_by_the_search():
    made = table()
    ruler = Ruler(made, 0)
    assert ruler.share(range(30)) == pytest.approx(1.0)
    assert ruler.share([]) == 0.0
    assert 0 < ruler.share([3]) < ruler.share([3, 20]) <= 1
    assert np.array_equal(made.judge(0), made.scores[:, 1, -1])
    assert np.array_equal(made.seen(1), made.scores[:, 1])


def test_a_replay_is_measured_by_when_it_reached_the_target():
    made = table()
    replay = Replay(
        found=[(10.0, 0), (20.0, 15)] + [(30.0 + i, i) for i in range(30)], proposed=list(range(30)), asks=30
    )
    found = measure(replay, made, 0, (5.0, 20.0, 1000.0))
    assert found.share == pytest.approx(1.0)
    ruler = Ruler(made, 0)
    first = next(i for i in range(1, 33) if ruler.share([row for _, row in replay.found[:i]]) >= 0.95)
    assert (found.seconds, found.trainings) == (replay.found[first - 1][0], first)
    assert found.regrets[0] == 1.0
    assert found.regrets[1] == pytest.approx(1 - ruler.share(recommended([0, 15], made.seen(0), made.costs())))
    assert recommended([], made.seen(0), made.costs()) == []


def test_medians_and_ratios_know_infinity():
    assert median_interval([1.0, 2.0, math.inf])[0] == 2.0
    assert median_interval([1.0, 4.0])[0] == 2.0
    assert median_interval([1.0, math.inf])[0] == math.inf
    assert median_interval([1.0, math.inf], worse="lower")[0] == 1.0
    assert ratio_interval([1.0] * 9, [2.0] * 9, [9.0] * 9) == (2.0, 2.0, 2.0)
    assert ratio_interval([1.0] * 3, [math.inf] * 3, [7.0] * 3) == (7.0, 7.0, 7.0)
    assert ratio_interval([math.inf] * 3, [1.0] * 3, [7.0] * 3) == (0.0, 0.0, 0.0)


def test_balanced_pairs_are_no_difference():
    middle, low, high = ratio_interval([1.0] * 10 + [2.0] * 10, [2.0] * 10 + [1.0] * 10, [9.0] * 20)
    assert middle == pytest.approx(1.0)
    assert low < 1 < high


def test_a_tie_is_reported_as_a_tie():
    def row(name, ratio, box):
        return {
            "contender": name,
            "source": "s",
            "workers": 1,
            "out_of_the_box": box,
            "seconds": (1, 1, 1),
            "reached": 2,
            "seeds": 2,
            "ours_is_faster_by": ratio,
        }

    rows = [
        row("pool", None, False),
        row("Optuna TPE", (1.1, 0.8, 1.5), True),
        row("random in pool", (2.0, 1.5, 3.0), False),
    ]
    words = verdict(rows, "s", 1)
    assert "No difference is shown between `pool` and Optuna TPE (the best out of the box): 1.1 [0.8, 1.5]" in words
    assert "in less time than random in pool: 2 [1.5, 3] times" in words
    assert best_out_of_the_box(rows, "s", 1)["contender"] == "Optuna TPE"
    assert "slower" in verdict([row("pool", None, False), row("Optuna TPE", (0.5, 0.4, 0.8), True)], "s", 1)


def test_a_search_that_was_mostly_cut_off_is_not_compared_with():
    def result(contender, seed, seconds, capped):
        return {
            "source": "s",
            "workers": 1,
            "contender": contender,
            "seed": seed,
            "seconds_to_95": seconds,
            "trainings_to_95": seconds,
            "ended": 5.0,
            "capped": capped,
            "regrets": [0.1],
            "asks": 9,
            "outside_budget": 0,
            "proposed": 9,
            "duplicates": 0,
            "sampler_seconds": 0.1,
        }

    results = [result("pool", seed, 10.0, False) for seed in range(8)]
    results += [result("Optuna TPE", seed, None, seed < 3) for seed in range(8)]
    results += [result("Optuna NSGA-II", seed, None, seed < 2) for seed in range(8)]
    by_name = {row["contender"]: row for row in summarise(results)}
    assert by_name["Optuna TPE"]["ours_is_faster_by"] is None
    assert by_name["Optuna NSGA-II"]["ours_is_faster_by"][0] == pytest.approx(0.5)  # its end counts, kindly to it
    assert best_out_of_the_box(list(by_name.values()), "s", 1)["contender"] == "Optuna NSGA-II"
    only = [row for row in by_name.values() if row["contender"] != "Optuna NSGA-II"]
    assert "No sampler out of the box was run long enough" in verdict(only, "s", 1)


def test_replays_are_kept_and_not_run_again(tmp_path):
    cases = cases_of(["saturating"], ["pool", "random in pool"], [1], 2)
    raw = tmp_path / "replays.jsonl"
    first = run_all(cases, raw, 1, lambda text: None)
    with raw.open("a") as file:
        file.write('{"source": "satur')  # torn by a kill
    said = []
    assert run_all(cases, raw, 1, said.append) == first
    assert said == []
    assert first[0] == json.loads(raw.read_text().splitlines()[0])
    rows = summarise(first)
    assert [r["contender"] for r in rows] == ["pool", "random in pool"]
    assert all(r["seeds"] == 2 and r["inside_budget"] and r["duplicates"] == 0 for r in rows)
    text = page(rows, {"command": "c", "halosearch": "0", "optuna": "5", "device": "d", "raw": "r", "sources": {}})
    assert "| pool | 2 |" in text


def test_the_same_case_gives_the_same_replay():
    case = Case("rugged", "random in pool", 8, 3)
    a, b = run_case(case), run_case(case)
    assert [row for _, row in a["trace"]] == pytest.approx([row for _, row in b["trace"]], abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_members_of_a_family_differ_and_lie_within_the_budget(family):
    a, b = member(family, 0), member(family, 1)
    assert not np.allclose(a.truth, b.truth)
    params, macs = FAMILIES[family].counts(a.rows).T
    assert macs.max() > 10 * macs.min()
    assert ((params >= a.budget[0]) & (params <= a.budget[1])).all()
    assert np.corrcoef(a.truth, a.scores[:, 0, -1])[0, 1] == pytest.approx(
        (1 + FAMILIES[family].noise ** 2) ** -0.5, abs=0.03
    )
    assert 0.5 < np.corrcoef(a.truth, a.scores[:, 0, 0])[0, 1] < 0.97


def test_no_order_of_words_explains_a_categorical_family():
    """Each word has its own effect: a fit of words explains far more of the truth than one of their places in the list."""
    shares = []
    for seed in range(5):
        made = member("categorical", seed)
        words = [name for name in CHOICES if name != "width"]
        places = np.column_stack([made.rows[name].map(CHOICES[name].index) for name in words]).astype(float)
        own = pd.get_dummies(made.rows[words]).to_numpy(dtype=float)
        shares.append([explained(columns, made.truth) for columns in (places, own)])
    by_place, by_word = np.mean(shares, 0)
    assert by_word > by_place + 0.2


def explained(columns, values):
    """Share of the variance that a linear fit explains."""
    design = np.column_stack([np.ones(len(values)), columns])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return 1 - rest.var() / values.var()


def test_without_botorch_its_contender_is_left_out_or_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(contenders, "find_spec", lambda name: None)
    assert set(CONTENDERS) - set(contenders.available()) == {"BoTorch qLogEHVI in pool"}
    with pytest.raises(SystemExit):
        main(["bench", "categorical", "--contender", "BoTorch qLogEHVI in pool"])
    assert "halosearch[botorch]" in capsys.readouterr().err


@pytest.fixture
def one_thread():
    """Two test processes with two threads each hinder each other threefold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("one_thread")
def test_botorch_repeats_itself_finds_more_than_chance_and_minds_what_is_running():
    """20 rows of a rugged member: more of the hypervolume than 20 drawn evenly on average, twice the same, with three workers no row twice."""
    made, found = member("rugged", 0), {}
    ruler = Ruler(made, 0)
    for name, workers in (("BoTorch qLogEHVI in pool", 1), ("BoTorch qLogEHVI in pool", 3)):
        rows = []
        run(name, made, 0, workers, lambda second, row, rows=rows: len(rows.append(row) or rows) >= 20)
        found[name, workers] = rows
    again = []
    run("BoTorch qLogEHVI in pool", made, 0, 1, lambda second, row: len(again.append(row) or again) >= 20)
    assert again == found["BoTorch qLogEHVI in pool", 1]
    assert len(set(found["BoTorch qLogEHVI in pool", 3])) == len(found["BoTorch qLogEHVI in pool", 3])
    rng = np.random.default_rng(0)
    by_chance = [ruler.share(rng.choice(len(made.rows), 20, replace=False).tolist()) for _ in range(50)]
    assert ruler.share(again) > np.mean(by_chance) + 0.05


def test_bad_flags_are_answered_in_a_sentence(capsys, tmp_path):
    for words, said in (
        (["bench", "--workers", "x"], "no list of counts"),
        (["bench", "--contender", "nobody"], "unknown contender"),
        (["bench", str(tmp_path)], "no recorded table"),
        (["bench", "--record", "nothing", "--dir", str(tmp_path)], "no study"),
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_a_botorch_that_cannot_be_imported_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "halosearch.bench.botorch_search", None)  # importing it raises
    with pytest.raises(EnvironmentFault, match="BoTorch cannot be imported"):
        contenders.run("BoTorch qLogEHVI in pool", member("saturating", 0), 0, 1, lambda seconds, row: False)
