"""How a running study shows itself: a panel on a terminal, event lines anywhere else, JSON lines for programs. All but the last on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from halosearch.cli.tally import Tally

if TYPE_CHECKING:
    from rich.console import RenderableType

    from halosearch.record.evaluation import Evaluation

HEARTBEAT_S = 300.0


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
                done = f"{self.tally.done}/{self.tally.expected}"
                self._line(event="heartbeat", running=len(self.tally.running), done=done, left=self.tally.remaining())

    def message(self, text: str) -> None:
        """A line that is no event of an evaluation."""
        self._line(event="note", text=text)

    def event(self, kind: str, row: Evaluation, info: dict[str, Any]) -> None:
        """An event of an evaluation; progress is silent."""
        words = self.tally.event(kind, row, info)
        if words is not None:
            self._line(event=kind, row=row.key, done=f"{self.tally.done}/{self.tally.expected}", text=words)

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

    def event(self, kind: str, row: Evaluation, info: dict[str, Any]) -> None:
        """Redraw; failures, requeues and new bests also scroll."""
        with self._lock:
            words = self.tally.event(kind, row, info)
        if words is not None and (
            kind in ("requeued", "stopped") or "new best" in words or (kind == "end" and info["state"] != "complete")
        ):
            self.message(words)

    def replace(self, tally: Tally) -> None:
        """Another count in place of this one."""
        with self._lock:
            self.tally = tally

    def _draw(self) -> RenderableType:
        from rich.text import Text

        with self._lock:
            lines = self.tally.lines(
                self._title, self._where, self._console.width, plain="utf" not in self._console.encoding.lower()
            )
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def close(self) -> None:
        """Clear the panel."""
        self._live.stop()
