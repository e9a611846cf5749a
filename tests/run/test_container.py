"""Cores and memory of control groups, in pretended files of both versions."""

import os

import psutil
import pytest

from halosearch.container import cores, memory_bytes

HERE = len(os.sched_getaffinity(0))


def groups(tmp_path, own, **files):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "mount" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mount", tmp_path / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu_DOT_max": "50000 100000\n"}, 1),
        ("0::/job/step\n", {"job__step__cpu_DOT_max": "max 100000\n", "job__cpu_DOT_max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu_DOT_max": "max 100000\n"}, 99),
        ("4:cpu,cpuacct:/docker/1\n", {"cpu__docker__1__cpu_DOT_cfs_quota_us": "100000", "cpu__docker__1__cpu_DOT_cfs_period_us": "100000"}, 1),
        ("4:cpu,cpuacct:/\n", {"cpu__cpu_DOT_cfs_quota_us": "-1", "cpu__cpu_DOT_cfs_period_us": "100000"}, 99),
        ("0::/\n", {"cpu_DOT_max": "nonsense"}, 99),
        ("", {}, 99),
    ],
)  # fmt: skip
def test_cores_are_those_of_the_quota(tmp_path, own, files, expected):
    assert cores(*groups(tmp_path, own, **files)) == min(HERE, expected)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a\n", {"a__memory_DOT_max": "734003200", "a__memory_DOT_current": "34003200"}, 700_000_000),
        ("0::/a\n", {"a__memory_DOT_max": "max", "memory_DOT_max": "100", "memory_DOT_current": "200"}, 0),
        ("9:memory:/a\n", {"memory__a__memory_DOT_limit_in_bytes": "500000000", "memory__a__memory_DOT_usage_in_bytes": "1"}, 499_999_999),
    ],
)  # fmt: skip
def test_memory_is_what_the_limit_leaves(tmp_path, own, files, expected):
    assert memory_bytes(*groups(tmp_path, own, **files)) == expected


def test_without_limits_memory_is_the_machines(tmp_path):
    found = memory_bytes(*groups(tmp_path, "9:memory:/\n", memory__memory_DOT_limit_in_bytes=str(2**63 - 4096)))
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
