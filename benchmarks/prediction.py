"""G4: does the step-time prediction hold? Fitted on some random candidates of a cell, tested on others that it never saw.

    python -m benchmarks.prediction [--device cuda] [--known 20] [--unseen 20] [--threads 1] [--seconds 300]

The claim to fail: on 20 unseen candidates a mean absolute relative error of at most 8 % and a Kendall tau of at least 0.9.
"""

import argparse
import os
import sys
import time

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.recording import HERE, provenance, table, write
from halosearch.cost.candidate_pool import Limits, candidate_pool
from halosearch.cost.devices import resolve_device
from halosearch.cost.part_times import measure_parts, setting_of
from halosearch.cost.step_time import TimedModel, fit
from halosearch.cost.timing import TimingPlan, measure
from halosearch.families.halonet.counts import dials_of
from halosearch.families.halonet.notation import candidate_text
from halosearch.families.halonet.space import HaloNetSpace, config_from_dials

MAX_ERROR, MIN_TAU = 0.08, 0.9
SIZES = {"cpu": (48, 64, 96, 128), "cuda": (128, 160, 192, 224, 256, 288, 320)}
BUDGET = 20_000_000
FEWEST = 2
"""Predictions before the first page is written; with every further one it is written anew. A verdict needs all that were asked for."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--known", type=int, default=20)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="stop timing after so long, with what there is"
    )
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    device, began = resolve_device(arguments.device), time.monotonic()
    torch.set_num_threads(arguments.threads)
    where = provenance(device)
    steps, batch, anchor_size = (10, 64, 224) if device.type == "cuda" else (1, 4, 32)
    plan = TimingPlan(batch, arguments.rounds, steps, steps, anchor_size=anchor_size)
    rows = candidate_pool(HaloNetSpace(image_size=SIZES[device.type]), Limits(BUDGET))
    count = arguments.known + arguments.unseen
    picked = rows.iloc[np.random.default_rng(arguments.seed).choice(len(rows), count, False)]
    configs = [config_from_dials(row) for row in picked.to_dict("records")]
    macs = picked["macs"].tolist()
    cell = f"the {BUDGET / 1e6:g} M cell ({len(rows):,} rows)"
    half = began + arguments.seconds * arguments.known / count
    known = [_timed(*each, plan, device, parts=True) for each in _until(half, configs[: arguments.known], macs)]
    model = fit([each["model"] for each in known], setting_of(plan, device))
    if model is None:
        raise SystemExit(f"{len(known)} candidates are too few to fit a prediction: try --known 20")
    unseen, end = [], began + arguments.seconds
    for each in _until(end, configs[arguments.known :], macs[arguments.known :]):
        unseen.append(_timed(*each, plan, device, parts=False))  # not even its parts are seen
        if len(unseen) >= FEWEST:
            asked = arguments.known, arguments.unseen
            _write(known, unseen, model, (where, device, plan, cell, asked), arguments.folder)
    if len(unseen) < FEWEST:
        raise SystemExit(f"the time was over with {len(unseen)} candidates predicted: give it more --seconds")


def _until(end, configs, macs):
    """Candidates until the time is up."""
    for each in zip(configs, macs, strict=False):
        if time.monotonic() > end:
            return
        yield each


def _timed(config, macs, plan, device, *, parts):
    timed = measure({"model": config}, plan, device)[0]
    model = TimedModel(
        dials_of(config), timed.ratio_to_anchor.median, tuple(measure_parts(config, plan, device) if parts else ())
    )
    print(f"timed {candidate_text(config)}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return {"config": config, "macs": macs, "timed": timed, "model": model}


def _predicted(model, each):
    """What was predicted beside what was measured."""
    predicted = model.predict(each["model"].dials)
    low, middle, high = (float(value[0]) for value in (predicted.low, predicted.ratio, predicted.high))
    truth = each["model"].ratio
    return {"low": low, "middle": middle, "high": high, "truth": truth, "error": middle / truth - 1}


def _write(known, unseen, model, circumstances, folder):
    where, device, plan, cell, asked = circumstances
    found = [_predicted(model, each) for each in unseen]
    truths, errors = [each["truth"] for each in found], [each["error"] for each in found]
    tau = float(kendalltau([each["middle"] for each in found], truths)[0])
    by_macs = float(kendalltau([each["macs"] for each in unseen], truths)[0])
    mape, inside = float(np.mean(np.abs(errors))), sum(each["low"] <= each["truth"] <= each["high"] for each in found)
    held = "both hold" if mape <= MAX_ERROR and tau >= MIN_TAU else "the claim fails"
    if (len(known), len(unseen)) != asked:
        held = f"cut short, of {asked[0]} and {asked[1]}: no verdict"
    table_rows = []
    for each, prediction in zip(unseen, found, strict=True):
        seen = each["timed"].ratio_to_anchor
        table_rows.append(
            [
                candidate_text(each["config"]),
                f"{seen.median:.3f} [{seen.low:.3f}, {seen.high:.3f}]",
                f"{prediction['middle']:.3f} [{prediction['low']:.3f}, {prediction['high']:.3f}]",
                f"{100 * prediction['error']:+.1f} %",
            ]
        )
    page = "\n\n".join(
        [
            "# Step times of candidates never measured",
            f"{len(known)} random candidates of {cell} timed whole and by parts; "
            f"{len(unseen)} others predicted, then timed. Unit: the anchor's step in the same rounds ({plan.batch_size} images).",
            f"**Mean absolute relative error {100 * mape:.1f} % (claim: at most {100 * MAX_ERROR:g} %), Kendall tau {tau:.2f} "
            f"(claim: at least {MIN_TAU:g}): {held}.** {inside} of {len(found)} inside "
            f"their 95 % interval (half-width {100 * (np.exp(model.spread) - 1):.0f} %). MACs alone order the same candidates "
            f"with tau {by_macs:.2f}.",
            table(["candidate", "measured", "predicted", "error"], table_rows),
            f"Fitted to {len(model.table)} distinct parts."
            + ("" if device.type == "cuda" else " On CUDA: unmeasured, no GPU here."),
        ]
    )
    document = {
        "provenance": where,
        "mape": mape,
        "kendall_tau": tau,
        "tau_of_macs": by_macs,
        "inside": inside,
        "models": [
            {
                "candidate": candidate_text(each["config"]),
                "timed": each["timed"].to_dict(),
                "parts": [{"key": part.key, "share": part.share} for part in each["model"].parts],
            }
            for each in (*known, *unseen)
        ],
    }
    write("prediction", device, document, page, folder)


if __name__ == "__main__":
    main()
