"""`halosearch space`: what a budget admits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halosearch.cli.options import Json, Root
from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import UsageError
from halosearch.spec.quantities import parse_count, parse_tolerance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SpaceOptions:
    """The options of `space`."""

    study: Annotated[str | None, typer.Argument(help="A study (default: a family's default search space).")] = None
    json: Json = ""
    family: Annotated[str | None, typer.Option(help="Family: halonet (default) or efficientnet.")] = None
    budget_params: Annotated[str | None, typer.Option(help="Parameters of the full candidate, for example 20M.")] = None
    budget_macs: Annotated[str | None, typer.Option(help="At most so many MACs, for example 4G.")] = None
    tolerance: Annotated[str | None, typer.Option(help="How far parameters may be from the budget (default 5%).")] = (
        None
    )
    root: Root = Path()


def show_space(asked: SpaceOptions) -> None:
    """The `space` command."""
    params, tolerance, family = asked.budget_params, asked.tolerance, asked.family
    wanted = None if params is None else parse_count(params, "--budget-params")
    ceiling = None if asked.budget_macs is None else parse_count(asked.budget_macs, "--budget-macs")
    share = 0.05 if tolerance is None else parse_tolerance(tolerance)
    from halosearch.cost.candidate_pool import Limits
    from halosearch.cost.pools import pool_within
    from halosearch.families.known import HALONET, search_of

    space = search_of(family or HALONET).space()
    if asked.study is not None:
        from halosearch.record.folders import find_study
        from halosearch.spec.study import FILE, make_spec, read_yaml

        spec = make_spec(read_yaml(find_study(asked.root, asked.study).study / FILE))
        space, family, wanted = spec.search_space(), spec.family, wanted or spec.budget.params
        share = share if tolerance else spec.budget.tolerance
        ceiling = ceiling or spec.budget.max_macs
    if wanted is None:
        raise UsageError("space needs a budget", "for example: halosearch space --budget-params 20M")
    rows = pool_within(family or HALONET, space, Limits(wanted, share, ceiling))
    document: dict[str, Any] = {
        "budget_params": wanted,
        "tolerance": share,
        "max_macs": ceiling,
        "size": len(rows),
        "dials": {name: _range(rows[name]) for name in space.dials()},
        **{
            name: {"min": int(rows[name].min()), "max": int(rows[name].max())}
            for name in ("params", "macs", "activations")
        },
    }
    if asked.json:
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
