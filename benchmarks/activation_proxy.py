"""Would twins with ReLU in place of SiLU rank better? Deep twins with SiLU learn late (studies/own-activations).

    python -m benchmarks.activation_proxy [--study studies/dense-20M] [--candidates 24] [--images 8192] [--processes 2]

The first candidates of a recorded study, whose short SiLU scores are there with two seeds. New: the same twins with ReLU at the same
lengths, two seeds; and, as what a short training should foretell, SiLU twins trained on several times the images, one more seed.
Expected before the run: (1) Kendall's tau of the ReLU scores with the long SiLU scores is larger than that of the SiLU scores of the
same length, at the longer of the two, the interval of the difference above 0; (2) the depth of stage 3 goes down with the short SiLU
score (tau below -0.3) and not with the ReLU score (above -0.3).
Intervals of differences of tau: bootstrap over candidates (95 %). Trainings are kept as they end (results/activation-proxy-NAME.jsonl).
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.recording import HERE, lines_of, provenance, table, write
from halosearch.families.known import twin_of
from halosearch.families.layers import RELU
from halosearch.proxy.data.dataset import DataRequest
from halosearch.proxy.data.sources import open_data
from halosearch.proxy.training import Trainer, TrainingJob
from halosearch.record.candidates import config_of, text_of
from halosearch.record.evaluation import COMPLETE, RETEST, TRIAL
from halosearch.report.reading import open_study
from halosearch.run.same_inputs import recipe_of

SILU, LONG = "silu", "silu, long"
SEEDS = {RELU: (1, 2), LONG: (3,)}
DRAWS = 2000


def recorded(study, count):
    """(candidate's row, its two rows of scores by rung) of a study's first candidates."""
    opened = open_study(Path(), str(study))
    rows = [row for row in opened.table.rows() if row.state == COMPLETE]
    trials = {row.trial: row for row in rows if row.kind == TRIAL}
    repeats = {row.trial: row for row in rows if row.kind == RETEST}
    both = sorted(trials.keys() & repeats.keys())[:count]
    return opened.spec, {trial: (trials[trial], repeats[trial]) for trial in both}


def with_relu(config):
    """The same network with ReLU everywhere."""
    return replace(config, variant=replace(config.variant, activation=RELU))


def trained(spec, candidate, how, seed, images):
    """One training on one thread: its scores by rung."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    preset, config = spec.preset, config_of(candidate)
    rungs = (images,) if how == LONG else preset.rungs[:2]
    twin = twin_of(with_relu(config) if how == RELU else config, preset.width_multiplier)
    request = DataRequest(
        spec.data, spec.seed, preset.train_images, preset.test_images, config.image_size, Path(), dense=True
    )
    data = open_data(request, "cpu")
    job = TrainingJob(twin, recipe_of(preset), rungs, seed, preset.test_images)
    result = Trainer(job, data, torch.device("cpu")).run()
    return {"scores": [score.score for score in result.scores], "seconds": result.seconds}


def run(spec, pairs, images, kept, processes):
    """All trainings, those in `kept` (JSON lines) read from it, the others appended to it as they end."""
    lines = [line for line in lines_of(kept) if line["how"] == RELU or line["images"] == images]
    known = {(line["trial"], line["how"], line["seed"]): line for line in lines}
    cases = [(trial, how, seed) for trial in pairs for how, seeds in SEEDS.items() for seed in seeds]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        kept.open("a") as file,
        ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        left = {
            pool.submit(trained, spec, pairs[case[0]][0].candidate, *case[1:], images): case
            for case in cases
            if case not in known
        }
        for future in as_completed(left):
            trial, how, seed = left[future]
            length = images if how == LONG else spec.preset.rungs[1]
            line = {"trial": trial, "how": how, "seed": seed, "images": length, **future.result()}
            known[trial, how, seed] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
    return {case: known[case]["scores"] for case in cases}


def tau(a, b):
    return float(kendalltau(a, b)[0])


def with_interval(statistic, count, seed=0):
    """A statistic of candidates (given their places) and its bootstrap interval over them."""
    generator = np.random.default_rng(seed)
    draws = [statistic(generator.integers(0, count, count)) for _ in range(DRAWS)]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return statistic(np.arange(count)), float(low), float(high)


def compared(pairs, scores, rung):
    """At one length: how scores agree between seeds, with the long SiLU trainings, and with depth."""
    short = {
        SILU: [np.array([pairs[trial][k].scores[rung] for trial in pairs]) for k in (0, 1)],
        RELU: [np.array([scores[trial, RELU, seed][rung] for trial in pairs]) for seed in SEEDS[RELU]],
    }
    long = np.array([scores[trial, LONG, SEEDS[LONG][0]][-1] for trial in pairs])
    depth = np.array([pairs[trial][0].candidate["stage3_depth"] for trial in pairs])

    def foretells(how, places):
        return np.mean([tau(each[places], long[places]) for each in short[how]])

    found = {
        how: {
            "between_seeds": with_interval(lambda p, h=how: tau(short[h][0][p], short[h][1][p]), len(pairs)),
            "with_long": with_interval(lambda p, h=how: foretells(h, p), len(pairs)),
            "with_depth": with_interval(lambda p, h=how: np.mean([tau(e[p], depth[p]) for e in short[h]]), len(pairs)),
        }
        for how in short
    }
    found["difference"] = with_interval(lambda p: foretells(RELU, p) - foretells(SILU, p), len(pairs))
    found["long_with_depth"] = with_interval(lambda p: tau(long[p], depth[p]), len(pairs))
    return found


def _said(found):
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def page_of(document):
    """Markdown."""
    lengths = document["lengths"]
    rows = [
        [images, how, *(_said(found[how][each]) for each in ("between_seeds", "with_long", "with_depth"))]
        for images, found in lengths.items()
        for how in (SILU, RELU)
    ]
    last = list(lengths.values())[-1]
    low, high = last["difference"][1:]
    first = "held" if low > 0 else "failed, the other way round" if high < 0 else "not shown"
    second = last[SILU]["with_depth"][0] < -0.3 < last[RELU]["with_depth"][0]
    return "\n\n".join(
        [
            "# Twins with ReLU in place of SiLU",
            f"{document['candidates']} candidates of `{document['study']}`. As what is to be foretold: SiLU twins trained on "
            f"{document['images']:,} images. Kendall's tau with 95 % intervals (bootstrap over candidates).",
            table(
                ["images", "activation", "between two seeds", "with the long trainings", "with stage 3's depth"], rows
            ),
            f"The long trainings themselves with depth: {_said(last['long_with_depth'])}. ReLU foretells them better by "
            + "; ".join(f"{_said(found['difference'])} at {images} images" for images, found in lengths.items())
            + ".",
            f"Expected (1), ReLU foretells better at the longer of the lengths, the interval above 0: "
            f"**{first}**. Expected (2), depth lowers the SiLU score (below -0.3) and not the ReLU "
            f"score: **{'held' if second else 'failed'}**.",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path("studies/dense-20M"))
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu"))
    spec, pairs = recorded(arguments.study, arguments.candidates)
    name = f"activation-proxy-{arguments.study.name}"
    kept = arguments.folder / f"results/{name}.jsonl"
    scores = run(spec, pairs, arguments.images, kept, arguments.processes)
    document = {
        "provenance": where,
        "study": arguments.study.name,
        "candidates": len(pairs),
        "images": arguments.images,
        "texts": {trial: text_of(row.candidate) for trial, (row, _) in pairs.items()},
        "lengths": {str(images): compared(pairs, scores, k) for k, images in enumerate(spec.preset.rungs[:2])},
    }
    write(name, torch.device("cpu"), document, page_of(document), arguments.folder)


if __name__ == "__main__":
    main()
