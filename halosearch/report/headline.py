"""The first screen: what was asked, what was found in plain words, how far to trust it, at what price.

Every number is the summary's own; the terminal ends with the same words.
"""

from __future__ import annotations

import math
from typing import Any

from halosearch.analysis.rank_agreement import VALID_PAIRS, VALID_TAU
from halosearch.families.known import HALONET, member_title
from halosearch.record.evaluation import COMPLETE

Card = dict[str, str]
TRUST = {"valid": "good", "failed": "poor", "unknown": "not shown yet"}
"""The verdict on the proxy, as a word."""
FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½", 0.75: "¾", 0.375: "⅜"}


def headline(summary: dict[str, Any]) -> dict[str, Any]:
    """Title, subtitle, one sentence of answer, what the score is, cards (label, value, note, the word that is explained), the choice in a tie."""
    return {
        "title": _title(summary),
        "subtitle": _subtitle(summary),
        "sentence": _sentence(summary),
        "measured": measured_words(summary),
        "cards": [card for card in (_score(summary), _step(summary), _trust(summary), _cost(summary)) if card],
        "choice": _choice(summary),
    }


def amount(value: float) -> str:
    """A count with three digits and its unit apart: 20 M, 5.5 M, 704 M, 11.9 G."""
    for scale, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:g}"


def fraction(share: float) -> str:
    """A share of the width: ⅛."""
    return FRACTIONS.get(share, f"{share:g}")


def duration(seconds: float) -> str:
    """A time for people: 42 s, 9 min 21 s, 3 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def first_final(summary: dict[str, Any]) -> dict[str, Any] | None:
    """The finalist that is recommended, if there is one."""
    found: dict[str, Any] | None = next(iter(summary["finals"]), None)
    return found


def ties(summary: dict[str, Any]) -> list[int]:
    """Finalists that cannot be told from the recommended one by the 95 % interval of the difference."""
    first = first_final(summary)
    if first is None:
        return []
    return [other["trial"] for other in summary["finals"][1:] if not told_apart(first, other)]


def told_apart(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two means differ by more than the 95 % interval of their difference; without known noise nothing does."""
    if first["low"] is None or other["low"] is None:
        return False
    half = math.hypot(first["score"] - first["low"], other["score"] - other["low"])
    return bool(abs(first["score"] - other["score"]) > half)


def trial_of(summary: dict[str, Any], number: int) -> dict[str, Any]:
    """The summary's row of a trial."""
    found: dict[str, Any] = next(trial for trial in summary["trials"] if trial["trial"] == number)
    return found


def measured_words(summary: dict[str, Any]) -> str:
    """What a score of this study is of."""
    preset, data = summary["spec"]["preset"], summary["data"]
    asked = len(data.get("dense", ())) + len(data.get("factors", ())) or None
    things = "" if asked is None else f" and asked {asked} thing{'s' if asked > 1 else ''} about others"
    return (
        f"Scores are of a copy with {fraction(preset['width_multiplier'])} of the channels, trained on {preset['rungs'][-1]:,} pictures{things}: "
        "0 is guessing, 1 is knowing everything."
    )


def _title(summary: dict[str, Any]) -> str:
    spec = summary["spec"]
    name = {HALONET: "HaloNet"}.get(spec["family"], spec["family"].capitalize().replace("net", "Net"))
    if spec.get("rediscover"):
        return f"Is {member_title(spec['rediscover'])} found again?"
    return f"Which {name} of {amount(spec['budget']['params'])} parameters?"


def _subtitle(summary: dict[str, Any]) -> str:
    spec, device = summary["spec"], summary["provenance"]["device"]
    kind, _, model = device.get("device", "CPU" if spec["device"] == "cpu" else spec["device"]).partition(", ")
    where = f"a {kind} ({model})" if model else f"a {kind}"
    data = "generated scenes" if "synthetic" in summary["data"]["description"] else summary["data"]["description"]
    tried = sum(summary["counts"].values())
    return (
        f"Study {summary['study']}: {tried:,} of {summary['pool_size']:,} candidates tried, ±{100 * spec['budget']['tolerance']:g} % of the budget, "
        f"on {where}; {data}"
    )


def _sentence(summary: dict[str, Any]) -> str:
    first = first_final(summary)
    if first is None:
        return _unfinished(summary)
    trial, equal = trial_of(summary, first["trial"]), ties(summary)
    said = f"Trial {first['trial']} scores best on pictures that nobody had looked at"
    rival = _rival(summary, first)
    if not equal:
        return f"{said}{'' if len(summary['finals']) == 1 else ', beyond the noise'}.{rival}"
    faster = _faster(trial, [trial_of(summary, number) for number in equal])
    names = f"trial{'s' if len(equal) > 1 else ''} {', '.join(map(str, equal))} cannot be told from it"
    return f"{said}; {names}{faster}.{rival}"


def _rival(summary: dict[str, Any], first: dict[str, Any]) -> str:
    """How the first rival with a held-out score stands to what is recommended."""
    rival = next((r for r in summary["rivals"] if r["held_out_score"] is not None), None)
    if rival is None:
        return ""
    name, trial = network_name(rival["candidate"]), trial_of(summary, first["trial"])
    name = name[0].upper() + name[1:]
    beside = {"score": rival["held_out_score"], "low": rival["held_out_low"], "high": rival["held_out_high"]}
    apart = told_apart(first, beside)
    said = (
        "cannot be told from it" if not apart else "scores more" if beside["score"] > first["score"] else "scores less"
    )
    if not rival["step_time_s"] or not trial["step_time_s"]:
        return f" {name} {said}."
    times = rival["step_time_s"] / trial["step_time_s"]
    return f" {name} {said} and takes {times:.2f} times as long a step."


def _faster(trial: dict[str, Any], equal: list[dict[str, Any]]) -> str:
    """Which of the equals takes less time, if one does beyond the interval of the step."""
    timed = [each for each in equal if each["step_time_s"] and trial["step_time_s"]]
    quick = min(timed, key=lambda each: each["step_time_s"], default=None)
    if quick is None or quick["step_time_high_s"] is None or quick["step_time_high_s"] >= trial["step_time_s"]:
        return ""
    share = quick["step_time_s"] / trial["step_time_s"]
    which = "and" if len(equal) == 1 else f"and trial {quick['trial']}"
    return f" {which} trains in {share:.2f} of its time"


def _unfinished(summary: dict[str, Any]) -> str:
    done = [trial for trial in summary["trials"] if trial["state"] == COMPLETE]
    if not done:
        ended = ", ".join(f"{n} {state}" for state, n in summary["counts"].items()) or "no trial"
        return f"No network has given a usable result yet: {ended}."
    best = max(done, key=lambda trial: (trial["score"], -trial["trial"]))
    if summary["validation"]["verdict"] == "failed" and summary["forced"] is None:
        return "Scores of these networks do not rank them: two trainings of the same ones disagree, so nothing was searched."
    return f"So far trial {best['trial']} scores best, from one seed; no score on held-out pictures yet."


def _score(summary: dict[str, Any]) -> Card | None:
    first, width = first_final(summary), fraction(summary["spec"]["preset"]["width_multiplier"])
    if first is not None:
        span = "" if first["low"] is None else f"[{first['low']:.3f}, {first['high']:.3f}], "
        seeds = f"{first['seeds']} seed{'s' if first['seeds'] > 1 else ''}"
        beside = next((r for r in summary["rivals"] if r["held_out_score"] is not None), None)
        rival = "" if beside is None else f"; {network_name(beside['candidate'])} {beside['held_out_score']:.3f}"
        note = f"{span}{width}-width copy, held-out pictures, {seeds}{rival}"
        return _card(f"Score of trial {first['trial']}", f"{first['score']:.3f}", note, "score")
    best = max((t for t in summary["trials"] if t["state"] == COMPLETE), key=lambda t: t["score"], default=None)
    if best is None:
        return None
    return _card(
        f"Score of trial {best['trial']}",
        f"{best['score']:.3f}",
        f"one seed, {width}-width copy, in the search",
        "score",
    )


def _step(summary: dict[str, Any]) -> Card | None:
    first = first_final(summary)
    done = [t for t in summary["trials"] if t["state"] == COMPLETE]
    if not done:
        return None
    trial = trial_of(summary, first["trial"]) if first else max(done, key=lambda t: (t["score"], -t["trial"]))
    if trial["step_time_s"] is None:
        return None
    rival = next((r for r in summary["rivals"] if r["step_time_s"]), None)
    note = f"full network, {summary['spec']['preset']['timing_batch']} pictures"
    if rival is not None:
        note = f"{trial['step_time_s'] / rival['step_time_s']:.2f} of {network_name(rival['candidate'])}'s; {note}"
    return _card("Its training step", _seconds(trial["step_time_s"]), note, "training step")


def network_name(text: str) -> str:
    """The name of a rival in a sentence: EfficientNet-B4; a HaloNet beside another family has none."""
    head, _, dials = text.partition(":")
    family, _, member = head.partition("-")
    title = family.capitalize().replace("net", "Net")
    if "=" in head:
        return "the rival"
    return f"{title}-{member.upper()}" if member else f"{title} ({dials})"


def _trust(summary: dict[str, Any]) -> Card:
    validation, found = summary["validation"], summary["agreement"]
    word = TRUST.get(validation["verdict"], validation["verdict"])
    if summary["forced"] is not None:
        word = "poor; searched anyway"
    if found is None:
        return _card("Trust in the ranking", word, "no network was trained twice yet", "Kendall τ")
    asked = f"{VALID_TAU:g} on {VALID_PAIRS} is asked"
    note = f"two trainings of {found['n']} networks agree by τ {found['tau']:.2f} [{found['low']:.2f}, {found['high']:.2f}]; {asked}"
    return _card("Trust in the ranking", word, note, "Kendall τ")


def _cost(summary: dict[str, Any]) -> Card:
    spent, tried = summary["provenance"]["spent_seconds"], sum(summary["counts"].values())
    again = summary["provenance"]["evaluations"] - tried
    note = f"of one worker: {tried:,} network{'s' if tried != 1 else ''}" + (
        f" and {again:,} further trainings" if again > 0 else ""
    )
    return _card("It cost", duration(spent), note, "trial")


def _card(label: str, value: str, note: str, term: str) -> Card:
    return {"label": label, "value": value, "note": note, "term": term}


def _seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _choice(summary: dict[str, Any]) -> list[str]:
    """Where finalists tie: why one of them is named first, and what speaks for the others."""
    first = first_final(summary)
    if first is None:
        return []
    trial, sentences = trial_of(summary, first["trial"]), list[str]()
    for final in summary["finals"][1:]:
        other = trial_of(summary, final["trial"])
        if told_apart(first, final):
            sentences.append(f"Trial {final['trial']} scores {final['score']:.3f}: less, beyond the noise.")
            continue
        gap = first["score"] - final["score"]
        half = (
            ""
            if first["low"] is None
            else f" ± {math.hypot(first['score'] - first['low'], final['score'] - final['low']):.3f}"
        )
        sentences.append(
            f"Trial {first['trial']} is named first because its mean is higher: {first['score']:.3f} against {final['score']:.3f} of trial "
            f"{final['trial']}. The difference, {gap:.3f}{half}, is within the noise{_for_the_other(trial, other)}."
        )
    return sentences


def _for_the_other(trial: dict[str, Any], other: dict[str, Any]) -> str:
    speaks = []
    if trial["step_time_s"] and other["step_time_s"] and other["step_time_s"] < trial["step_time_s"]:
        speaks.append(f"its step takes {other['step_time_s'] / trial['step_time_s']:.2f} of the time")
    if other["params"] < trial["params"]:
        speaks.append(f"it has {other['params'] / trial['params']:.2f} of the parameters")
    if trial["p_front"] is not None and other["p_front"] is not None and other["p_front"] > trial["p_front"]:
        speaks.append(f"it is on the front in {other['p_front']:.2f} of redrawn scores against {trial['p_front']:.2f}")
    if not speaks:
        return ""
    return f"; for trial {other['trial']} speaks that {' and '.join(speaks)}"
