"""Commands that read a study: status, frontier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from halosearch.cli.output import format_table, put, put_json

if TYPE_CHECKING:
    from halosearch.report.reading import Opened


def show_status(study: str, root: Path, *, as_json: bool) -> None:
    """The `status` command."""
    from halosearch.report.reading import open_study
    from halosearch.report.status import status_of

    opened = open_study(root, study, experiments=True)
    if opened.spec.experiment is not None:
        _experiment_status(opened, as_json=as_json)
        return
    document = status_of(opened)
    if as_json:
        put_json(document)
        return
    put(f"study {document['study']}: {'running' if document['running_now'] else 'not running'}")
    put(
        ", ".join(f"{n} {state}" for state, n in document["counts"].items())
        + f" of {document['trials_wanted']} trials; {document['retests']} of "
        f"{document['retests_wanted']} retests; reference {'done' if document['reference'] else 'not done'}"
        + (f"; {document['rivals']} of {document['rivals_wanted']} rivals" if document["rivals_wanted"] else "")
    )
    put(f"the proxy here: {document['validation']['verdict']}; {document['validation']['reason']}")
    put(document["answer"][0])


def _experiment_status(opened: Opened, *, as_json: bool) -> None:
    from halosearch.report.experiment_summary import experiment_summary

    summary = experiment_summary(opened.spec, opened.folders, opened.rows, opened.table.facts())
    if as_json:
        put_json(
            {
                "study": summary["study"],
                "running_now": opened.running,
                **{k: summary[k] for k in ("trainings", "answer", "expectations")},
            }
        )
        return
    done = summary["trainings"]
    put(f"experiment {summary['study']}: {'running' if opened.running else 'not running'}")
    put(f"{done['done']} of {done['planned']} trainings ended, {len(summary['failures'])} of them without a score")
    for sentence in summary["answer"][1 : 1 + len(summary["expectations"])]:
        put(sentence)


def show_frontier(study: str, root: Path, *, as_json: bool) -> None:
    """The `frontier` command."""
    from halosearch.report.reading import open_study, summary_of
    from halosearch.report.rivals import rival_sentences

    summary = summary_of(open_study(root, study))
    front = [next(t for t in summary["trials"] if t["trial"] == number) for number in summary["front"]]
    if as_json:
        put_json(
            {
                "study": summary["study"],
                "front": front,
                "decisions": summary["decisions"],
                "hypervolume": summary["hypervolume"][-1:],
                "agreement": summary["agreement"],
                "rivals": summary["rivals"],
            }
        )
        return
    put(
        format_table(
            ["trial", "score", "step s", "low", "high", "params", "GMACs", "candidate"],
            [
                [
                    t["trial"],
                    t["score"],
                    t["step_time_s"],
                    t["step_time_low_s"],
                    t["step_time_high_s"],
                    t["params"],
                    t["macs"] / 1e9,
                    t["candidate"],
                ]
                for t in front
            ],
        )
    )
    for decision in summary["decisions"]:
        put(f"{decision['role']}: trial {decision['trial']}")
    for sentence in rival_sentences(summary):
        put(sentence)
