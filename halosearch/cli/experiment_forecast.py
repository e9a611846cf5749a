"""`halosearch experiment --dry-run`: what it costs, and what it could show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halosearch.cli.output import format_table, put, put_json
from halosearch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halosearch.record.evaluation import Evaluation
    from halosearch.record.folders import Folders
    from halosearch.spec.experiment import Experiment
    from halosearch.spec.study import StudySpec


def print_price(spec: StudySpec, folders: Folders, *, effect: float | None, exists: bool, as_json: bool) -> None:
    """Seconds by arm from some steps of each twin's training, and the differences that the seeds would show."""
    import torch

    from halosearch.families.known import parse_candidate
    from halosearch.run.forecast import images_shown, twin_speed
    from halosearch.run.place import parallel
    from halosearch.search.experiment import trainings_of

    assert spec.experiment is not None
    torch.set_num_threads(spec.threads)
    device, shown = torch.device(spec.device), images_shown(spec)
    arms: list[dict[str, Any]] = []
    for arm in spec.experiment.arms:
        speed, begin_s = twin_speed(spec, parse_candidate(arm.network), device)
        arms.append({"arm": arm.name, "twin_images_per_s": speed, "training_s": shown / speed + begin_s})
    seeds = trainings_of(spec.experiment)
    seconds = seeds * sum(each["training_s"] for each in arms) / parallel(spec)
    document: dict[str, Any] = {
        "experiment": spec.name,
        "arms": arms,
        "seeds": spec.experiment.seeds,
        "trainings": len(arms) * seeds,
        "seconds": seconds,
        **_power(spec.experiment, _rows(spec, folders) if exists else [], effect),
    }
    if as_json:
        put_json(document)
        return
    put(format_table(["arm", "twin images/s", "training s"], [list(each.values()) for each in arms]))
    put(
        f"{document['trainings']} trainings of {spec.preset.rungs[-1]:,} images on {parallel(spec)} worker(s): about {seconds / 60:.0f} minutes; "
        "step times, where they are compared, come on top"
    )
    for line in document["power"]:
        put(line)
    put("nothing was trained or written")


def _rows(spec: StudySpec, folders: Folders) -> Sequence[Evaluation]:
    from halosearch.record.storage import open_for_reading

    try:
        return open_for_reading(spec, folders).rows()
    except StoreError:
        return []


def _power(experiment: Experiment, rows: Sequence[Evaluation], effect: float | None) -> dict[str, Any]:
    """The spread of paired differences, measured so far or said by the file, and what follows from it."""
    import numpy as np

    from halosearch.analysis.expectations import SCORE, parse_expectation
    from halosearch.analysis.verdicts import LEAST, detectable_effect, detectable_margin, differences, seeds_for
    from halosearch.report.experiment_summary import measurements

    names = [arm.name for arm in experiment.arms]
    expected = [parse_expectation(text, names) for text in experiment.expect]
    scores, k = measurements(experiment, rows)[SCORE], len(expected)
    lines, spreads = [], []
    for each in (each for each in expected if each.metric == SCORE):
        found = differences(each, scores)
        sd = float(np.std(found, ddof=1)) if len(found) >= LEAST else experiment.noise
        if not sd:  # unknown, or arms that are one and the same
            continue
        spreads.append(sd)
        least = detectable_effect if each.margin is None else detectable_margin
        words = "the least difference" if each.margin is None else "the least margin"
        of = f"measured on {len(found)} seeds" if len(found) >= LEAST else "as the file says"
        seen = least(sd, experiment.seeds, k)
        lines.append(
            f"{each.text}: differences between seeds deviate by {sd:.4f} ({of}); {words} shown in four of five such experiments: {seen:.4f}"
        )
    if not spreads:
        lines.append(
            f"how much differences vary between seeds is not known: run it with --seeds {LEAST} and ask again, or say it in the file (noise: 0.015)"
        )
    wanted = None
    if effect and spreads:
        wanted = seeds_for(effect, max(spreads), k)
        lines.append(
            f"a difference of {effect:g} is shown in four of five with {wanted or 'more than 1,000'} seeds (--seeds)"
        )
    return {"spreads": spreads, "seeds_for_effect": wanted, "power": lines}
