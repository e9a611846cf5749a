"""What one evaluation may take, and how it is recorded when it takes more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may take: seconds of work in a worker (not suspended ones), bytes of main memory; None: as much as there is."""

    seconds: float | None = None
    memory_bytes: int | None = None

    def excess(self, pid: int | None, seconds: float) -> dict[str, Any]:
        """The result of an evaluation that took more than it may, after so many seconds in the process `pid`; empty where it did not."""
        if self.seconds is not None and seconds > self.seconds:
            reason = f"was ended after {self.seconds:,.0f} s, the time that a trial may take"
            return {"state": "failed", "reason": reason, "seconds": seconds}
        limit = self.memory_bytes
        if limit is not None and (used := own_memory(pid)) > limit:
            reason = f"was ended at {used / 2**20:,.0f} MiB of memory; a trial may take {limit / 2**20:,.0f}"
            return {"state": "infeasible", "reason": reason, "seconds": seconds}
        return {}


def is_stopped(pid: int | None) -> bool:
    """Whether a process is suspended (SIGSTOP, a debugger): its time is no work."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def own_memory(pid: int | None) -> int:
    """Bytes of main memory that a process has for itself: what it shares (decoded images, libraries) is not counted."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))
