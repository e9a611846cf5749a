"""What a law is fitted to: rows of a CSV file, or of ladders and experiments that were run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from halosearch.analysis.scaling_law import Losses
from halosearch.analysis.shape_law import ShapeLosses
from halosearch.errors import UsageError
from halosearch.record.evaluation import ARM, COMPLETE
from halosearch.report.ladder_summary import losses_of
from halosearch.report.reading import open_study

COLUMNS = ("params", "images", "loss")


@dataclass(frozen=True, slots=True)
class Read:
    """The losses, where they are from, and whether every point had its own cooldown."""

    losses: Losses
    sources: tuple[str, ...]
    cooled: bool


def read_losses(sources: Sequence[str], root: Path, *, cooled: bool) -> Read:
    """The losses of CSV files (columns params, images, loss and, where several rows are of one training, run) or of named ladders.

    The loss of a training here is 1 minus its score: the share of what is asked that it does not explain. Parameters are the full
    candidate's, its classifier included; every length of a ladder ended with its own cooldown.

    Raises:
        UsageError: no such file or ladder, or a column is missing.
    """
    parts, own = [], True
    paths = [Path(source).resolve() if Path(source).is_file() else source for source in sources]
    twice = next((source for n, source in enumerate(sources) if paths[n] in paths[:n]), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice: its rows would count double", "name it once")
    for source in sources:
        if Path(source).is_file():
            parts.append(_of_csv(Path(source)))
            own = own and cooled
        else:
            parts.append(_of_study(source, root))
    parts = [part.assign(run=f"{n}:" + part["run"]) for n, part in enumerate(parts)] if len(parts) > 1 else parts
    table = pd.concat(parts, ignore_index=True)
    params, images, loss = (table[name].to_numpy(float) for name in COLUMNS)
    return Read(Losses(params, images, loss, table["run"].to_numpy(str)), tuple(Path(s).name for s in sources), own)


def read_shape_losses(path: Path, dial: str) -> ShapeLosses:
    """Losses over a dial and compute, of a CSV file with columns named after the dial, compute, loss (and run).

    Raises:
        UsageError: it cannot be read, a column is missing, or something is no number.
    """
    table = _of_csv(path, (dial, "compute", "loss"))
    value, compute, loss = (table[name].to_numpy(float) for name in (dial, "compute", "loss"))
    return ShapeLosses(value, compute, loss, table["run"].to_numpy(str))


def _of_csv(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, comment="#")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}", f"a CSV with {', '.join(columns)}"
        ) from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise UsageError(
            f"{path.name} has no column {missing[0]}",
            f"columns are {', '.join(columns)}, and run where a training has several rows",
        )
    for name in columns:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.isna().any():
            line = int(numbers.isna().to_numpy().argmax())
            raise UsageError(
                f"{path.name}: {name} of data row {line + 1} is {table[name].iloc[line]!r}",
                "a positive number is needed",
            )
        table[name] = numbers
    rows = pd.Series(range(len(table)), index=table.index).astype(str)
    if "run" not in table:
        same = table.duplicated(list(columns))
        if same.any():
            line = int(same.to_numpy().argmax())
            raise UsageError(
                f"{path.name}: data row {line + 1} says the same as one before it, and would count as another training",
                "remove it; or say in a column run which training every row is of",
            )
        return table.assign(run=path.name + ":" + rows)
    named = table["run"].notna()
    return table.assign(run=(path.name + ":" + table["run"].astype(str)).where(named, path.name + " row " + rows))


def _of_study(name: str, root: Path) -> pd.DataFrame:
    opened = open_study(root, name, experiments=True)
    if opened.spec.experiment is None:
        raise UsageError(
            f"{name!r} is a search: its candidates have one budget, and a law needs several",
            "train several: halosearch ladder --budgets 4M,8M,16M,32M",
        )
    if opened.spec.experiment.star:
        raise UsageError(
            f"{name!r} is a star around one centre, and a law of size needs several budgets",
            f"how its dials move with compute: halosearch report {name}",
        )
    if opened.spec.experiment.ladder:
        found = losses_of(opened.spec, opened.rows, name)
        return pd.DataFrame(
            {"params": found.params_R, "images": found.images_R, "loss": found.loss_R, "run": found.runs_R}
        )
    rows = [
        {"params": row.costs["params"], "images": score["images_seen"], "loss": 1 - score["score"], "run": f"{name}:{row.key}"}
        for row in opened.rows
        if row.kind == ARM and row.state == COMPLETE
        for score in row.result["scores"]
    ]  # fmt: skip
    if not rows:
        raise UsageError(f"{name!r} has no trainings yet", f"let it run on: halosearch experiment {name}")
    return pd.DataFrame(rows)
