"""`halosearch predict`: step times that a study has not measured, from what it has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import NothingUsableError, UsageError


def predict_step_times(study: str, texts: list[str], root: Path, *, as_json: bool, output: Path | None) -> None:
    """Predicted training steps of candidates, or of the study's whole pool.

    Raises:
        NothingUsableError: the study has timed too few candidates.
    """
    if texts and output is not None:
        raise UsageError("--output holds the rows of the whole pool", "leave the candidates out, or use --json")
    import numpy as np

    from halosearch.analysis.step_times import audited, setting_for, timed_trials
    from halosearch.cli.candidates import resolve_halonet
    from halosearch.cost.parts import parts_of
    from halosearch.cost.step_time import fit
    from halosearch.families.halonet.counts import dials_of
    from halosearch.record.trials import anchor_of
    from halosearch.report.reading import open_study

    opened = open_study(root, study)
    setting = setting_for(opened.spec)
    timed = timed_trials(opened.trials, setting)
    model, clock = fit(timed.values(), setting), anchor_of(opened.rows)
    if model is None or clock is None:
        raise NothingUsableError(
            f"study {study!r} has timed {len(timed)} candidates, too few (or too few parts of some kind) to predict others",
            f"let it run on: halosearch study {study}",
        )
    anchor = float(clock["seconds"]["median"])
    audit = audited(timed, model)
    document: dict[str, Any] = {"study": study, "device": clock["device"], "batch_size": setting.batch, "audit": audit}
    if texts:
        document["candidates"] = []
        for text in texts:
            config = resolve_halonet(text, root)
            keys = {name: part.key for name, part in parts_of(config).items()}
            predicted = model.predict(dials_of(config), keys)
            if not np.isfinite(predicted.ratio[0]):
                raise NothingUsableError(
                    f"{text} has a kind of block that study {study!r} never timed", "predict candidates of its own pool"
                )
            seconds = [anchor * float(value[0]) for value in (predicted.ratio, predicted.low, predicted.high)]
            names = ("predicted_step_time_s", "predicted_step_time_low_s", "predicted_step_time_high_s")
            found = dict(zip(names, seconds, strict=True)) | {"extrapolated": bool(predicted.extrapolated[0])}
            document["candidates"].append({"candidate": text, **found})
    else:
        document["pool"] = _cell(opened.spec, model, anchor, output)
    if as_json:
        put_json(document)
    else:
        _print(document, output)


def _cell(spec: Any, model: Any, anchor: float, output: Path | None) -> dict[str, Any]:
    """Quantiles of the predicted step time over all rows; the rows themselves to `output`."""
    import pandas as pd

    from halosearch.analysis.step_times import predicted_seconds
    from halosearch.cost.candidate_pool import pool_of
    from halosearch.files import write_text

    rows = pool_of(spec)
    predicted = predicted_seconds(model, rows, anchor)
    if output is not None:
        text = io.StringIO()
        pd.concat([rows, predicted], axis=1).to_csv(text, index=False, float_format="%.6g")
        write_text(output, text.getvalue())
    quantiles = predicted["predicted_step_time_s"].quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    return {
        "size": len(rows),
        "not_predicted": int(predicted["predicted_step_time_s"].isna().sum()),
        "extrapolated": int(predicted["extrapolated"].sum()),
        "predicted_step_time_s": {f"{share:g}": float(value) for share, value in quantiles.items()},
    }


def _print(document: dict[str, Any], output: Path | None) -> None:
    if "candidates" in document:
        rows = [
            [*list(each.values())[:-1], "beyond what was timed" if each["extrapolated"] else "ok"]
            for each in document["candidates"]
        ]
        put(format_table(["candidate", "predicted s", "low s", "high s", "range"], rows))
    else:
        pool = document["pool"]
        put(
            f"{pool['size']:,} candidates ({pool['not_predicted']:,} of a kind never timed, {pool['extrapolated']:,} beyond what was timed); "
            "predicted training step in seconds:"
        )
        shares = [[f"{100 * float(share):g} %", value] for share, value in pool["predicted_step_time_s"].items()]
        put(format_table(["share of the pool up to", "predicted s"], shares))
    audit = document["audit"]
    put(
        f"predicted for {document['device']['device']}, {document['batch_size']} images a step, not measured"
        + (
            f"; trials left out of the fit were missed by {100 * audit['mape']:.0f} % on average, Kendall's tau "
            f"{audit['kendall_tau']:.2f}, 95 % interval ±{100 * audit['half_width']:.0f} % (n = {audit['trials']})"
            if audit
            else "; too few trials to say how well"
        )
    )
    if output is not None and "pool" in document:
        put(f"all rows: {output}")
