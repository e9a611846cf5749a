"""Does a network that was trained at 32 pixels begin better at 48, with a larger window, than one from scratch?

    python -m benchmarks.transfer --data cifar10-30k [--seeds 0,1,2,3,4,5] [--root .]

Every seed trains one small HaloNet at 32 pixels, then goes on with its weights at 48 pixels with a window of 10 instead of 6, once with the
relative embeddings interpolated and once with embeddings of nought; beside them is the larger network from scratch with as many images at
48 pixels, and, for its price with seeds 0 to 2 only, one with as many images in all. Everything is `halosearch train-model`'s: killed and
started again it goes on (models/transfer-ARM-SEED), and seeds may be shared among processes. The page is written when all seeds that were
named are done.

What is expected stands in EXPECT and was committed before the first training. Rates: the default from scratch, a quarter of it for weights
that were trained before, chosen beforehand and not tuned.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.judged import spread, verdicts_of
from benchmarks.recording import HERE, provenance, table, write
from halosearch.families.known import parse_candidate
from halosearch.run.model import MODELS, Listening, ModelRequest, train_model
from halosearch.training.recipe import recipe_of
from halosearch.training.world import World

SMALL = "s=32,b=4,h=1,rv=1,rb=1,depths=1-1-1-1"
LARGE = "s=48,b=6,h=2,rv=1,rb=1,depths=1-1-1-1"
BEFORE, AFTER = 3, 1
"""Epochs at 32 and at 48 pixels."""
RATE, BATCH = 2e-3, 128
EXPECT = (
    "score(interpolated) > score(scratch)",
    "score(interpolated) > score(zero)",
    "|score(interpolated) - score(as many in all)| < 0.03",
)
FIRST, IN_ALL = "small", "as many in all"
SEEDS_IN_ALL = (0, 1, 2)


def arms():
    """Arm -> (candidate, epochs, share of the rate, embeddings or None where it begins anew)."""
    return {
        FIRST: (SMALL, BEFORE, 1.0, None),
        "interpolated": (LARGE, AFTER, 0.25, "interpolated"),
        "zero": (LARGE, AFTER, 0.25, "zero"),
        "scratch": (LARGE, AFTER, 1.0, None),
        IN_ALL: (LARGE, BEFORE + AFTER, 1.0, None),
    }


def name_of(arm, seed):
    """The model's."""
    return f"transfer-{arm.replace(' ', '-')}-{seed}"


def train(arm, seed, data, root, tell=print):
    """One arm with one seed, or what is left of it; returns its model.json."""
    candidate, epochs, share, embeddings = arms()[arm]
    said = {"epochs": epochs, "batch": BATCH, "crop": 0.5, "learning_rate": RATE * share, "ema": 0.0}
    asked = ModelRequest(
        parse_candidate(candidate), data, root, name_of(arm, seed), "short", said, None, seed,
        None if embeddings is None else root / MODELS / name_of(FIRST, seed), embeddings or "interpolated",
    )  # fmt: skip
    listening = Listening(lambda words: tell(f"{name_of(arm, seed)}: {words}"), lambda *_: None, lambda: False)
    about = train_model(asked, torch.device("cpu"), World(), listening)
    tell(f"{name_of(arm, seed)}: top-1 {about['epochs'][-1]['top1']:.4f}, {about['seconds']:.0f} s")
    return about


def document_of(models):
    """What of arm -> seed -> model.json is kept."""
    first = next(iter(next(iter(models.values())).values()))
    return {
        "data": first["data"],
        "recipe": recipe_of(
            "short", parse_candidate(LARGE), {"crop": 0.5, "ema": 0.0, "epochs": AFTER, "batch": BATCH}
        ).model_dump(),
        "expect": list(EXPECT),
        "arms": {
            arm: {
                str(seed): {key: about[key] for key in ("job", "params", "macs", "epochs", "seconds")}
                for seed, about in by_seed.items()
            }
            for arm, by_seed in models.items()
        },
    }


def page_of(document):
    """The page's text."""
    kept = document["arms"]
    scores = {
        arm: {seed: each["epochs"][-1]["top1"] for seed, each in by_seed.items()}
        for arm, by_seed in kept.items()
        if arm != FIRST
    }
    rows = []
    for arm, by_seed in kept.items():
        some = next(iter(by_seed.values()), None)
        if some is None:
            continue
        job = some["job"]
        began = {"": "anew"}.get(job["init"], f"of `{FIRST}`, embeddings {job['init'].partition('-')[2]}")
        rows.append(
            [arm, f"`{job['candidate']}`", began, f"{some['epochs'][-1]['images']:,}", f"{job['recipe']['learning_rate']:.2g}",
             f"{some['macs'] / 1e6:.0f} M", spread(each["epochs"][-1]["top1"] for each in by_seed.values()),
             len(by_seed), f"{sum(each['seconds'] for each in by_seed.values()) / len(by_seed):.0f}"]
        )  # fmt: skip
    seeds = len(next(iter(kept.values())))
    return "\n\n".join(
        [
            "# From one size and window to another",
            f"Data: {document['data']}. {seeds} seeds: every seed has its own network at 32 pixels, order and augmentation. Last epoch, never the "
            "best. What was expected, before the first training, and what became of it (paired by seed, verdicts hold together with 95 %):",
            "\n".join(verdicts_of(document["expect"], scores)),
            table(
                [
                    "arm",
                    "network",
                    "weights",
                    "images",
                    "peak rate",
                    "MACs",
                    "top-1 (deviation over seeds)",
                    "seeds",
                    "seconds",
                ],
                rows,
            ),
            "`scratch` sees as many images at 48 pixels as the two that go on; `as many in all` also those that they were given at 32. Images are "
            "32 pixels wide as they come: at 48 the network looks more closely, at nothing new.",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    where = provenance(torch.device("cpu"))
    seeds = [int(each) for each in arguments.seeds.split(",")]
    models = {arm: {} for arm in arms()}
    for seed in seeds:
        for arm in arms():
            if arm != IN_ALL or seed in SEEDS_IN_ALL:
                models[arm][seed] = train(
                    arm, seed, arguments.data, arguments.root, lambda words: print(words, flush=True)
                )
    where["command"] = f"python -m benchmarks.transfer --data {Path(arguments.data).name} --seeds {arguments.seeds}"
    document = {"provenance": where, **document_of(models)}
    write("transfer", torch.device("cpu"), document, page_of(document), arguments.folder)


if __name__ == "__main__":
    main()
