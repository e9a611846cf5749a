"""Commands that read a study or a space: space, status, frontier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import UsageError
from halosearch.spec.quantities import parse_count, parse_tolerance

if TYPE_CHECKING:
    import pandas as pd


def show_space(
    study: str | None, root: Path, *, as_json: bool, params: str | None, macs: str | None, tolerance: str | None
) -> None:
    """The `space` command."""
    wanted = None if params is None else parse_count(params, "--budget-params")
    ceiling = None if macs is None else parse_count(macs, "--budget-macs")
    share = 0.05 if tolerance is None else parse_tolerance(tolerance)
    from halosearch.cost.candidate_pool import Limits, candidate_pool
    from halosearch.families.halonet.space import DIALS, SearchSpace

    space = SearchSpace()
    if study is not None:
        from halosearch.record.folders import find_study
        from halosearch.spec.study import FILE, make_spec, read_yaml

        spec = make_spec(read_yaml(find_study(root, study).study / FILE))
        space, wanted = spec.search_space(), wanted or spec.budget.params
        share = share if tolerance else spec.budget.tolerance
        ceiling = ceiling or spec.budget.max_macs
    if wanted is None:
        raise UsageError("space needs a budget", "for example: halosearch space --budget-params 20M")
    rows = candidate_pool(space, Limits(wanted, share, ceiling))
    document: dict[str, Any] = {
        "budget_params": wanted,
        "tolerance": share,
        "max_macs": ceiling,
        "size": len(rows),
        "dials": {name: _range(rows[name]) for name in DIALS},
        **{
            name: {"min": int(rows[name].min()), "max": int(rows[name].max())}
            for name in ("params", "macs", "activations")
        },
    }
    if as_json:
        put_json(document)
        return
    put(
        f"{len(rows):,} candidates have {wanted:,} parameters ±{100 * share:g} %"
        + (f" and at most {ceiling:,} MACs" if ceiling else "")
    )
    put(
        format_table(
            ["dial", "from", "to", "values"],
            [[name, d["min"], d["max"], d["count"]] for name, d in document["dials"].items()],
        )
    )
    put(
        format_table(
            ["cost", "from", "to"],
            [[name, document[name]["min"], document[name]["max"]] for name in ("params", "macs", "activations")],
        )
    )


def _range(column: pd.Series[Any]) -> dict[str, Any]:
    values = sorted(column.unique().tolist())
    return {"min": values[0], "max": values[-1], "count": len(values), "values": values}


def show_status(study: str, root: Path, *, as_json: bool) -> None:
    """The `status` command."""
    from halosearch.report.reading import open_study
    from halosearch.report.status import status_of

    document = status_of(open_study(root, study))
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
