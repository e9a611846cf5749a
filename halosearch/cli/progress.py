"""How a running study shows itself: a panel on a terminal, event lines anywhere else, JSON lines for programs. All but the last on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from halosearch.space.notation import candidate_text
from halosearch.space.search_space import config_from_dials

if TYPE_CHECKING:
    from rich.table import Table

    from halosearch.search.jobs import Job

HEARTBEAT_S = 300.0
RECENT = 5
SHOWN_RUNNING = 6


@dataclass(slots=True)
class Tally:
    """What the study has done so far in this run and before: enough for a panel and a forecast of the rest."""

    total: int
    done: int = 0
    failed: int = 0
    workers: int = 1
    best: tuple[float, int, str] | None = None
    points: list[tuple[float, float]] = field(default_factory=list)
    running: dict[str, tuple[float, float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    started: float = field(default_factory=time.monotonic)

    def event(self, kind: str, job: Job, info: dict[str, Any]) -> str | None:
        """Take note; returns a sentence for events that a reader wants to see, None for progress."""
        if kind == "start":
            self.running[job.key] = (time.monotonic(), 0.0)
            again = f" (run {info['run']})" if info.get("run", 1) > 1 else ""
            return f"{job.key} started{again}: {candidate_text(config_from_dials(job.dials))}"
        if kind == "progress":
            self.running[job.key] = (self.running[job.key][0], info["images"] / max(1, info["total"]))
            return None
        begun = self.running.pop(job.key, (time.monotonic(), 0.0))[0]
        if kind == "pause":
            return (
                f"{job.key} reached its rung: score {info['score']:.3f} after {info['final']['images_seen']:,} images"
            )
        if kind == "end":
            return self._ended(job, info, time.monotonic() - begun)
        return f"{job.key} {kind}" + (f": {info['reason']}" if info.get("reason") else "")

    def _ended(self, job: Job, info: dict[str, Any], seconds: float) -> str:
        self.done += 1
        if info["state"] == "pruned":
            return f"{job.key} stopped: {info['reason']}"
        if info["state"] != "complete":
            self.failed += 1
            return f"{job.key} {info['state']}: {info['reason']}"
        self.durations.append(seconds)
        words = f"{job.key} complete: score {info['score']:.3f}"
        if "step_time_s" in info:
            words += f", step {info['step_time_s']:.3g} s"
        if job.kind == "trial":
            self.points.append((info["score"], info["step_time_s"]))
        if job.kind == "trial" and (self.best is None or info["score"] > self.best[0]):
            self.best = (info["score"], job.number, candidate_text(config_from_dials(job.dials)))
            words += " (new best)"
        self.recent.append(words)
        return words

    def front(self) -> str:
        """The front in one line: how many candidates, from which score and step to which."""
        from pandas import DataFrame

        from halosearch.analysis.frontier import front_mask

        if not self.points:
            return "front: none yet"
        rows = DataFrame(self.points, columns=["score", "step_time_s"])
        front = sorted(p for p, kept in zip(self.points, front_mask(rows), strict=True) if kept)
        (low, fast), (high, slow) = front[0], front[-1]
        return f"front: {len(front)} candidates, score {low:.3f} at {fast:.3g} s to {high:.3f} at {slow:.3g} s"

    def remaining(self) -> str:
        """How long the rest may take, as a range of quartiles."""
        if len(self.durations) < 2:
            return "?"
        ordered = sorted(self.durations)
        left = max(0, self.total - self.done) / self.workers
        low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
        return f"{left * low / 60:.0f}-{left * high / 60:.0f} min"


class Lines:
    """One key=value line per event, ISO time first, and a heartbeat; no ANSI, whatever the environment says."""

    def __init__(self, tally: Tally, write: Callable[[str], Any] | None = None) -> None:
        """Write to stderr unless told otherwise."""
        self.tally, self._write, self._last = tally, write or sys.stderr.write, time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        """A sign of life whenever nothing was said for five minutes, whatever the study is busy with."""
        while not self._closed.wait(1.0):
            if time.monotonic() - self._last >= HEARTBEAT_S:
                done = f"{self.tally.done}/{self.tally.total}"
                self._line(event="heartbeat", running=len(self.tally.running), done=done, left=self.tally.remaining())

    def message(self, text: str) -> None:
        """A line that is no event of a job."""
        self._line(event="note", text=text)

    def event(self, kind: str, job: Job, info: dict[str, Any]) -> None:
        """An event of a job; progress is silent."""
        words = self.tally.event(kind, job, info)
        if words is not None:
            self._line(event=kind, job=job.key, done=f"{self.tally.done}/{self.tally.total}", text=words)

    def _line(self, **fields: Any) -> None:
        self._last = time.monotonic()
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(
            f"{stamp} "
            + " ".join(f"{key}={json.dumps(v) if ' ' in (v := str(value)) else v}" for key, value in fields.items())
            + "\n"
        )
        sys.stderr.flush()

    def close(self) -> None:
        """No more signs of life."""
        self._closed.set()


class JsonLines(Lines):
    """Events as JSON lines on stdout."""

    def _line(self, **fields: Any) -> None:
        self._last = time.monotonic()
        sys.stdout.write(json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **fields}) + "\n")
        sys.stdout.flush()


class Panel:
    """A live panel of fixed height on stderr; lines worth keeping scroll above it."""

    def __init__(self, tally: Tally, title: str, where: str) -> None:
        """Begin drawing."""
        from rich.console import Console
        from rich.live import Live

        self.tally, self._title, self._where = tally, title, where
        self._console = Console(stderr=True)
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=2, transient=True)
        self._live.start()

    def message(self, text: str) -> None:
        """A line above the panel."""
        self._console.print(text, markup=False, highlight=False)

    def event(self, kind: str, job: Job, info: dict[str, Any]) -> None:
        """Redraw; failures, requeues and new bests also scroll."""
        with self._lock:
            words = self.tally.event(kind, job, info)
        if words is not None and (
            kind in ("requeued", "stopped") or "new best" in words or (kind == "end" and info["state"] != "complete")
        ):
            self.message(words)

    def _draw(self) -> Table:
        from rich.table import Table

        with self._lock:
            tally = self.tally
            grid = Table.grid()
            grid.add_column(no_wrap=True, overflow="ellipsis")
            elapsed = (time.monotonic() - tally.started) / 60
            width = max(1, round(40 * tally.done / max(1, tally.total)))
            grid.add_row(self._title)
            grid.add_row(
                f"[{'#' * width}{'.' * (40 - width)}] {tally.done}/{tally.total}  {elapsed:.1f} min, {tally.remaining()} left".replace(
                    "[", "\\[", 1
                )
            )
            best = (
                f"best: {tally.best[0]:.3f}, trial {tally.best[1]}, {tally.best[2]}" if tally.best else "best: none yet"
            )
            grid.add_row(best)
            grid.add_row(tally.front())
            running = sorted(tally.running.items())
            for key, (begun, share) in running[:SHOWN_RUNNING]:
                grid.add_row(f"  running {key}: {share:.0%}, {time.monotonic() - begun:.0f} s")
            if len(running) > SHOWN_RUNNING:
                grid.add_row(f"  and {len(running) - SHOWN_RUNNING} more")
            for line in tally.recent:
                grid.add_row(f"  {line}")
            grid.add_row(self._where)
        return grid

    def close(self) -> None:
        """Clear the panel."""
        self._live.stop()
