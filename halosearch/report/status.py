"""How far a study is, in little time: no fit, no shuffles, no page, and no pandas, which takes half a second to import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from halosearch.analysis.frontier import undominated
from halosearch.analysis.rough_step_times import step_seconds
from halosearch.analysis.validation_rows import validation_of
from halosearch.record.evaluation import COMPLETE, HELD_OUT, RETEST, RIVAL, Evaluation
from halosearch.record.trials import Trial, reference_of, trials_of
from halosearch.report.evidence import shown_spec
from halosearch.report.finals import final_scores
from halosearch.report.reading import Opened
from halosearch.report.trial_rows import trial_rows
from halosearch.report.wording import BEST, first_sentence


def status_of(opened: Opened) -> dict[str, Any]:
    """The status as plain values."""
    rows, spec = opened.rows, opened.spec
    trials = trials_of(rows)
    validation = validation_of(rows, spec.uniform)
    counts = dict(sorted(Counter(trial.state for trial in trials).items()))
    return {
        "study": spec.name,
        "running_now": opened.running,
        "counts": counts,
        "trials_wanted": spec.trials,
        "retests": sum(row.kind == RETEST and row.runs > 0 for row in rows),
        "retests_wanted": spec.retests,
        "finals": sum(row.kind == HELD_OUT and row.runs > 0 for row in rows),
        "rivals": sum(row.kind == RIVAL and row.runs > 0 for row in rows),
        "rivals_wanted": len(spec.rivals),
        "validation": validation,
        "reference": reference_of(rows) is not None,
        "front": _front(trials),
        "answer": [_answer(rows, trials, validation["noise"], {"spec": shown_spec(spec), "counts": counts})],
        "report": str(opened.folders.report / "index.html"),
    }


def _front(trials: Sequence[Trial]) -> list[int]:
    """Numbers of the undominated trials, fastest first."""
    expected = step_seconds(trials)
    done = [(expected[t.number], t.result["score"], t.number) for t in trials if t.state == COMPLETE]
    if not done:
        return []
    kept = undominated([score for _, score, _ in done], [step for step, _, _ in done])
    return [number for _, _, number in sorted(one for one, keep in zip(done, kept, strict=True) if keep)]


def _answer(
    rows: Sequence[Evaluation], trials: list[Trial], noise: dict[str, Any] | None, known: dict[str, Any]
) -> str:
    """The first sentence of the study's answer, from its rows alone."""
    done = [t for t in trials if t.state == COMPLETE]
    expected = step_seconds(trials)
    best = min(done, key=lambda t: (-t.result["score"], expected[t.number], t.number), default=None)
    summary = {
        "finals": final_scores(trials, rows, noise),
        "decisions": [] if best is None else [{"role": BEST, "trial": best.number}],
        "trials": trial_rows(trials, {}),
    }
    return first_sentence(known | summary)
