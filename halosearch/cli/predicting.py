"""`halosearch predict`: step times that a study has not measured, from what it has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import NothingUsableError


def predict_step_times(study: str, texts: list[str], root: Path, *, as_json: bool, output: Path | None) -> None:
    """Predicted training steps of candidates, or of the study's whole cell.

    Raises:
        NothingUsableError: the study has timed too few candidates.
    """
    from halosearch.cli.candidates import resolve_candidate
    from halosearch.cost.counts import dials_of
    from halosearch.study.prediction import audited, fitted, setting_for, timed_trials
    from halosearch.study.reading import open_study

    opened = open_study(root, study)
    setting = setting_for(opened.spec)
    timed = timed_trials(opened.store.trials(), setting)
    model, clock = fitted(timed, setting), opened.store.notes().get("clock")
    if model is None or clock is None:
        raise NothingUsableError(
            f"study {study!r} has timed {len(timed)} candidates, too few to predict others",
            f"run it on: halosearch study {study}",
        )
    anchor = float(clock["seconds"]["median"])
    audit = audited(timed, setting)
    document: dict[str, Any] = {"study": study, "device": clock["device"], "batch_size": setting.batch, "audit": audit}
    if texts:
        document["candidates"] = []
        for text in texts:
            predicted = model.predict(dials_of(resolve_candidate(text, root)))
            seconds = [anchor * float(value[0]) for value in (predicted.ratio, predicted.low, predicted.high)]
            names = ("predicted_step_time_s", "predicted_step_time_low_s", "predicted_step_time_high_s")
            document["candidates"].append({"candidate": text, **dict(zip(names, seconds, strict=True))})
    else:
        document["cell"] = _cell(opened.spec, model, anchor, output)
    if as_json:
        put_json(document)
    else:
        _print(document, output)


def _cell(spec: Any, model: Any, anchor: float, output: Path | None) -> dict[str, Any]:
    """Quantiles of the predicted step time over all rows; the rows themselves to `output`."""
    import pandas as pd

    from halosearch.files import write_text
    from halosearch.study.candidates import cell_of
    from halosearch.study.prediction import predicted_seconds

    rows = cell_of(spec)
    predicted = predicted_seconds(model, rows, anchor)
    if output is not None:
        text = io.StringIO()
        pd.concat([rows, predicted], axis=1).to_csv(text, index=False, float_format="%.6g")
        write_text(output, text.getvalue())
    quantiles = predicted["predicted_step_time_s"].quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    return {
        "size": len(rows),
        "predicted_step_time_s": {f"{share:g}": float(value) for share, value in quantiles.items()},
    }


def _print(document: dict[str, Any], output: Path | None) -> None:
    if "candidates" in document:
        rows = [list(each.values()) for each in document["candidates"]]
        put(format_table(["candidate", "predicted s", "low s", "high s"], rows))
    else:
        cell = document["cell"]
        put(f"{cell['size']:,} candidates; predicted training step in seconds:")
        shares = [[f"{100 * float(share):g} %", value] for share, value in cell["predicted_step_time_s"].items()]
        put(format_table(["share of the cell up to", "predicted s"], shares))
    audit = document["audit"]
    put(
        f"predicted for {document['device']['device']}, {document['batch_size']} images a step, not measured"
        + (
            f"; trials left out of the fit were missed by {100 * audit['mape']:.0f} % on average, Kendall's tau "
            f"{audit['kendall_tau']:.2f}, {100 * audit['covered']:.0f} % within their 95 % interval (n = {audit['trials']})"
            if audit
            else "; too few trials to say how well"
        )
    )
    if output is not None and "cell" in document:
        put(f"all rows: {output}")
