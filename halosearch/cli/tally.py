"""What a study has done so far: counted from events or from its record, and written as the lines of a panel."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from halosearch.record.candidates import text_of

if TYPE_CHECKING:
    from halosearch.record.evaluation import Evaluation

RECENT = 5
SHOWN_RUNNING = 6
HEIGHT = 5 + SHOWN_RUNNING + 1 + RECENT + 1
"""Rows of a panel, whatever there is to show."""
BAR = 30
TREND = 24
BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class Tally:
    """What the study has done so far in this run and before: enough for a panel and a forecast of the rest."""

    total: int
    done: int = 0
    failed: int = 0
    workers: int = 1
    best: tuple[float, int, str] | None = None
    points: list[tuple[float, float]] = field(default_factory=list)
    """Score and GMACs of every complete trial: step times come later, and only for some."""
    running: dict[str, tuple[float, float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    started: float = field(default_factory=time.monotonic)
    _drawn: tuple[tuple[int, bool], list[str]] | None = None

    @property
    def expected(self) -> int:
        """Rows in all: `total` was a forecast of the step times, of which there may be more."""
        return max(self.total, self.done + len(self.running))

    def event(self, kind: str, row: Evaluation, info: dict[str, Any]) -> str | None:
        """Take note; returns a sentence for events that a reader wants to see, None for progress."""
        if kind == "start":
            self.running[row.key] = (time.monotonic(), 0.0)
            again = f" (run {info['run']})" if info.get("run", 1) > 1 else ""
            return f"{row.key} started{again}" + (f": {_candidate(row)}" if row.candidate else "")
        if kind == "progress":
            self.running[row.key] = (self.running[row.key][0], info["images"] / max(1, info["total"]))
            return None
        begun = self.running.pop(row.key, (time.monotonic(), 0.0))[0]
        if kind == "pause":
            self.done += 1
            return (
                f"{row.key} reached its rung: score {info['score']:.3f} after {info['final']['images_seen']:,} images"
            )
        if kind == "end":
            return self._ended(row, info, time.monotonic() - begun)
        return f"{row.key} {kind}" + (f": {info['reason']}" if info.get("reason") else "")

    def _ended(self, row: Evaluation, info: dict[str, Any], seconds: float) -> str:
        self.done += 1
        if info["state"] != "complete":
            self.failed += 1
            return f"{row.key} {info['state']}: {info['reason']}"
        if "score" not in info:
            return f"{row.key} complete"
        self.durations.append(seconds)
        words = f"{row.key} complete: score {info['score']:.3f}"
        if "step_time_s" in info:
            words += f", step {info['step_time_s']:.3g} s"
        if row.kind == "trial":
            self.points.append((info["score"], row.costs["macs"] / 1e9))
            if self.best is None or info["score"] > self.best[0]:
                self.best = (info["score"], row.trial, _candidate(row))
                words += " (new best)"
        self.recent.append(words)
        return words

    def front(self) -> str:
        """The front against MACs in one line: how many candidates, from which score and cost to which."""
        from pandas import DataFrame

        from halosearch.analysis.frontier import front_mask

        if not self.points:
            return "front: none yet"
        rows = DataFrame(self.points, columns=["score", "step_time_s"])
        front = sorted(p for p, kept in zip(self.points, front_mask(rows), strict=True) if kept)
        (low, fast), (high, slow) = front[0], front[-1]
        return f"front: {len(front)} candidates, score {low:.3f} at {fast:.3g} GMACs to {high:.3f} at {slow:.3g} GMACs"

    def remaining(self) -> str:
        """How long the rest may take, as a range of quartiles."""
        if len(self.durations) < 2:
            return "?"
        ordered = sorted(self.durations)
        left = max(0, self.expected - self.done) / self.workers
        low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
        return f"{left * low / 60:.0f}-{left * high / 60:.0f} min"

    def trend(self, *, plain: bool) -> str:
        """How the hypervolume has grown over the complete trials; the last number is now."""
        from pandas import DataFrame

        from halosearch.analysis.frontier import hypervolume_history

        rows = DataFrame(self.points, columns=["score", "step_time_s"]).assign(
            trial=range(len(self.points)), state="complete"
        )
        values = [value for _, value in hypervolume_history(rows)]
        if not values:
            return "hypervolume: none yet"
        picked = (
            values if len(values) <= TREND else [values[k * (len(values) - 1) // (TREND - 1)] for k in range(TREND)]
        )
        top = max(values) or 1.0
        drawn = "" if plain else " " + "".join(BLOCKS[min(7, int(8 * value / top))] for value in picked)
        last = max((n for n in range(len(values)) if n == 0 or values[n] > values[n - 1]), default=0)
        return f"hypervolume:{drawn} {values[-1]:.4g}, last grew {len(values) - 1 - last} complete trials ago"

    def _of_points(self, *, plain: bool) -> list[str]:
        """Front and trend, computed again only when a trial has come in: a panel is drawn twice a second."""
        if self._drawn is None or self._drawn[0] != (len(self.points), plain):
            self._drawn = ((len(self.points), plain), [self.front(), self.trend(plain=plain)])
        return self._drawn[1]

    def lines(self, title: str, where: str, width: int, *, plain: bool = False) -> list[str]:
        """`HEIGHT` lines, none wider than `width`; progress before everything else."""
        share = min(1.0, self.done / max(1, self.expected))
        bar = "#" * round(BAR * share) + "." * (BAR - round(BAR * share))
        elapsed = (time.monotonic() - self.started) / 60
        best = f"best: {self.best[0]:.3f}, trial {self.best[1]}, {self.best[2]}" if self.best else "best: none yet"
        shown = [
            title,
            f"[{bar}] {self.done}/{self.expected}  {elapsed:.1f} min, {self.remaining()} left",
            best,
            *self._of_points(plain=plain),
        ]
        running = sorted(self.running.items())
        for key, (begun, part) in running[:SHOWN_RUNNING]:
            shown.append(f"  running {key}: {part:.0%}, {time.monotonic() - begun:.0f} s")
        if len(running) > SHOWN_RUNNING:
            shown.append(f"  and {len(running) - SHOWN_RUNNING} more")
        shown += [f"  {line}" for line in self.recent]
        shown += [""] * (HEIGHT - 1 - len(shown)) + [where]
        if plain:
            shown = [line.encode("ascii", "replace").decode() for line in shown]
        return [_cut(line, width, "~" if plain else "…") for line in shown]


def _cut(line: str, width: int, mark: str) -> str:
    """The line in so many columns; wide characters take two."""
    from rich.cells import cell_len, set_cell_size

    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + mark


def _candidate(row: Evaluation) -> str:
    return text_of(row.candidate)


def count_rows(tally: Tally, rows: Sequence[Evaluation]) -> None:
    """Add what a record holds to a fresh count."""
    ended = [row for row in rows if row.state != "running"]
    tally.done = len(ended)
    tally.failed = sum(row.state in ("failed", "infeasible") for row in ended)
    whole = [row for row in ended if row.kind == "trial" and row.state == "complete"]
    tally.durations = [float(row.result["seconds"]) for row in whole if "seconds" in row.result]
    tally.points = [(float(row.result["score"]), row.costs["macs"] / 1e9) for row in whole]
    if whole:
        best = max(whole, key=lambda row: float(row.result["score"]))
        tally.best = (float(best.result["score"]), best.trial, _candidate(best))
