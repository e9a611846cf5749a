"""What `study --dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halosearch.cli.output import format_table, put, put_json

if TYPE_CHECKING:
    import pandas as pd

    from halosearch.spec.study import StudySpec


def print_forecast(spec: StudySpec, pool: pd.DataFrame, *, as_json: bool) -> None:
    """The forecast as a table and sentences, or as JSON."""
    from halosearch.run.forecast import forecast

    document = forecast(spec, pool)
    if as_json:
        put_json(document)
        return
    low, high = document["study_seconds"]
    disk = document["disk_bytes"]
    put(
        f"study {spec.name}: {document['pool_size']:,} candidates within {spec.budget.params:,} parameters ±{100 * spec.budget.tolerance:g} %, "
        f"of {document['space_size']:,} combinations of dials"
    )
    put(
        format_table(
            ["probed candidate", "step s", "low", "high", "twin images/s", "begin s", "timing s", "trial s"],
            [
                [
                    p["candidate"],
                    *p["step_time_s"].values(),
                    *(p[k] for k in ("twin_images_per_s", "begin_s", "timing_s", "trial_s")),
                ]
                for p in document["probes"]
            ],
        )
    )
    put(
        f"{document['price']} On {spec.workers} worker(s), preset {spec.preset.name}: "
        f"{low / 60:.0f} to {high / 60:.0f} minutes, {document['gpu_hours'][0]:.1f} to {document['gpu_hours'][1]:.1f} GPU-hours, "
        f"{disk[0] / 1e6:.0f} to {disk[1] / 1e6:.0f} MB of disk"
    )
    words = {"trainings_s": "training", "beginnings_s": "beginning trainings", "timings_s": "timing steps"}
    put(
        "of it: "
        + ", ".join(f"{words[name]} {a / 60:.0f} to {b / 60:.0f} minutes" for name, (a, b) in document["parts"].items())
    )
    if low > document["promised_s"]:
        put(f"that is longer than the {document['promised_s'] / 60:.0f} minutes that this preset is made for")
    put(f"{document['share_not_fitting']:.1%} of the candidate pool is estimated not to fit in memory")
    for sentence in document["published"]:
        put(sentence)
    put("nothing was trained or written")
