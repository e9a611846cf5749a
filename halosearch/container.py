"""What of this machine is ours: cores and memory of the control group (container, batch job, systemd unit), not of the host."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

MOUNT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60
"""Version 1 says a number near 2^63 where there is no limit."""


def cores(mount: Path = MOUNT, own: Path = OWN) -> int:
    """Cores that this process may keep busy: those that it may run on, and at most its quota, rounded up."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *(math.ceil(quota) for quota in _quotas(mount, own))]))


def memory_bytes(mount: Path = MOUNT, own: Path = OWN) -> int:
    """Bytes of main memory that are free for this process: the machine's, and at most what its limits leave."""
    return int(min([psutil.virtual_memory().available, *_left(mount, own)]))


def _groups(mount: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that a process lies in, from its own to the root: version 2's, or version 1's of a controller."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            root = mount
        elif controller in controllers.split(","):
            root = mount / controller
        else:
            continue
        inside = path.strip("/")
        while True:
            yield root / inside if inside else root
            if not inside:
                break
            inside = inside.rpartition("/")[0]


def _numbers(path: Path) -> list[int]:
    """Whole numbers in a file; none where there is none, or it says "max"."""
    try:
        words = path.read_text().split()
    except OSError:
        return []
    return [int(word) for word in words] if words and all(word.lstrip("-").isdigit() for word in words) else []


def _quotas(mount: Path, own: Path) -> Iterator[float]:
    for group in _groups(mount, own, "cpu"):
        match _numbers(group / "cpu.max"):
            case [quota, period] if period > 0:
                yield quota / period
        match _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us"):
            case [quota, period] if quota > 0 and period > 0:
                yield quota / period


def _given_back(group: Path) -> int:
    """Bytes of files' pages that are counted as used and are given back when memory is wanted."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    pages = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
    return int(pages.get("total_inactive_file", pages.get("inactive_file", "0")))


def _left(mount: Path, own: Path) -> Iterator[int]:
    for group in _groups(mount, own, "memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            match _numbers(group / limit) + _numbers(group / used):
                case [most, now] if most < UNLIMITED:
                    yield max(0, most - now + _given_back(group))
