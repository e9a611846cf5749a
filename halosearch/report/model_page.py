"""The page of a trained model: what it scores, its curve, what it was trained on and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from halosearch.families.known import parse_candidate
from halosearch.files import write_text
from halosearch.record.trials import to_json
from halosearch.report.figures.network import draw_network
from halosearch.report.figures.style import COMPLETE, EFFICIENTNET, FRONT, axis, styled
from halosearch.report.network_rows import network_rows, rows_as_values
from halosearch.report.numbers import seconds_words
from halosearch.report.printed import printed
from halosearch.report.shell import CONFIG, base64_text, page
from halosearch.report.tops import model_top


def model_answer(about: Mapping[str, Any]) -> list[str]:
    """What was trained, and what it scores."""
    job, last = about["job"], about["epochs"][-1]
    recipe = job["recipe"]
    sentences = [
        f"{job['candidate']} ({about['params']:,} parameters, {about['macs']:,} MACs) scores {100 * last['top1']:.2f} % top-1 on "
        f"{last['scored']:,} pictures after {last['epoch']} epochs of {about['data']}: the last epoch, not the best.",
        f"Recipe {recipe['name']}: {recipe['optimizer']}, batch {recipe['batch']}, peak rate {recipe['learning_rate']:.3g}, seed {job['seed']}; "
        f"{seconds_words(about['seconds'])} of steps and reading{_where(about)}. One seed: how far another would differ is not known from it.",
    ]
    if about.get("chosen"):
        sentences.append(
            f"{about['chosen']} was chosen by a study: where that searched on some of these pictures, scoring them again flatters it."
        )
    if about["unreadable"]:
        name, reason = about["unreadable"][0]
        sentences.append(
            f"{len(about['unreadable'])} pictures could not be read and were left out; the first: {name} ({reason})."
        )
    return sentences


def _where(about: Mapping[str, Any]) -> str:
    """By how many processes on what, as far as that is recorded."""
    runs = about.get("runs", [])
    places = dict.fromkeys(
        f"{run['processes']} process{'es' if run['processes'] > 1 else ''} on {run['device']} in {run['precision']}"
        for run in runs
    )
    return f", by {', then '.join(places)}" if places else ""


def draw_curve(about: Mapping[str, Any]) -> Any:
    """Losses and top-1 by epoch, on two axes."""
    rows = about["epochs"]
    figure, epochs = go.Figure(), [row["epoch"] for row in rows]
    for name, key, colour, symbol, side in (
        ("loss of training images", "train_loss", COMPLETE, "circle", "y"),
        ("loss of scored images", "test_loss", EFFICIENTNET, "square", "y"),
        ("top-1 of scored images", "top1", FRONT, "diamond", "y2"),
    ):
        figure.add_trace(
            go.Scatter(
                x=epochs, y=[row[key] for row in rows], mode="lines+markers", name=name, yaxis=side,
                line={"color": colour, "width": 1.5}, marker={"color": colour, "symbol": symbol, "size": 6},
                hovertemplate="epoch %{x}: %{y:.4f}<extra></extra>",
            )
        )  # fmt: skip
    found = styled(figure, axis("epoch"), axis("loss"))
    found.update_layout(yaxis2=axis("top-1", overlaying="y", side="right", showgrid=False))
    return found


def write_model(folder: Path, about: Mapping[str, Any]) -> Path:
    """Write index.html; returns its path.

    Raises:
        OSError: the folder cannot be written.
    """
    figure = draw_curve(about)
    text = page(
        "model.html.j2",
        folder.name,
        {"figures": {"curve": figure.to_plotly_json()}, "config": CONFIG},
        top=model_top(folder.name, about),
        network=draw_network(
            rows_as_values(network_rows(parse_candidate(about["job"]["candidate"]), classes=about["job"]["classes"]))
        ),
        about=about,
        answer=model_answer(about),
        curve=base64_text(printed(figure, "svg", on_page=True)),
        recipe=to_json(about["job"]),
    )
    write_text(folder / "index.html", text)
    return folder / "index.html"
