"""From a study's record to its report: the facts that go beside the trials, the summary, the page."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from halosearch.record.folders import Folders
from halosearch.record.store import COMPLETE, Store, Trial
from halosearch.report.summary import Evidence, summarise
from halosearch.search.candidates import comparison_with_published
from halosearch.search.checks import validation_of, uniform_trials
from halosearch.spec.presets import PRESETS
from halosearch.spec.study import StudySpec, make_tier, preset_space

DATA_FILE = "data.json"
QUIET = 9.0
"""After the report was written, it is left alone for so many times as long as that took."""


def evidence(spec: StudySpec, folders: Folders, store: Store, cell_size: int) -> Evidence:
    """What the report is made of; the step-time prediction is fitted over and over, which takes seconds in long studies."""
    facts_file = folders.study / DATA_FILE
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {"description": spec.data}
    shown = spec.model_dump(mode="json") | {
        "data": Path(spec.data).name,
        "storage": None if spec.storage is None else "a database",
    }  # no path of a machine and no address in what is mailed around
    from halosearch.analysis.step_times import audited, setting_for, timed_trials
    from halosearch.cost.step_time import fit  # torch: not for usage errors

    trials = store.trials()
    setting = setting_for(spec)
    timed = timed_trials(trials, setting)
    prediction = audited(timed, fit(timed.values(), setting))
    notes = store.notes()
    validation = validation_of(spec, trials, notes)
    published = comparison_with_published(spec)
    even, command = uniform_trials(spec), command_of(spec)
    return Evidence(shown, trials, notes, cell_size, facts, published, validation, prediction, even, command)


def command_of(spec: StudySpec) -> str:
    """The line that runs the same study anew; one whose space or preset was written by hand needs its file."""
    preset = PRESETS.get(spec.preset.name)
    if preset is None or spec.preset != make_tier(preset, {"uniform": spec.preset.uniform}):
        return "halosearch study study.yaml"
    if spec.search_space() != preset_space(spec.preset, {}):
        return "halosearch study study.yaml"
    budget = spec.budget
    words = ["halosearch", "study", "--budget-params", str(budget.params)]
    if budget.max_macs is not None:
        words += ["--budget-macs", str(budget.max_macs)]
    words += ["--tolerance", f"{100 * budget.tolerance:g}%", "--name", f"{spec.name}-again", "--preset", spec.preset.name]
    words += ["--seed", str(spec.seed), "--sampler", spec.sampler, "--max-trials", str(spec.trials)]
    words += ["--retests", str(spec.retests), "--lookahead", str(spec.lookahead), "--device", spec.device]
    if spec.data != spec.preset.scenes:
        words += ["--data", Path(spec.data).name]
    return shlex.join(words)


class Publisher:
    """Writes the report at the end, and while the study runs when the front gains a member.

    While it runs the report takes a tenth of the time at most: what is held back is written with a later member, or at the end.
    """

    def __init__(
        self,
        spec: StudySpec,
        folders: Folders,
        store: Store,
        cell_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The front as recorded; nothing is written yet."""
        self._spec, self._folders, self._store, self._cell_size = spec, folders, store, cell_size
        self._clock, self._not_before = clock, float("-inf")
        self._front: list[tuple[float, float]] = []
        for trial in store.trials():
            self._joins_front(trial)
        self._owed = False

    def publish(self) -> tuple[dict[str, Any], Path]:
        """Write the report; returns its summary and its page."""
        from halosearch.report.page import write_report  # plotly and matplotlib: not for commands that only read

        began = self._clock()
        summary = summarise(evidence(self._spec, self._folders, self._store, self._cell_size))
        page = write_report(self._folders.report, summary)
        self._owed, self._not_before = False, self._clock() + QUIET * (self._clock() - began)
        return summary, page

    def refresh(self, trial: Trial) -> None:
        """Called at the end of every trial."""
        self._owed = self._joins_front(trial) or self._owed
        if self._owed and self._clock() >= self._not_before:
            self.publish()

    def _joins_front(self, trial: Trial) -> bool:
        if trial.state != COMPLETE:
            return False
        score, step = float(trial.result["score"]), float(trial.result["step_time_s"])
        if any(s >= score and t <= step for s, t in self._front):
            return False
        self._front = [(s, t) for s, t in self._front if s > score or t < step] + [(score, step)]
        return True
