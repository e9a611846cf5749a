"""Which dials does a preset's training see? One dial at a time is moved from a base candidate; everything else stays.

    python -m benchmarks.dials [--preset cpu-10m] [--seeds 8] [--processes 2] [--folder benchmarks]

Every value of every dial is trained with the same seeds as the base, on the same pictures, and judged on the same test pictures; the
effect is the mean difference over seeds, with an interval that holds for all values of all dials together (95 %, Bonferroni; one
variance for all, from what value and seed leave open in a two-way layout). A dial is seen if one of its intervals leaves out 0.
Trainings are kept as they end (results/dials-NAME.jsonl), and those found there are not run again.
"""

import argparse
import json
import math
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.recording import HERE, provenance, table, write
from halosearch.families.halonet.notation import parse_candidate
from halosearch.run.train_once import OneTraining, train_once
from halosearch.spec.presets import PRESETS

BASE = {"s": "64", "b": "8", "h": "2", "rv": "1", "rb": "2", "l3": "4", "df": "none", "heads": "4-8-8-8"}
VALUES = {
    "s": ("48", "96"),
    "b": ("4", "16"),
    "h": ("0", "1", "4"),
    "rv": ("2", "4"),
    "rb": ("0.5", "1", "4"),
    "l3": ("2", "8", "16"),
    "df": ("512", "1280"),
    "heads": ("4-8-16-32",),
}
"""A block of 16 is the whole map of the first stage at 64 pixels."""


def candidate(**changed):
    """The base with one dial moved, in the paper's symbols."""
    return ",".join(f"{name}={value}" for name, value in (BASE | changed).items())


def cases(seeds):
    """(dial, value, seed) of every training; the base has no dial. Seeds run slowest."""
    values = [("", "")] + [(dial, value) for dial, values in VALUES.items() for value in values]
    return [(dial, value, seed) for seed in range(seeds) for dial, value in values]


def trained(preset, dial, value, seed):
    """One training on one thread: its score and the scores of its parts."""
    torch.set_num_threads(1)
    config = parse_candidate(candidate(**({dial: value} if dial else {})))
    found = train_once(OneTraining(config, None, preset, None, None, seed, "cpu"), lambda _: None)
    return {
        "dial": dial,
        "value": value,
        "seed": seed,
        "twin": found["twin"],
        "score": found["score"],
        "prequential": found["final"]["prequential"],
        "parts": found["final"]["parts"],
        "seconds": found["seconds"],
    }


def run(preset, wanted, kept, processes):
    """All trainings, those in `kept` (JSON lines) read from it, the others appended to it as they end."""
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {(line["dial"], line["value"], line["seed"]): line for line in lines}
    left = [case for case in wanted if case not in known]
    kept.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with kept.open("a") as file, ProcessPoolExecutor(processes, mp_context=context) as pool:
        for future in as_completed(pool.submit(trained, preset, *case) for case in left):
            line = future.result()
            known[line["dial"], line["value"], line["seed"]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
    return [known[case] for case in wanted]


def summarise(results):
    """Every value's effect with its interval, and the dials of which one is seen.

    The interval: the residual of a two-way layout (value, seed), Student's t for all comparisons with the base together.
    """
    cases_V = list(dict.fromkeys((line["dial"], line["value"]) for line in results))
    seeds = sorted({line["seed"] for line in results})
    scores = {(line["dial"], line["value"], line["seed"]): line["score"] for line in results}
    scores_VS = np.array([[scores[*case, seed] for seed in seeds] for case in cases_V])
    means_V = scores_VS.mean(1)
    rest_VS = scores_VS - scores_VS.mean(0) - means_V[:, None] + scores_VS.mean()
    freedom = (len(cases_V) - 1) * (len(seeds) - 1)
    half = math.sqrt((rest_VS**2).sum() / freedom * 2 / len(seeds))
    half *= float(student.ppf(1 - 0.025 / (len(cases_V) - 1), freedom))
    effects = {dial: {} for dial in VALUES}
    for (dial, value), mean in zip(cases_V, (means_V - means_V[cases_V.index(("", ""))]).tolist(), strict=True):
        if dial:
            effects[dial][value] = (mean, mean - half, mean + half)
    seen = [dial for dial, found in effects.items() if any(low > 0 or high < 0 for _, low, high in found.values())]
    return effects, seen


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cpu-10m")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    preset, device = PRESETS[arguments.preset], torch.device("cpu")
    where = provenance(device)
    kept = Path(arguments.folder) / "results" / f"dials-{preset.name}.jsonl"
    results = run(preset.name, cases(arguments.seeds), kept, arguments.processes)
    effects, seen = summarise(results)
    base = [line["score"] for line in results if not line["dial"]]
    unseen = [dial for dial in VALUES if dial not in seen]
    rows = [
        [dial, value, f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", "seen" if low > 0 or high < 0 else ""]
        for dial, found in effects.items()
        for value, (mean, low, high) in found.items()
    ]
    page = "\n\n".join(
        [
            f"# Which dials `{preset.name}` sees",
            f"**Seen: {', '.join(seen) or 'none'}. Not seen: {', '.join(unseen) or 'none'}.**",
            f"Base {candidate()}, twins of {preset.width_multiplier:g} of the width, {preset.rungs[-1]:,} images of {preset.scenes}, "
            f"{preset.test_images} test images, {arguments.seeds} seeds; the base scores {statistics.fmean(base):.3f} (standard "
            f"deviation between seeds {statistics.stdev(base):.3f}, pictures and weights both new). Differences from the base, paired by seed, "
            "with 95 % intervals that hold for all rows together.",
            table(["dial", "value", "difference in score", ""], rows),
            "A dial that is not seen may still matter: its effect is not larger than its interval's ends at this size of image and length "
            "of training, or its twin is the same network (heads of a narrow twin).",
        ]
    )
    document = {
        "provenance": where,
        "preset": preset.model_dump(mode="json"),
        "seeds": arguments.seeds,
        "effects": effects,
        "seen": seen,
        "unseen": unseen,
    }
    write(f"dials-{preset.name}", device, document, page, arguments.folder)


if __name__ == "__main__":
    main()
