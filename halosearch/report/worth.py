"""What a study says of its proxy, in sentences: is it reliable, does it say more than the dials, is it stable with length?"""

from __future__ import annotations

from typing import Any


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
            f"Stable with length: shorter trainings with another seed rank like {rungs[-1]:,} images by Kendall tau: {listed} "
            f"(n = {lengths[0][1]['n']})."
        )
    return sentences


def _rest(beyond: dict[str, Any]) -> str:
    rest = beyond["rest"]
    if rest is None:
        return f"whether the proxy says more than that is not decided by {beyond['n']} candidates"
    more = "the proxy says more than that" if rest["low"] > 0 else "that the proxy says more is not shown"
    return f"{more}: of what the fit leaves open, two seeds agree on {interval(rest, 'icc')}"


def interval(found: dict[str, Any], name: str) -> str:
    """A number with its 95 % interval."""
    return f"{found[name]:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
