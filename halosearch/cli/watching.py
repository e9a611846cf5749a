"""`halosearch status --watch`: a study that runs elsewhere, seen from its record."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halosearch.cli.output import put, say
from halosearch.cli.tally import Tally, count_rows

if TYPE_CHECKING:
    from halosearch.record.evaluation import Evaluation
    from halosearch.record.trials import Trial
    from halosearch.report.reading import Opened

EVERY_S = 2.0
RECENT_WORDS = 5


def watch_study(study: str, root: Path, *, json_lines: bool) -> None:
    """Show a study until nobody runs it any more; reads its record only, so it can be stopped at any time.

    On a terminal the panel of `study`; elsewhere a line for every trial that ended since the last look.
    """
    from halosearch.record.trials import trials_of
    from halosearch.report.reading import open_study
    from halosearch.search.design import price_of

    opened = open_study(root, study)
    panel = _panel(opened) if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not json_lines else None
    total, seen = price_of(opened.spec).rows, dict[int, str]()
    began = time.monotonic()
    try:
        while True:
            running = _driven(opened)
            rows = opened.rows
            trials = trials_of(rows)
            tally = _tally(total, rows, trials, began)
            if panel is not None:
                panel.replace(tally)
            else:
                _lines(tally, trials, seen, json_lines=json_lines)
            if not running:
                break
            time.sleep(EVERY_S)
    finally:
        if panel is not None:
            panel.close()
    name = opened.folders.study.name
    say(f"nobody runs study {name} now: {tally.done} of {total} done")
    say(f"next: halosearch report {name}")


def _driven(opened: Opened) -> bool:
    from halosearch.record.storage import is_driven

    return is_driven(opened.spec, opened.folders)


def _panel(opened: Opened) -> Any:
    from halosearch.cli.progress import Panel

    spec = opened.spec
    title = f"study {spec.name}, watched: {spec.budget.params:,} parameters ±{100 * spec.budget.tolerance:g} %, preset {spec.preset.name}"
    return Panel(Tally(1), title, f"report {opened.folders.report / 'index.html'}")


def _tally(total: int, rows: Sequence[Evaluation], trials: list[Trial], began: float) -> Tally:
    tally = Tally(total, started=began)
    count_rows(tally, rows)
    open_ = [trial for trial in trials if trial.state == "running"]
    tally.recent.extend(_words(trial) for trial in [t for t in trials if t.state != "running"][-RECENT_WORDS:])
    tally.recent.append(f"{len(open_)} trials are open")
    return tally


def _words(trial: Trial) -> str:
    if trial.state == "complete":
        step = trial.result.get("step_time_s")
        words = f"trial-{trial.number} complete: score {trial.result['score']:.3f}"
        return words if step is None else f"{words}, step {step:.3g} s"
    return f"trial-{trial.number} {trial.state}: {trial.reason}"


def _lines(tally: Tally, trials: list[Trial], seen: dict[int, str], *, json_lines: bool) -> None:
    """A line for every trial whose state is new."""
    for trial in trials:
        if seen.get(trial.number) == trial.state or trial.state == "running":
            continue
        seen[trial.number] = trial.state
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        done = f"{tally.done}/{tally.expected}"
        if json_lines:
            event = {"time": stamp, "event": "end", "row": f"trial-{trial.number}", "state": trial.state, "done": done}
            put(json.dumps(event | {"score": trial.result.get("score"), "reason": trial.reason}))
        else:
            put(f"{stamp} event=end row=trial-{trial.number} done={done} text={json.dumps(_words(trial))}")
