"""Whole studies as a user runs them: real processes, real signals, real files."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest
from filelock import FileLock
from PIL import Image

from halosearch.record.evaluation import STEP_TIME
from halosearch.record.table import Table
from halosearch.record.trials import trials_of as trials_in
from tests.cli.process import error_of, halosearch, here, start, tiny, tiny_search
from tests.proxy.pictures import make_cifar, make_tree


def rows_in(folder):
    return Table(folder / "studies" / "tiny" / "trials.journal", create=False, read_only=True).rows()


def trials_of(folder):
    return trials_in(rows_in(folder))


def proposals(folder):
    return [trial.dials for trial in trials_of(folder)]


def children_of(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(processes, seconds=10):
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def until_checkpoint(folder, run):
    """Wait until a training has written a checkpoint (it does so every 20 s)."""
    checkpoints = folder / "studies" / "tiny" / "checkpoints"
    while not list(checkpoints.glob("*.pt")) and run.poll() is None:
        time.sleep(0.1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """One study for all tests of a session, whichever process they run in."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            done = halosearch("study", tiny_search(folder), "--json", "--force", cwd=folder, check=0)
            (folder / "said.json").write_text(done.stdout)
    return folder, json.loads((folder / "said.json").read_text())


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")  # the study that they share is run once
def test_a_study_ends_with_trials_inside_the_budget_none_twice_and_a_report(undisturbed):
    folder, summary = undisturbed
    assert summary["finished"]
    assert summary["counts"] == {"complete": 6, "pruned": 2}
    assert len({trial["candidate"] for trial in summary["trials"]}) == 8
    assert all(4_750_000 <= trial["params"] <= 5_250_000 for trial in summary["trials"])
    timed = [trial for trial in summary["trials"] if trial["step_time_s"] is not None]
    assert all(trial["step_time_low_s"] <= trial["step_time_s"] <= trial["step_time_high_s"] for trial in timed)
    assert set(summary["front"]) <= {trial["trial"] for trial in timed}
    assert all(
        trial["predicted_step_time_s"]
        for trial in summary["trials"]
        if trial["state"] == "complete" and trial not in timed
    )
    assert {trial["images"] for trial in summary["trials"] if trial["state"] == "pruned"} == {32}
    assert [final["seeds"] for final in summary["finals"]] == [2]
    assert {final["images"] for final in summary["finals"]} == {4 * 32}
    assert summary["decisions"][0] == {"role": "recommended (held-out images)", "trial": summary["finals"][0]["trial"]}
    assert summary["agreement"]["n"] == 5
    assert summary["reference"]["state"] == "complete"
    assert (folder / "reports" / "tiny" / "index.html").stat().st_size > 10**6
    rows = pd.read_csv(folder / "reports" / "tiny" / "trials.csv")
    assert rows["state"].value_counts().to_dict() == {"complete": 6, "pruned": 2, "rival": 1}
    [rival] = summary["rivals"]
    assert (rival["candidate"], rival["state"], rival["seeds"]) == ("efficientnet-b0:s=48", "complete", 2)
    assert rival["held_out_images"] == 4 * 32
    assert rival["step_time_low_s"] <= rival["step_time_s"] <= rival["step_time_high_s"]
    assert not (folder / "studies" / "tiny" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")  # the study that they share is run once
def test_reading_commands_agree_with_the_summary(undisturbed):
    folder, summary = undisturbed
    status = json.loads(halosearch("status", "tiny", "--json", cwd=folder, check=0).stdout)
    assert status["counts"] == summary["counts"]
    assert not status["running_now"]
    front = json.loads(halosearch("frontier", "tiny", "--json", cwd=folder, check=0).stdout)
    assert [trial["trial"] for trial in front["front"]] == summary["front"]
    page = folder / "reports" / "tiny" / "index.html"
    before = page.read_bytes()
    halosearch("report", "tiny", cwd=folder, check=0)
    assert page.read_bytes() == before
    shown = json.loads(halosearch("cost", "tiny#2", "--json", cwd=folder, check=0).stdout)
    assert shown["params"] == summary["trials"][2]["params"]
    assert "no trial '99'" in error_of(halosearch("cost", "tiny#99", cwd=folder, check=2))
    assert "trial" in halosearch("frontier", "studies/tiny", cwd=folder, check=0).stdout


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")
def test_running_it_again_changes_nothing_and_other_inputs_are_refused(undisturbed, monkeypatch):
    folder, summary = undisturbed
    again = json.loads(halosearch("study", "tiny", "--json", cwd=folder, check=0).stdout)
    assert again["trials"] == summary["trials"]
    for flags, words in (
        (["--seed", "2"], "seed 1, not 2"),
        (["--budget-params", "6M"], "params 5000000, not 6000000"),
        (["--sampler", "random"], "sampler pool, not random"),
        (["--preset", "cpu-2m"], "preset custom, not cpu-2m"),
    ):
        assert words in error_of(here("study", "tiny", *flags, cwd=folder, monkeypatch=monkeypatch))


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")
def test_an_edited_study_file_is_refused(undisturbed, tmp_path, monkeypatch):
    import shutil

    folder, _ = undisturbed
    shutil.copytree(folder, tmp_path / "c")
    path = tmp_path / "c" / "studies" / "tiny" / "study.yaml"
    path.write_text(path.read_text().replace("seed: 1", "seed: 7"))
    assert "begun with" in error_of(here("study", "tiny", cwd=tmp_path / "c", monkeypatch=monkeypatch))


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")
def test_a_damaged_store_is_left_alone_by_readers_and_recovered_from_its_backup_by_the_study(
    undisturbed, tmp_path, monkeypatch
):
    import shutil

    folder, summary = undisturbed
    shutil.copytree(folder, tmp_path / "c")
    study = tmp_path / "c" / "studies" / "tiny"
    journal, kept = study / "trials.journal", study / "trials.journal.damaged-1"
    whole = journal.read_bytes()
    damaged = whole[:200] + b"\n" + whole[300:]
    journal.write_bytes(damaged)

    def refused(command, words):
        done = here(command, "tiny", cwd=tmp_path / "c", monkeypatch=monkeypatch)
        assert done.returncode == 5
        assert words in error_of(done)

    refused("status", "damaged at line")
    assert journal.read_bytes() == damaged
    done = here("study", "tiny", "--json", cwd=tmp_path / "c", monkeypatch=monkeypatch)
    assert done.returncode == 0
    assert json.loads(done.stdout)["trials"] == summary["trials"]
    assert journal.read_bytes().startswith(whole)
    assert kept.read_bytes() == damaged
    for backup in study.glob("trials.journal.backup*"):
        backup.unlink()
    journal.write_bytes(damaged)
    refused("study", "damaged at line")
    assert journal.read_bytes() == damaged
    journal.unlink()
    refused("status", "missing")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.xdist_group("undisturbed")  # the study that they share is run once
def test_more_trials_continue_the_same_sequence(undisturbed, tmp_path):
    import shutil

    folder, summary = undisturbed
    shutil.copytree(folder, tmp_path / "c")
    more = json.loads(
        halosearch("study", "tiny", "--max-trials", 12, "--json", "--force", cwd=tmp_path / "c", check=0).stdout
    )
    assert [t["candidate"] for t in more["trials"][:8]] == [t["candidate"] for t in summary["trials"]]
    assert len({t["candidate"] for t in more["trials"]}) == 12


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("workers", [4, 1])
@pytest.mark.xdist_group("undisturbed")  # the study that they share is run once
def test_another_number_of_workers_makes_the_same_moves_and_scores(undisturbed, tmp_path, workers):
    path = tiny_search(tmp_path)
    halosearch("study", path, "--force", "--workers", workers, cwd=tmp_path, check=0)
    assert [t.moves for t in trials_of(tmp_path)] == [t.moves for t in trials_of(undisturbed[0])]
    assert proposals(tmp_path) == proposals(undisturbed[0])
    assert [t.result["score"] for t in trials_of(tmp_path)] == [t.result["score"] for t in trials_of(undisturbed[0])]


@pytest.mark.slow
@pytest.mark.long
def test_a_proxy_that_does_not_rank_is_searched_only_by_force(tmp_path):
    """Candidates whose training shows them one batch: their scores are noise, and two seeds agree on nothing."""
    path = tiny(tmp_path, trials=16, retests=15, sampler="pool", uniform=15, images=16)
    run = halosearch("study", path, cwd=tmp_path)
    verdict = json.loads(halosearch("status", "tiny", "--json", cwd=tmp_path, check=0).stdout)["validation"]
    if verdict["verdict"] != "failed":
        pytest.skip(f"fifteen pairs of noise agreed by chance: {verdict['reason']}")
    assert run.returncode == 7
    assert "does not rank" in error_of(run)
    assert "--force" in run.stderr
    assert len(trials_of(tmp_path)) == 15
    assert (tmp_path / "reports" / "tiny" / "index.html").exists()
    forced = json.loads(halosearch("study", "tiny", "--force", "--json", cwd=tmp_path, check=0).stdout)
    assert len(forced["trials"]) == 16
    assert forced["forced"]
    assert any("--force" in sentence for sentence in forced["answer"])


def after(run, count):
    """Wait for so many starts and ends of rows."""
    seen = 0
    for line in run.stderr:
        seen += "event=start" in line or "event=end" in line
        if seen == count:
            return


@pytest.mark.slow
@pytest.mark.xdist_group("undisturbed")  # the study that they share is run once
def test_killed_at_any_moment_and_started_again_every_row_ends_once_with_the_same_scores(undisturbed, tmp_path):
    rng = random.Random(0)
    tiny_search(tmp_path)
    for _ in range(2):
        run = start("study", "tiny.yaml", "--force", cwd=tmp_path)
        after(run, rng.randrange(1, 9))
        workers = children_of(run.pid)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert gone(workers)
    summary = json.loads(halosearch("study", "tiny.yaml", "--json", "--force", cwd=tmp_path, check=0).stdout)
    assert summary["counts"] == undisturbed[1]["counts"]

    def told(rows):
        """All but who was timed: that hangs on the times themselves."""
        kept = [row for row in rows if row.kind != STEP_TIME]
        return [(r.kind, r.candidate, r.seed, r.rung, r.after, r.known, r.state, r.scores) for r in kept]

    assert told(rows_in(tmp_path)) == told(rows_in(undisturbed[0]))
    timed = [row.trial for row in rows_in(tmp_path) if row.kind == STEP_TIME]
    assert len(timed) == len(set(timed)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_signal_ends_the_run_in_order_and_the_study_goes_on(tmp_path, number, code):
    tiny(tmp_path, images=6000, trials=3)
    run = start("study", "tiny.yaml", cwd=tmp_path)
    until_checkpoint(tmp_path, run)
    folder = tmp_path / "studies" / "tiny" / "checkpoints"
    asked = time.time()
    workers = children_of(run.pid)
    run.send_signal(number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == code
    assert "halosearch study tiny" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert gone(workers)
    assert (tmp_path / "reports" / "tiny" / "index.html").exists()
    assert max(path.stat().st_mtime for path in folder.glob("*.pt")) >= asked  # written anew when asked to stop
    assert trials_of(tmp_path)[0].state == "running"
    del out


@pytest.mark.slow
@pytest.mark.long
def test_a_second_signal_leaves_at_once_and_loses_nothing(tmp_path):
    tiny(tmp_path, images=4000, trials=3)
    run = start("study", "tiny.yaml", cwd=tmp_path)
    for line in run.stderr:
        if "event=start" in line and "trial-0" in line:
            break
    workers = children_of(run.pid)
    run.send_signal(signal.SIGINT)
    for line in run.stderr:
        if "once more to leave at once" in line:
            break
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130
    assert gone(workers)
    assert trials_of(tmp_path)[0].state == "running"


@pytest.mark.slow
@pytest.mark.long
def test_a_second_process_on_the_same_study_is_refused_and_status_says_it_runs(tmp_path):
    tiny(tmp_path, images=4000, trials=3)
    run = start("study", "tiny.yaml", cwd=tmp_path)
    for line in run.stderr:
        if "event=start" in line and "trial-0" in line:
            break
    assert "another process" in error_of(halosearch("study", "tiny.yaml", cwd=tmp_path, check=5))
    assert json.loads(halosearch("status", "tiny", "--json", cwd=tmp_path, check=0).stdout)["running_now"]
    run.kill()
    run.communicate()


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_worker_costs_a_second_run_of_its_trial(tmp_path):
    tiny(tmp_path, images=1000, trials=2)
    run = start("study", "tiny.yaml", "--json", cwd=tmp_path)
    for line in run.stderr:
        if "event=start" in line and "trial-0" in line:
            break
    for child in children_of(run.pid):
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    assert "requeued" in err
    assert "(run 2)" in err
    summary = json.loads(out)
    assert summary["counts"] == {"complete": 2}
    assert summary["provenance"]["runs_beyond_first"] >= 1


@pytest.mark.slow
@pytest.mark.long
def test_time_is_up_and_the_rest_waits_for_the_next_run(tmp_path):
    tiny(tmp_path, images=3000, trials=4)
    run = halosearch("study", "tiny.yaml", "--max-time", "25s", cwd=tmp_path, check=0)
    assert "time is up" in run.stderr
    assert run.stderr.splitlines()[-1].startswith("halosearch study tiny")


@pytest.mark.slow
def test_a_folder_of_photographs_is_studied_and_the_corrupt_file_named(tmp_path):
    make_tree(tmp_path / "photos")
    tiny(tmp_path, data="photos", trials=1)
    run = halosearch("study", "tiny.yaml", "--json", cwd=tmp_path, check=0)
    assert "beach/broken.jpg" in run.stderr
    summary = json.loads(run.stdout)
    assert [path for path, _ in summary["data"]["unreadable"]] == ["beach/broken.jpg"]
    assert [path for path, _ in summary["data"]["skipped"]] == ["forest/notes.txt"]
    assert set(summary["trials"][0]["accuracy"]) == {"class"}
    page = (tmp_path / "reports" / "tiny" / "index.html").read_text()
    assert "beach/broken.jpg" in page
    assert str(tmp_path) not in page
    # the pixels are what the study rests on, not the place where they lie
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert "--data" in halosearch("study", "tiny", "--max-trials", 2, cwd=tmp_path, check=4).stderr
    more = halosearch("study", "tiny", "--max-trials", 2, "--data", "moved", "--json", cwd=tmp_path, check=0)
    assert json.loads(more.stdout)["counts"] == {"complete": 2}
    assert "moved" in (tmp_path / "studies" / "tiny" / "study.yaml").read_text()
    make_tree(tmp_path / "others", 9)
    other = halosearch("study", "tiny", "--max-trials", 3, "--data", "others", cwd=tmp_path, check=4)
    assert "no longer what the study began with" in error_of(other)
    assert "others" not in (tmp_path / "studies" / "tiny" / "study.yaml").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_cifar_files_are_studied(tmp_path):
    make_cifar(tmp_path / "cifar")
    tiny(tmp_path, data="cifar", trials=2)
    run = halosearch("study", "tiny.yaml", "--json", cwd=tmp_path, check=0)
    assert json.loads(run.stdout)["data"]["description"].startswith("CIFAR-10 binary")
    assert "no way" not in run.stderr


@pytest.mark.slow
@pytest.mark.long
def test_diverging_trials_are_rows_with_their_reason_and_the_study_exits_7(tmp_path):
    path = tiny(tmp_path, trials=2)
    path.write_text(path.read_text().replace("learning_rate: 0.01", "learning_rate: 1.0e+30"))
    run = halosearch("study", "tiny.yaml", cwd=tmp_path, check=7)
    assert "no trial gave a usable result" in error_of(run)
    assert "loss" in error_of(run)
    assert [trial.state for trial in trials_of(tmp_path)] == ["failed", "failed"]
    assert (tmp_path / "reports" / "tiny" / "index.html").exists()


def _fill(disk):
    with contextlib.suppress(OSError):  # full is what it shall be; the study writes at the same time
        (disk / "filler").write_bytes(b"\0" * (os.statvfs(disk).f_bavail * 4096))


@pytest.mark.slow
@pytest.mark.long
def test_a_full_disk_is_said_and_nothing_recorded_is_lost(tmp_path):
    """A real full file system: a small tmpfs, filled while the study runs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    tiny(disk, images=600, trials=6)
    run = start("study", "tiny.yaml", cwd=disk)
    try:
        for line in run.stderr:
            if "event=end" in line and "trial-" in line:
                break
        recorded = [trial for trial in trials_of(disk) if trial.state == "complete"]
        _fill(disk)
        _, err = run.communicate(timeout=200)
        assert run.returncode == 4, err
        assert "error: the disk is full" in err
        assert "Traceback" not in err
        (disk / "filler").unlink()
        after = trials_of(disk)
        assert all(trial in after for trial in recorded)
        halosearch("study", "tiny.yaml", cwd=disk, check=0)
        assert [trial.state for trial in trials_of(disk)] == ["complete"] * 6
        _fill(disk)
        assert "MiB are free" in error_of(halosearch("study", "tiny.yaml", "--name", "other", cwd=disk, check=4))
    finally:
        run.kill()
        run.communicate()
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.slow
def test_a_signal_or_the_time_limit_ends_decoding_and_nothing_stays(tmp_path):
    """One large picture under many names: minutes of decoding on one core."""
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    first = tmp_path / "photos" / "ant" / "0.jpg"
    Image.effect_noise((2500, 2500), 60).convert("RGB").save(first, quality=95)
    for name in ("ant", "bee"):
        for index in range(1, 400):
            os.link(first, tmp_path / "photos" / name / f"{index}.jpg")
    path = tiny(tmp_path, data="photos", trials=1)
    path.write_text(path.read_text().replace("train_images: 64", "train_images: 640"))
    cache = tmp_path / "studies" / "tiny" / "cache"
    run = start("study", "tiny.yaml", cwd=tmp_path)
    while not list(cache.glob("*.partial-*")) and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "stopped while images were decoded" in err
    assert "halosearch study tiny" in err.splitlines()[-1]
    assert list(cache.iterdir()) == []
    limited = halosearch("study", "tiny", "--max-time", "1s", cwd=tmp_path, check=0)
    assert "stopped while images were decoded" in limited.stderr
    assert "time is up" in limited.stderr
    assert list(cache.iterdir()) == []


@pytest.mark.slow
@pytest.mark.long  # CI's search of EfficientNets is the one that asks for a member
def test_a_study_of_efficientnets_searches_their_own_dials_beside_the_nearest_halonet(tmp_path):
    path = tiny(tmp_path, trials=10, uniform=2, finalists=1, rivals="[nearest]")
    text = path.read_text()
    path.write_text(
        "family: efficientnet\n"
        + text[: text.index("space:")].replace("timing_batch:", "timed: all, timing_batch:")
        + "space: {s: [32, 48], w: [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1]}\n"
    )
    halosearch("study", path, "--force", cwd=tmp_path, check=0)
    table = pd.read_csv(tmp_path / "reports" / "tiny" / "trials.csv")
    candidates = table[table["trial"] >= 0]
    assert len(candidates) == 10
    assert candidates["width"].between(0.7, 1.1).all()
    assert candidates["candidate"].str.startswith("efficientnet").all()
    assert candidates["params"].between(4_750_000, 5_250_000).all()
    assert table[table["state"] == "rival"]["candidate"].str.startswith("s=48,b=8,h=3").all()
    for wanted in ("efficientnet-b0:s=48", "tiny#0", "efficientnet-b7:s=48"):
        said = json.loads(halosearch("predict", "tiny", wanted, "--json", cwd=tmp_path, check=0).stdout)
        assert said["candidates"][0]["predicted_step_time_low_s"] < said["candidates"][0]["predicted_step_time_high_s"]
        assert said["candidates"][0]["extrapolated"] == (wanted == "efficientnet-b7:s=48")
        assert set(said["audits"]) == {"efficientnet"}
    assert "has timed 0 networks" in error_of(halosearch("predict", "tiny", "resnet-50", cwd=tmp_path, check=7))
    same = halosearch("study", path, "--family", "halonet", cwd=tmp_path, check=2)
    assert "begun with family efficientnet, not halonet" in error_of(same)


@pytest.mark.slow
def test_a_member_is_asked_for_trained_beside_and_judged(tmp_path, monkeypatch):
    from halosearch.run import rediscover

    monkeypatch.setattr(rediscover, "DESIGN", {"trials": 7, "retests": 5})
    small = {"uniform": 5, "retests": 5, "finalists": 1, "final_seeds": 3, "rungs": [32, 64], "batch": 16, "train_images": 64,
             "test_images": 32, "norm_batches": 2, "timed": "none", "name": "cpu-2m"}  # fmt: skip
    monkeypatch.setattr(rediscover, "PRESET", small)
    monkeypatch.setattr(rediscover, "SIZES_FROM", 1)
    done = here("rediscover", "efficientnet-b0", "--force", "--json", cwd=tmp_path, monkeypatch=monkeypatch)
    found = json.loads(done.stdout)
    assert found["finished"]
    assert all(abs(trial["params"] / 5_288_548 - 1) <= 0.02 for trial in found["trials"])
    assert found["rivals"][0]["candidate"] == "efficientnet-b0"
    assert len(found["rivals"][0]["held_out_scores"]) == 3
    table = {each["id"]: each for each in found["rediscovery"]}
    assert "of 5 candidates drawn evenly score better" in table["R1"]["why"]
    assert "best found minus member" in table["R2"]["why"]
    assert table["R3"]["verdict"] in ("passed", "failed")
    assert found["answer"][0] == "Is EfficientNet-B0 found again?"
    again = here("rediscover", "efficientnet-b0", "--force", cwd=tmp_path, monkeypatch=monkeypatch)
    verdicts = ", ".join(f"R{n} {table[f'R{n}']['verdict']}" for n in range(4))
    assert again.stdout.startswith(f"{verdicts}. Trial ")
    assert "\nEfficientNet-B0 " in again.stdout  # over all members
    over_all = json.loads((tmp_path / "reports" / "rediscovery" / "rediscovery.json").read_text())
    assert [each["verdict"] for each in over_all["members"][0]["statements"]] == [
        table[f"R{n}"]["verdict"] for n in range(4)
    ]
    assert "slopes need 3 members that were searched for; there are 1" in over_all["over_all"][0]["why"]
    page = (tmp_path / "reports" / "rediscovery" / "index.html").read_text()
    assert '<h2 id="h-rediscover-efficientnet-b0">EfficientNet-B0</h2>' in page
    assert "no experiment on the paper&#39;s trends is here" in page
    assert "no published member" in error_of(here("rediscover", "h9", cwd=tmp_path, monkeypatch=monkeypatch))
