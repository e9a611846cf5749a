"""What a star says: of every dial how its best value moves with compute, with its interval, or why that is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halosearch.analysis.shape_law import ShapeLaw, ShapeLosses, fit_shape, missed_without
from halosearch.errors import UsageError
from halosearch.record.evaluation import ARM, COMPLETE, Evaluation
from halosearch.spec.experiment import Experiment
from halosearch.spec.star import values_of


def star_summary(experiment: Experiment, rows: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One entry per varied field: points, law or the reason why there is none, curves, answer."""
    return [_of_field(experiment, rows, name) for name in experiment.star]


def _of_field(experiment: Experiment, rows: Sequence[Evaluation], name: str) -> dict[str, Any]:
    values = values_of(experiment, name)
    points = [
        {"value": values[row.trial], "images": int(each["images_seen"]), "loss": 1 - float(each["score"]),
         "compute": float(row.costs["macs"]) * float(each["images_seen"]), "run": row.key}
        for row in rows
        if row.kind == ARM and row.state == COMPLETE and row.trial in values
        for each in row.result["scores"]
    ]  # fmt: skip
    found: dict[str, Any] = {"field": name, "points": points, "law": None}
    value, compute, loss = (np.array([point[key] for point in points], float) for key in ("value", "compute", "loss"))
    data = ShapeLosses(value, compute, loss, np.array([point["run"] for point in points], str))
    try:
        law = fit_shape(data)
    except UsageError as error:
        return found | {"answer": f"{name}: no law yet: {error}."}
    curves = _curves(points, law)
    missed, still = missed_without(data, law)
    found["law"] = {"slope": law.slope, "low": law.low, "high": law.high, "missed": missed, "missed_still": still}
    found["curves"] = curves
    return found | {"answer": _sentence(found, law)}


def _curves(points: Sequence[Mapping[str, Any]], law: ShapeLaw) -> list[dict[str, Any]]:
    """For every length the law at the values that were trained, and the best value at the median compute of that length."""
    found = []
    for images in sorted({point["images"] for point in points}):
        own = {point["value"]: point["compute"] for point in points if point["images"] == images}
        values = sorted(own)
        compute = np.array([own[value] for value in values])
        loss = law.predict(np.array(values), compute)
        found.append(
            {"images": images, "values": values, "loss": loss.tolist(), "best": law.best(float(np.median(compute)))}
        )
    return found


def _sentence(found: Mapping[str, Any], law: ShapeLaw) -> str:
    name, points, last = found["field"], found["points"], found["curves"][-1]
    means = {
        value: float(np.mean([p["loss"] for p in points if p["value"] == value and p["images"] == last["images"]]))
        for value in last["values"]
    }
    lowest = min(means, key=lambda value: means[value])
    words = f"{name}: of the values trained, {lowest:g} has the lowest loss after {last['images']:,} images ({means[lowest]:.4f})"
    if not law.decided:
        return (
            f"{words}; how the best value moves with compute is not held by these losses "
            f"(exponent {law.slope:.2f}, interval {_ends(law)})."
        )
    where = "" if last["values"][0] <= last["best"] <= last["values"][-1] else ", beyond what was trained"
    return (
        f"{words}; by the law the best value grows as compute^{law.slope:.2f} {_ends(law)}, and is {last['best']:.3g} after "
        f"{last['images']:,} images{where}."
    )


def _ends(law: ShapeLaw) -> str:
    low, high = ("open" if end is None else f"{end:.2f}" for end in (law.low, law.high))
    return f"[{low}, {high}]"
