"""Does another seed agree with what a study recommended?

    python -m benchmarks.other_seeds STUDY [--seeds 4] [--candidates 7] [--workers 2] [--folder benchmarks]

The recommended candidate, and the best of the others by their score in the search, are trained with seeds that the study has not
used and scored on its held-out images, which no search saw. Seeds are paired: within one all candidates see the same pictures in the
same order. What is compared are means over these new seeds alone.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.recording import HERE, provenance, table, write
from halosearch.proxy.data.sources import open_data
from halosearch.record.evaluation import COMPLETE, HELD_OUT, Evaluation
from halosearch.record.folders import folders_of
from halosearch.report.finals import final_scores
from halosearch.report.reading import open_study
from halosearch.run.evaluate import make_evaluate
from halosearch.run.study import data_request, settings_of
from halosearch.search.repeats import final_seed

NEW_FROM = 10
"""The first repeat of a final that no preset asks for."""
T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Student's t, two-sided 95 %, by the number of seeds."""


class World:
    """Nobody listens, nobody stops."""

    def should_stop(self):
        return False

    def report(self, images, total, loss):
        del images, total, loss


def scored(task):
    """One training of a candidate, scored on held-out images."""
    spec, row = task
    with TemporaryDirectory() as folder:
        folders = folders_of(Path(folder), spec.name)
        folders.checkpoints.mkdir(parents=True)
        evaluate = make_evaluate(settings_of(spec, folders, open_data(data_request(spec, folders))))
        return float(evaluate(row, World())["score"])


def interval(values):
    """Mean and half-width of its 95 % interval over seeds."""
    return float(np.mean(values)), float(T_975[len(values)] * np.std(values, ddof=1) / len(values) ** 0.5)


def chosen(opened, most):
    """The recommended trial first, then the best others in the search."""
    recommended = final_scores(opened.trials, opened.rows, None)[0]["trial"]
    done = sorted((t for t in opened.trials if t.state == COMPLETE), key=lambda t: (-t.result["score"], t.number))
    return [t for t in done if t.number == recommended] + [t for t in done if t.number != recommended][: most - 1]


def compared(trials, scores, finals):
    """A row per candidate, and which of the others are better or worse than the first beyond the interval of the paired seeds."""
    rows, better, worse = [], [], []
    for trial, own in zip(trials, scores, strict=True):
        mean, half = interval(own)
        ahead, doubt = interval(scores[0] - own)
        better += [trial.number] if ahead + doubt < 0 else []
        worse += [trial.number] if ahead - doubt > 0 else []
        there = finals.get(trial.number, {}).get("score")
        said = "recommended" if trial is trials[0] else f"{ahead:+.3f} ± {doubt:.3f}"
        in_study = [f"{trial.result['score']:.3f}", "" if there is None else f"{there:.3f}"]
        rows.append([trial.number, *in_study, f"{mean:.3f} ± {half:.3f}", said])
    return rows, better, worse


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--seeds", type=int, default=4, choices=sorted(T_975))
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    opened = open_study(Path(), arguments.study)
    spec, where, count = opened.spec, provenance(torch.device("cpu")), arguments.seeds
    trials = chosen(opened, arguments.candidates)
    tasks = [
        (spec, Evaluation(0, HELD_OUT, t.dials, t.costs, final_seed(spec.seed, repeat), trial=t.number, repeat=repeat))
        for t in trials
        for repeat in range(NEW_FROM, NEW_FROM + count)
    ]
    with ProcessPoolExecutor(arguments.workers) as workers:
        scores = np.array(list(workers.map(scored, tasks))).reshape(len(trials), count)
    finals = {final["trial"]: final for final in final_scores(opened.trials, opened.rows, None)}
    rows, better, worse = compared(trials, scores, finals)
    ranks = ((scores > scores[0]).sum(0) + 1).tolist()
    headline = (
        f"**Trial {trials[0].number} was recommended. With {count} new seeds it is number {', '.join(map(str, ranks))} of {len(trials)}; "
        f"of the others {len(better)} are better than it beyond the 95 % interval of {count} paired seeds, {len(worse)} are worse.**"
    )
    how = (
        f"{len(trials)} candidates: the recommended one and the best of the others by their score in the search. Trained with seeds that "
        f"the study has not used, as long as there ({spec.preset.rungs[-1]:,} images), scored on held-out images. Intervals are "
        "Student's, not corrected for the number of comparisons."
    )
    header = [
        "trial",
        "score in the search",
        "held-out score there",
        f"held-out score, {count} new seeds",
        "recommended minus it",
    ]
    page = "\n\n".join(
        [f"# Do other seeds agree with what {spec.name} recommended?", headline, how, table(header, rows)]
    )
    numbers = {
        "trials": [t.number for t in trials],
        "scores": scores.tolist(),
        "ranks": ranks,
        "better": better,
        "worse": worse,
    }
    write(f"other-seeds-{spec.name}", torch.device("cpu"), {"provenance": where, **numbers}, page, arguments.folder)


if __name__ == "__main__":
    main()
