"""What a study may use up, watched while it runs: GPU-hours over all of its runs, and the disk."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from halosearch.errors import EnvironmentFault
from halosearch.files import write_text

MIN_FREE_BYTES = 200 * 2**20
"""A study does not begin with less."""
STOP_FREE_BYTES = 100 * 2**20
"""A running study stops in order before less is left: checkpoints and records still fit."""
LOOK_EVERY_S = 5.0
WRITE_EVERY_S = 10.0


def check_disk(folder: Path, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
    """Refuse to begin where the disk is nearly full.

    Raises:
        EnvironmentFault: less than 200 MiB are free.
    """
    free = usage(folder)[2]
    if free < MIN_FREE_BYTES:
        raise EnvironmentFault(
            f"only {free / 2**20:.0f} MiB are free where {folder} lies; a study needs {MIN_FREE_BYTES / 2**20:.0f}",
            "free some space, or choose another folder with --dir",
        )


@dataclass(slots=True)
class ResourceMonitor:
    """Looks now and then, and says why the study should stop.

    GPU-seconds are workers at work x their share of a GPU x time, whatever comes of the work. They are written down every ten
    seconds, so that a killed run is counted too, but for its last seconds.

    Args:
        folder: of the study. file: where GPU-seconds are kept between runs.
        gpus: share of a GPU that one evaluation holds. max_gpu_seconds: of all runs together.
    """

    folder: Path
    file: Path
    gpus: float = 0.0
    max_gpu_seconds: float | None = None
    clock: Callable[[], float] = time.monotonic
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    spent: float = 0.0
    disk_full: bool = False
    _last: float | None = None
    _running: int = 0
    _looked: float = field(default=float("-inf"))
    _written: float = field(default=float("-inf"))

    def __post_init__(self) -> None:
        """Go on from what earlier runs have spent."""
        if self.file.exists():
            self.spent = float(json.loads(self.file.read_text())["gpu_seconds"])

    def look(self, running: int) -> str | None:
        """Take note of the time since the last look, in which as many evaluations ran as were said then. A reason to stop, or None."""
        now = self.clock()
        if self._last is not None:
            self.spent += (now - self._last) * self._running * self.gpus
        self._last, self._running = now, running
        if self.gpus and now - self._written > WRITE_EVERY_S:
            self.write()
        if self.max_gpu_seconds is not None and self.spent >= self.max_gpu_seconds:
            return f"{self.spent / 3600:.2f} GPU-hours are used, of {self.max_gpu_seconds / 3600:g}"
        if now - self._looked > LOOK_EVERY_S:
            self._looked = now
            free = self.usage(self.folder)[2]
            self.disk_full = free < STOP_FREE_BYTES
        return "the disk is nearly full" if self.disk_full else None

    def write(self) -> None:
        """Keep what was spent."""
        self._written = self.clock()
        if self.gpus:
            write_text(self.file, json.dumps({"gpu_seconds": round(self.spent, 3)}))
