"""What is counted against GPU-hours and disk, on a clock and a disk that the test holds."""

import json
from collections import namedtuple

import pytest

from halosearch.errors import EnvironmentFault
from halosearch.run.resource_monitor import STOP_FREE_BYTES, ResourceMonitor, check_disk

Usage = namedtuple("Usage", "total used free")


def watch(folder, now, free=10**12, **options):
    return ResourceMonitor(
        folder, folder / "spent.json", clock=lambda: now[0], usage=lambda _: Usage(0, 0, free), **options
    )


def test_gpu_seconds_are_jobs_times_their_share_times_time(tmp_path):
    now = [0.0]
    held = watch(tmp_path, now, gpus=0.5)
    held.look(4)
    now[0] = 10.0
    held.look(2)
    now[0] = 13.0
    held.look(0)
    now[0] = 100.0
    held.look(0)
    assert held.spent == 4 * 0.5 * 10 + 2 * 0.5 * 3


def test_all_runs_count_together_and_a_killed_one_loses_ten_seconds_at_most(tmp_path):
    now = [0.0]
    first = watch(tmp_path, now, gpus=1.0)
    for second in range(35):
        now[0] = float(second)
        first.look(1)
    kept = json.loads((tmp_path / "spent.json").read_text())["gpu_seconds"]
    assert 34 - 11 <= kept <= 34
    again = watch(tmp_path, [0.0], gpus=1.0, max_gpu_seconds=36.0)
    assert again.spent == kept
    assert again.look(1) is None


def test_gpu_hours_used_up_are_a_reason_to_stop(tmp_path):
    now = [0.0]
    held = watch(tmp_path, now, gpus=2.0, max_gpu_seconds=7200.0)
    assert held.look(1) is None
    now[0] = 3600.0
    assert held.look(1) == "2.00 GPU-hours are used, of 2"


def test_no_gpu_nothing_is_written(tmp_path):
    now = [0.0]
    held = watch(tmp_path, now)
    held.look(3)
    now[0] = 60.0
    held.look(3)
    held.write()
    assert held.spent == 0.0
    assert not (tmp_path / "spent.json").exists()


def test_a_disk_that_fills_up_is_noticed_within_seconds(tmp_path):
    now, free = [0.0], [10**12]
    held = ResourceMonitor(tmp_path, tmp_path / "s", clock=lambda: now[0], usage=lambda _: Usage(0, 0, free[0]))
    assert held.look(1) is None
    free[0] = STOP_FREE_BYTES - 1
    now[0] = 6.0
    assert held.look(1) == "the disk is nearly full"
    assert held.disk_full


def test_a_nearly_full_disk_is_refused_before_anything_begins(tmp_path):
    with pytest.raises(EnvironmentFault, match="only 100 MiB are free"):
        check_disk(tmp_path, lambda _: Usage(0, 0, 100 * 2**20))
