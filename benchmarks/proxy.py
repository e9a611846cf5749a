"""What are the proxy's scores worth? Read off studies whose candidates were all drawn evenly and trained twice.

    python -m benchmarks.proxy studies/dense-6M [studies/OTHER ...] [--folder benchmarks]

For every length: reliability of one score (ICC), agreement of two seeds (tau), what a fit of dials and costs says without training, what
the scores say beyond it; how short trainings rank the longest; and, for studies of the same candidates, how their rankings agree, also
with dials and costs taken out. `chosen-on.json` in a study's folder names the candidates that were looked at while the recipe was
chosen: they are left out.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.recording import HERE, provenance, table, write
from halosearch.analysis.kendall import kendall_tau
from halosearch.analysis.rank_agreement import tau_interval
from halosearch.analysis.reliability import beyond_dials, predicted_without_itself, reliability
from halosearch.analysis.validation_rows import described_by_dials
from halosearch.record.evaluation import COMPLETE, RETEST
from halosearch.record.trials import repeats
from halosearch.report.reading import open_study

CHOSEN_ON = "chosen-on.json"
FEWEST = 12
"""Candidates that two studies must share for their rankings to be compared."""
KINDS = ("test", "prequential", "mean of both", "labels alone")


def values_of(scores, kind, labels):
    """The numbers of one kind, rung by rung; `labels` are the names of the parts that are class labels."""
    test = [float(each["score"]) for each in scores]
    early = [float(each.get("prequential", np.nan)) for each in scores]
    return {
        "labels alone": [np.mean([each["parts"][name] for name in labels]) for each in scores],
        "test": test,
        "prequential": early,
        "mean of both": [(a + b) / 2 for a, b in zip(test, early, strict=True)],
    }[kind]


class Recorded:
    """Scores by kind: (candidates, two seeds, rungs); dials and costs as numbers; whose they are."""

    def __init__(self, folder):
        opened = open_study(Path(), folder)
        self.name, self.spec, rows = opened.spec.name, opened.spec, opened.rows
        file = Path(folder) / CHOSEN_ON
        looked_at = set(json.loads(file.read_text())["trials"]) if file.exists() else set()
        pairs = []
        for trial in opened.trials:
            again = repeats(rows, RETEST, trial.number)
            if trial.state == COMPLETE and again and trial.number not in looked_at:
                pairs.append((trial, again[0]))
        data = json.loads((Path(folder) / "data.json").read_text())
        labels, self.native = [name for name, _ in data["factors"]], data["native_size"]
        self.trials = [trial for trial, _ in pairs]
        self.left_out = len(looked_at & {trial.number for trial in opened.trials})
        self.scores = {
            kind: np.array([[values_of(each.result["scores"], kind, labels) for each in pair] for pair in pairs])
            for kind in KINDS
        }
        described = described_by_dials(self.trials)
        self.features = np.array([described[trial.number] for trial in self.trials])
        self.seconds = np.array([trial.result["train_seconds"] for trial in self.trials])
        self.keys = [json.dumps(trial.dials, sort_keys=True) for trial in self.trials]

    @property
    def rungs(self):
        return self.spec.preset.rungs


def with_interval(found, name):
    return "–" if found is None else f"{found[name]:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def tau_of(first, second):
    tau = kendall_tau(list(first), list(second))
    low, high = tau_interval(tau, len(first))
    return {"tau": tau, "low": low, "high": high, "n": len(first)}


def by_length(study):
    """One row per length and kind of score."""
    found = []
    for (rung, images), kind in itertools.product(enumerate(study.rungs), KINDS):
        pair, longest = study.scores[kind][:, :, rung], study.scores["test"][:, :, -1]
        ways = [tau_of(pair[:, i], longest[:, 1 - i]) for i in (0, 1)]
        found.append(
            {
                "images": images,
                "kind": kind,
                "icc": reliability(pair).to_dict(),
                "tau": tau_of(*pair.T),
                "beyond": beyond_dials(study.features, pair),
                "longest": {key: float(np.mean([way[key] for way in ways])) for key in ("tau", "low", "high")},
                "mean": float(pair.mean()),
                "deviation": float(pair.mean(1).std(ddof=1)),
                "noise": float(np.sqrt(((pair[:, 0] - pair[:, 1]) ** 2).mean() / 2)),
            }
        )
    return found


def shared(first, second):
    """How two studies of the same candidates rank them: by length of both, all and at the pictures' own sizes only.

    Test scores, means of two seeds; plainly, with dials and costs taken out, and against the labels alone of the second.
    """
    native = min((size for size in (first.native, second.native) if size is not None), default=None)
    both = [(i, second.keys.index(key)) for i, key in enumerate(first.keys) if key in second.keys]
    own = [pair for pair in both if native is None or first.trials[pair[0]].dials["image_size"] <= native]
    found = []
    for name, places in ({"all": both} | ({"own sizes": own} if own != both else {})).items():
        if len(places) >= FEWEST:
            for images in sorted({*first.rungs} & {*second.rungs}):
                found.append(
                    {"which": name, "images": [images, images]} | _agreement(first, second, places, (images, images))
                )
            found.append(
                {"which": name, "images": [first.rungs[-1], second.rungs[-1]]}
                | _agreement(first, second, places, (first.rungs[-1], second.rungs[-1]))
            )
    return found


def _agreement(first, second, places, images):
    mine, theirs = ([pair[side] for pair in places] for side in (0, 1))
    at = [study.rungs.index(length) for study, length in zip((first, second), images, strict=True)]
    a, b = first.scores["test"][mine].mean(1)[:, at[0]], second.scores["test"][theirs].mean(1)[:, at[1]]
    labels = second.scores["labels alone"][theirs].mean(1)[:, at[1]]
    rest = [score - predicted_without_itself(first.features[mine], score) for score in (a, b)]
    return {"n": len(places), "plain": tau_of(a, b), "rest": tau_of(*rest), "labels": tau_of(a, labels)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", help="folders of studies")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    studies = [Recorded(folder) for folder in arguments.studies]
    document, sections = {"provenance": provenance(torch.device("cpu"))}, ["# What the proxy's scores are worth"]
    for study in studies:
        found = by_length(study)
        document[study.name] = {"by_length": found, "candidates": len(study.trials), "left_out": study.left_out}
        preset = study.spec.preset
        sections += [
            f"## {study.name}",
            f"{len(study.trials)} candidates drawn evenly ({study.spec.budget.params:,} parameters), two seeds each; {study.left_out} more that "
            f"were looked at while the recipe was chosen are left out. {Path(study.spec.data).name}, twins of {preset.width_multiplier:g} of the "
            f"width, batches of {preset.batch}, {preset.test_images} test images; median training {np.median(study.seconds):.0f} s on one of two "
            "busy cores.",
            table(
                ["images", "score", "ICC", "tau, two seeds", "tau with the longest's test score, other seed", "tau of a fit of dials and costs",
                 "ICC beyond that fit", "candidates' deviation", "noise"],
                [
                    [f"{row['images']:,}", row["kind"], with_interval(row["icc"], "icc"), with_interval(row["tau"], "tau"),
                     with_interval(row["longest"], "tau"), with_interval(row["beyond"], "tau"),
                     with_interval(row["beyond"]["rest"], "icc"), f"{row['deviation']:.3f}", f"{row['noise']:.3f}"]
                    for row in found
                ],
            ),
        ]  # fmt: skip
    for first, second in itertools.combinations(studies, 2):
        both = shared(first, second)
        if both:
            document[f"{first.name} and {second.name}"] = both
            sections += [
                f"## {first.name} and {second.name}",
                "The same candidates, ranked by test scores (means of two seeds) on the one data and on the other.",
                table(
                    ["candidates", "n", f"images, {first.name}", f"images, {second.name}", "tau", "tau, dials and costs taken out",
                     f"tau with the labels alone of {second.name}"],
                    [
                        [row["which"], row["n"], *(f"{images:,}" for images in row["images"]),
                         *(with_interval(row[key], "tau") for key in ("plain", "rest", "labels"))]
                        for row in both
                    ],
                ),
            ]  # fmt: skip
    write("proxy", torch.device("cpu"), document, "\n\n".join(sections), arguments.folder)


if __name__ == "__main__":
    main()
