"""Full trainings side by side: what the last epoch scores, and what it took.

    python -m benchmarks.trained MODEL... [--name cifar10] [--words "two processes by torchrun, one thread each"]

Reads models/NAME/model.json of every model that is named (folders), and keeps them whole under results/. The interval of a top-1 is that of
the pictures alone (Wilson, 95 %): another seed of the training differs by more, and is not known from one.
"""

import argparse
import json
from pathlib import Path

import torch
from scipy.stats import binomtest

from benchmarks.recording import HERE, provenance, table, write


def row_of(about):
    """A model's line."""
    job, last = about["job"], about["epochs"][-1]
    scored = last.get("scored") or int(
        about["data"].split(" to train, ")[1].split(" scored")[0].replace(",", "")
    )  # older records
    ends = binomtest(round(last["top1"] * scored), scored).proportion_ci(0.95, "wilson")
    recipe = job["recipe"]
    return [
        f"`{job['candidate']}`", f"{about['params'] / 1e6:.2f} M", f"{about['macs'] / 1e6:.0f} M", last["epoch"],
        f"{recipe['optimizer']}, batch {recipe['batch']}, rate {recipe['learning_rate']:.3g}", job["seed"],
        f"**{100 * last['top1']:.2f} %** [{100 * ends.low:.2f}, {100 * ends.high:.2f}]", f"{about['seconds'] / 60:.0f}",
    ]  # fmt: skip


def page_of(models, words):
    """The page's text."""
    first = next(iter(models.values()))
    epochs = sorted({row["epoch"] for about in models.values() for row in about["epochs"]})
    shown = [epoch for epoch in epochs if epoch in (1, epochs[-1]) or epoch % 5 == 0]
    curves = [
        [
            epoch,
            *(
                next((f"{100 * row['top1']:.2f} %" for row in about["epochs"] if row["epoch"] == epoch), "")
                for about in models.values()
            ),
        ]
        for epoch in shown
    ]
    return "\n\n".join(
        [
            "# Full trainings",
            f"Data: {first['data']}. {words}",
            table(
                [
                    "network",
                    "parameters",
                    "MACs",
                    "epochs",
                    "recipe",
                    "seed",
                    "top-1 after the last epoch",
                    "minutes of steps",
                ],
                [row_of(about) for about in models.values()],
            ),
            "The interval is that of the scored pictures alone; one seed each. The last epoch, not the best: the scored pictures chose nothing. "
            + (
                "Minutes leave scoring out."
                if all(about.get("runs") for about in models.values())
                else "Minutes are of steps alone: scoring and the reading of pictures are left out."
            ),
            "Top-1 by epoch:",
            table(["epoch", *models], curves),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--name", default="cifar10")
    parser.add_argument("--words", default="")
    parser.add_argument("--folder", default=HERE, help="where the page and results/ go")
    arguments = parser.parse_args()
    models = {path.name: json.loads((path / "model.json").read_text()) for path in arguments.models}
    if len({(about["data"], about["job"]["data"]) for about in models.values()}) > 1:
        parser.error("the models were trained on different data, and are not to be compared")
    device = torch.device("cpu")
    where = provenance(device)
    where["command"] = (
        f"python -m benchmarks.trained {' '.join(f'models/{name}' for name in models)} --name {arguments.name}"
    )
    document = {"provenance": where, "models": models, "words": arguments.words}
    write(f"trained-{arguments.name}", device, document, page_of(models, arguments.words), arguments.folder)


if __name__ == "__main__":
    main()
