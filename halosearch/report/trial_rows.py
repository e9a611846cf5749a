"""The full table of trials: what `export` writes, what the page holds and offers for download, what all charts are drawn from."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

from halosearch.record.candidates import text_of
from halosearch.record.trials import Trial, flat
from halosearch.report.redaction import redacted
from halosearch.report.rivals import table_rows

if TYPE_CHECKING:
    import pandas as pd

NOT_IN_TABLE = ("curve", "accuracy")


def trial_rows(trials: list[Trial], facts: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict per trial: the record's columns, the candidate as text, and what the study knows of it from elsewhere (`facts`)."""
    return [_row(trial, facts.get(trial.number, {})) for trial in trials]


def _row(trial: Trial, facts: dict[str, Any]) -> dict[str, Any]:
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in flat(trial).items()}
    return plain | {
        "reason": redacted(trial.reason),
        **facts,
        "candidate": text_of(trial.dials),
        "accuracy": trial.result.get("final", {}).get("accuracy", {}),
        "curve": [point for point in trial.result.get("curve", []) if math.isfinite(point[1])],
    }


def flat_table(summary: dict[str, Any], *, rivals: bool = False) -> pd.DataFrame:
    """The summary's trials as a table of plain columns, with `rivals` those too; whole numbers stay whole where some are missing."""
    import pandas as pd

    rows = [{key: value for key, value in trial.items() if key not in NOT_IN_TABLE} for trial in summary["trials"]]
    columns = list(pd.DataFrame(rows).columns)
    if rivals:
        rows += [{key: value for key, value in row.items() if key in columns} for row in table_rows(summary["rivals"])]
    table = pd.DataFrame(rows, columns=columns)
    for name in table.columns:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        if len(known) < len(values) and known and all(type(value) is int for value in known):
            table[name] = pd.array(values, dtype="Int64")
    return table


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV: one line per trial, line feeds, empty where nothing is known, numbers to their last digit."""
    return str(table.to_csv(index=False, lineterminator="\n"))


def json_rows(table: pd.DataFrame) -> str:
    """The table as a JSON list of objects, None where nothing is known."""
    import pandas as pd

    rows = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in table.to_dict("records")]
    return json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file (pyarrow), types and missing values kept."""
    target = io.BytesIO()
    table.to_parquet(target, engine="pyarrow", index=False)
    return target.getvalue()
