"""Networks of other families beside the candidates: what was trained, timed and counted of them, and whether they are better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.known import member_title, parse_candidate
from halosearch.record.evaluation import COMPLETE, NETWORK, RIVAL, RIVAL_HELD_OUT, Evaluation
from halosearch.record.trials import repeats
from halosearch.report.finals import mean_with_interval

STATE = "rival"
"""What the table of trials calls a rival; it is no candidate and never on the front."""
MEASURED = ("score", "step_time_s", "step_time_low_s", "step_time_high_s", "seconds", "images_per_s")


def rivals(rows: Sequence[Evaluation], noise: dict[str, Any] | None, member: str | None = None) -> list[dict[str, Any]]:
    """The rivals that have ended, in their order: costs, measurements, mean held-out score with its 95 % interval where noise is known.

    `member`: the published network that the study asks for, which is its first rival.
    """
    found = [_rival(row, rows, noise) for row in rows if row.kind == RIVAL and row.runs]
    if found and member is not None:
        found[0]["title"] = member_title(member)
    return found


def network_name(text: str) -> str:
    """The name of a rival in a sentence: EfficientNet-B4; a HaloNet beside another family has none."""
    head, _, dials = text.partition(":")
    family, _, member = head.partition("-")
    title = family.capitalize().replace("net", "Net")
    if "=" in head:
        return "the rival"
    return f"{title}-{member.upper()}" if member else f"{title} ({dials})"


def _rival(row: Evaluation, rows: Sequence[Evaluation], noise: dict[str, Any] | None) -> dict[str, Any]:
    result, final = row.result, row.result.get("final", {})
    repeated = repeats(rows, RIVAL_HELD_OUT, row.trial)
    again = [each.result for each in repeated]
    scores = [float(each["score"]) for each in again]
    mean, low, high = mean_with_interval(scores, noise) if scores else (None, None, None)
    return {
        "candidate": row.candidate[NETWORK],
        "title": network_name(row.candidate[NETWORK]),
        "image_size": parse_candidate(row.candidate[NETWORK]).image_size,
        "published_size": published_size(row.candidate[NETWORK]),
        "state": row.state,
        "reason": row.reason,
        **row.costs,
        **{name: result.get(name) for name in MEASURED},
        "memory_bytes": result.get("step_time", {}).get("memory_bytes"),
        "images": final.get("images_seen"),
        "parts": final.get("parts", {}),
        "accuracy": final.get("accuracy", {}),
        "seeds": len(scores),
        "held_out_scores": scores,
        "held_out_repeats": [each.repeat for each in repeated],
        "held_out_images": again[0]["final"]["images"] if again else None,
        "held_out_score": mean,
        "held_out_low": low,
        "held_out_high": high,
        "score_half": None if noise is None else 1.96 * noise["sd"],
    }


def published_size(text: str) -> int | None:
    """The image size of the published member that a rival is; None for one that was not published."""
    try:
        size: int = parse_candidate(text.partition(":")[0]).image_size
    except UsageError:
        return None
    return size


def table_rows(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rivals as rows of the table of trials: numbers below nought, no dials."""
    names = (
        *MEASURED,
        "memory_bytes",
        "images",
        "held_out_score",
        "params",
        "macs",
        "activations",
        "candidate",
        "reason",
    )
    return [
        {name: rival[name] for name in names}
        | {"trial": -1 - place, "state": STATE if rival["state"] == COMPLETE else rival["state"], "drawn_evenly": False}
        | {f"part_{name.replace(' ', '_')}": value for name, value in rival["parts"].items()}
        | {f"accuracy_{name}": value for name, value in rival["accuracy"].items()}
        for place, rival in enumerate(found)
    ]


def rival_sentences(summary: dict[str, Any]) -> list[str]:
    """Of each rival: better, worse or not told apart from what is recommended, by how much, at which cost."""
    return [_sentence(rival, summary) for rival in summary["rivals"]]


def _sentence(rival: dict[str, Any], summary: dict[str, Any]) -> str:
    name = rival["candidate"]
    size = rival["published_size"]
    if size is not None and size != rival["image_size"]:
        name += f" (published for {size} pixels, here at the study's {rival['image_size']})"
    if rival["state"] != COMPLETE or rival["held_out_score"] is None:
        why = rival["reason"] or "its held-out scores are not there yet"
        return f"The rival {name} gave no score to compare: {why}."
    return (
        f"The rival {name}, its twin trained like the candidates', scores {rival['held_out_score']:.3f}{_interval(rival)} on the same held-out "
        f"images (mean of {rival['seeds']} seed{'s' if rival['seeds'] > 1 else ''}): {_verdict(rival, summary)}."
    )


def _interval(rival: dict[str, Any]) -> str:
    return "" if rival["held_out_low"] is None else f" [{rival['held_out_low']:.3f}, {rival['held_out_high']:.3f}]"


def _verdict(rival: dict[str, Any], summary: dict[str, Any]) -> str:
    """Against the recommended trial: 95 % interval of the difference of two means, and the ratio of step times and parameters."""
    if not summary["finals"]:
        return "there is no recommended candidate to compare it with"
    first = summary["finals"][0]
    trial = next(each for each in summary["trials"] if each["trial"] == first["trial"])
    ahead = rival["held_out_score"] - first["score"]
    costs = [
        f"{rival['params'] / trial['params']:.2f} of its parameters",
        f"{rival['macs'] / trial['macs']:.2f} of its MACs",
    ]
    if rival["step_time_s"] is not None and trial["step_time_s"] is not None:
        costs.insert(0, f"{rival['step_time_s'] / trial['step_time_s']:.2f} of its training step")
    at = f"at {', '.join(costs[:-1])} and {costs[-1]}"
    if first["low"] is None or rival["held_out_low"] is None:
        return f"{ahead:+.3f} against trial {first['trial']}, whether by more than noise is not known, {at}"
    half = math.hypot(first["score"] - first["low"], rival["held_out_score"] - rival["held_out_low"])
    if abs(ahead) <= half:
        return f"not told apart from trial {first['trial']} ({ahead:+.3f} ± {half:.3f}), {at}"
    return f"{'better' if ahead > 0 else 'worse'} than trial {first['trial']} by {abs(ahead):.3f} ± {half:.3f}, {at}"
