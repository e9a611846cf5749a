"""What a study says of its proxy, in sentences: is it reliable, does it say more than the dials, is it stable with length?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halosearch.analysis.proxy_validation import FAILED, STABLE, STABLE_TAU, UNKNOWN, VALID
from halosearch.families.known import HALONET
from halosearch.spec.presets import PRESETS


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one-dial-at-a-time trainings of a preset on built-in scenes showed: the dials that are seen, and those that are not."""

    data: str
    seeds: int
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


SWEEPS = {"cpu-10m": Sweep("scenes-easy-2", 8, ("s", "rb", "l3", "df"), ("b", "h", "rv", "heads"))}
"""By preset; measured by `python -m benchmarks.dials`, whose record a test compares with these."""
PROXY = (
    "width_multiplier", "rungs", "batch", "learning_rate", "warmup_steps", "cooldown", "norm_batches", "dense", "train_images",
    "test_images", "scenes",
)  # fmt: skip
"""What of a preset decides what a score means."""

_VERDICTS = {VALID: " (yes)", FAILED: " (no)", UNKNOWN: " (not decided by so few)", None: ""}


def worth_sentences(summary: dict[str, Any]) -> list[str]:
    """One sentence for each of the three that is known; for the second also why it is not."""
    found = summary["validation"]
    sentences = []
    reliable = found.get("reliability")
    if reliable is not None:
        sentences.append(
            f"Reliability of one score: candidates make {interval(reliable, 'icc')} of its variance (two-way intraclass correlation, "
            f"n = {reliable['n']}), the seed makes the rest."
        )
    beyond = found.get("beyond")
    if beyond is not None:
        sentences.append(
            "A linear fit of dials and costs ranks candidates that it has not seen, without training them, with Kendall tau "
            f"{interval(beyond, 'tau')} (n = {beyond['n']}); {_rest(beyond)}."
        )
    rungs = summary["spec"]["preset"]["rungs"]
    lengths = [(images, tau) for images, tau in zip(rungs, found.get("lengths", ()), strict=False) if tau is not None]
    if lengths:
        listed = ", ".join(f"{images:,} images {interval(tau, 'tau')}" for images, tau in lengths)
        sentences.append(
            f"Stable with length{_VERDICTS[found.get('statements', {}).get(STABLE)]}: shorter trainings with another seed rank like "
            f"{rungs[-1]:,} images by Kendall tau: {listed} (n = {lengths[0][1]['n']}; {STABLE_TAU:g} is asked)."
        )
    return [*sentences, _dials(summary["spec"])]


def images_words(preset: dict[str, Any]) -> str:
    """On how many images twins are trained."""
    *shorter, longest = (f"{rung:,}" for rung in preset["rungs"])
    if not shorter or preset["eta"]:
        return " then ".join([*shorter, longest]) + " images"
    return f"{longest} images (those drawn evenly are scored after {' and '.join(shorter)}, too)"


def _dials(spec: dict[str, Any]) -> str:
    """Which dials this training was shown to see; a study of other trainings, or of other images, is told that it is not known."""
    mine = spec["preset"]
    sweep = SWEEPS.get(mine["name"])
    swept = PRESETS[mine["name"]].model_dump(mode="json") if sweep is not None else {}
    if (
        sweep is None
        or spec["family"] != HALONET
        or sweep.data != spec["data"]
        or any(mine[name] != swept[name] for name in PROXY)
    ):
        return "Which dials these trainings can see, one moved at a time, was not measured for this preset and data."
    return (
        f"Moved one at a time ({sweep.seeds} seeds, benchmarks/dials-{mine['name']}-cpu.md), {', '.join(sweep.seen)} change this "
        f"preset's score; no effect of {', '.join(sweep.unseen)} was seen: where candidates differ in these alone, their order is chance "
        "or cost."
    )


def _rest(beyond: dict[str, Any]) -> str:
    rest = beyond["rest"]
    if rest is None:
        return f"whether the proxy says more than that is not decided by {beyond['n']} candidates"
    more = "the proxy says more than that" if rest["low"] > 0 else "that the proxy says more is not shown"
    return f"{more}: of what the fit leaves open, two seeds agree on {interval(rest, 'icc')}"


def interval(found: dict[str, Any], name: str) -> str:
    """A number with its 95 % interval."""
    return f"{found[name]:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
