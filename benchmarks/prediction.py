"""G4: does the step-time prediction hold? Fitted on some random candidates of a cell, tested on others that it never saw.

    python -m benchmarks.prediction [--device cuda] [--known 20] [--unseen 20] [--threads 1]

The claim to fail: on 20 unseen candidates a mean absolute relative error of at most 8 % and a Kendall tau of at least 0.9.
"""

import argparse
import os

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--known", type=int, default=20)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    where = provenance(device)
    cuda = device.type == "cuda"
    steps = 20 if cuda else 1
    plan = TimingPlan(64 if cuda else 4, arguments.rounds, steps, steps, anchor_size=224 if cuda else 32)
    rows = candidate_pool(HaloNetSpace(image_size=SIZES[device.type]), Limits(BUDGET))
    picked = rows.iloc[
        np.random.default_rng(arguments.seed).choice(len(rows), arguments.known + arguments.unseen, False)
    ]
    found = []
    for index, row in enumerate(picked.to_dict("records")):
        config = config_from_dials(row)
        timed = measure({"model": config}, plan, device)[0]
        parts = measure_parts(config, plan, device) if index < arguments.known else []  # unseen: not even its parts
        found.append((config, timed, parts))
        print(f"{index + 1} of {len(picked)} timed, load {os.getloadavg()[0]:.1f}", flush=True)
    models = [
        TimedModel(dials_of(config), timed.ratio_to_anchor.median, tuple(parts)) for config, timed, parts in found
    ]
    model = fit(models[: arguments.known], setting_of(plan, device))
    if model is None:
        raise SystemExit(f"{arguments.known} candidates are too few to fit a prediction: try --known 20")
    table_rows, errors, inside = [], [], []
    for (config, timed, _), truth in list(zip(found, models, strict=True))[arguments.known :]:
        predicted = model.predict(truth.dials)
        low, middle, high = (float(value[0]) for value in (predicted.low, predicted.ratio, predicted.high))
        errors.append(middle / truth.ratio - 1)
        inside.append(low <= truth.ratio <= high)
        seen = timed.ratio_to_anchor
        measured = f"{seen.median:.3f} [{seen.low:.3f}, {seen.high:.3f}]"
        predicted_words = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
        table_rows.append([candidate_text(config), measured, predicted_words, f"{100 * errors[-1]:+.1f} %"])
    truths = [each.ratio for each in models[arguments.known :]]
    tau = float(kendalltau([(1 + error) * truth for error, truth in zip(errors, truths, strict=True)], truths)[0])
    by_macs = float(kendalltau(picked["macs"].to_numpy()[arguments.known :], truths)[0])
    mape = float(np.mean(np.abs(errors)))
    held = mape <= MAX_ERROR and tau >= MIN_TAU
    page = "\n\n".join(
        [
            "# Step times of candidates never measured",
            f"{arguments.known} random candidates of the {BUDGET / 1e6:g} M cell ({len(rows):,} rows) timed whole and by parts; "
            f"{arguments.unseen} others predicted, then timed. Unit: the anchor's step in the same rounds ({plan.batch_size} images).",
            f"**Mean absolute relative error {100 * mape:.1f} % (claim: at most {100 * MAX_ERROR:g} %), Kendall tau {tau:.2f} "
            f"(claim: at least {MIN_TAU:g}): {'both hold' if held else 'the claim fails'}.** {sum(inside)} of {len(inside)} inside "
            f"their 95 % interval (half-width "
            f"{100 * (np.exp(model.spread) - 1):.0f} %). MACs alone order the same candidates with tau {by_macs:.2f}.",
            table(["candidate", "measured", "predicted", "error"], table_rows),
            f"Fitted to {len(model.table)} distinct parts." + ("" if cuda else " On CUDA: unmeasured, no GPU here."),
        ]
    )
    raw = [
        {
            "candidate": candidate_text(config),
            "timed": timed.to_dict(),
            "parts": [{"key": p.key, "share": p.share} for p in ps],
        }
        for config, timed, ps in found
    ]
    document = {
        "provenance": where,
        "mape": mape,
        "kendall_tau": tau,
        "tau_of_macs": by_macs,
        "inside": sum(inside),
        "models": raw,
    }
    write("prediction", device, document, page, arguments.folder)


if __name__ == "__main__":
    main()
