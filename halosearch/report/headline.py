"""The first screen: what was asked, what was found in plain words, how far to trust it, at what price.

Every number is the summary's own; the terminal ends with the same words.
"""

from __future__ import annotations

import math
from typing import Any

from halosearch.analysis.rank_agreement import VALID_PAIRS, VALID_TAU
from halosearch.families.known import HALONET, member_title
from halosearch.record.evaluation import COMPLETE, RUNNING
from halosearch.report.numbers import amount, duration, fraction, seconds_words

Card = dict[str, str]
NOISE_UNKNOWN = ", whether by more than the noise is not known"
TRUST = {"valid": "good", "failed": "poor", "unknown": "undecided"}
"""The verdict on the proxy, as a word."""


def headline(summary: dict[str, Any]) -> dict[str, Any]:
    """Title, subtitle, one sentence of answer, what the score is, cards (label, value, note, the word that is explained), the choice in a tie."""
    return {
        "title": _title(summary),
        "subtitle": _subtitle(summary),
        "sentence": _statements(summary) + _sentence(summary),
        "measured": measured_words(summary),
        "cards": [card for card in (_score(summary), _step(summary), _trust(summary), _cost(summary)) if card],
        "choice": _choice(summary),
    }


def first_final(summary: dict[str, Any]) -> dict[str, Any] | None:
    """The finalist that is recommended, if there is one."""
    found: dict[str, Any] | None = next(iter(summary["finals"]), None)
    return found


def ties(summary: dict[str, Any]) -> list[int]:
    """Finalists that cannot be told from the recommended one by the 95 % interval of the difference."""
    first = first_final(summary)
    if first is None:
        return []
    return [other["trial"] for other in summary["finals"][1:] if told_apart(first, other) is False]


def told_apart(first: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """Whether two means differ by more than the 95 % interval of their difference; None where the noise is not known."""
    if first["low"] is None or other["low"] is None:
        return None
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
    things = "" if asked is None else f", asked for {asked} propert{'ies' if asked > 1 else 'y'} of others"
    return (
        f"Scores (no accuracies) are of copies with {fraction(preset['width_multiplier'])} of the channels, trained on {preset['rungs'][-1]:,} "
        f"pictures{things}: 0 is guessing, 1 is all."
    )


def _title(summary: dict[str, Any]) -> str:
    spec = summary["spec"]
    name = {HALONET: "HaloNet"}.get(spec["family"], spec["family"].capitalize().replace("net", "Net"))
    if spec.get("rediscover"):
        return f"Is {member_title(spec['rediscover'])} found again?"
    return f"Which {name} of {amount(spec['budget']['params'])} parameters?"


def _subtitle(summary: dict[str, Any]) -> str:
    spec, device = summary["spec"], summary["provenance"]["device"]
    kind, _, model = device.get("device", "CPU" if spec["device"] == "cpu" else "GPU").partition(", ")
    where = f"a {kind} ({model})" if model else f"one {kind}"
    data = (
        "generated pictures (scenes)"
        if "synthetic" in summary["data"]["description"]
        else summary["data"]["description"]
    )
    tried, limit = sum(summary["counts"].values()), spec["budget"]["max_macs"]
    macs = "" if limit is None else f" and at most {amount(limit)} MACs"
    return (
        f"Study {summary['study']}: {tried:,} of {summary['pool_size']:,} networks of {amount(spec['budget']['params'])} "
        f"±{100 * spec['budget']['tolerance']:g} % parameters{macs} tried, on {where}; {data}"
    )


def _statements(summary: dict[str, Any]) -> str:
    """Of a study that asks for a published member, the verdicts on R0 to R3."""
    if not summary["spec"].get("rediscover"):
        return ""
    return ", ".join(f"{each['id']} {each['verdict']}" for each in summary["rediscovery"][:4]) + ". "


def _sentence(summary: dict[str, Any]) -> str:
    first = first_final(summary)
    if first is None:
        return _unfinished(summary)
    trial, equal = trial_of(summary, first["trial"]), ties(summary)
    rival = _rival(summary, first)
    if not equal:
        known = first["low"] is not None
        ahead = "" if len(summary["finals"]) == 1 else ", beyond the noise" if known else NOISE_UNKNOWN
        return f"Trial {first['trial']} has the best score on held-out pictures{ahead}.{rival}"
    faster = _faster(trial, [trial_of(summary, number) for number in equal])
    names = " and ".join((", ".join(map(str, [first["trial"], *equal[:-1]])), str(equal[-1])))
    return f"Trials {names} tie for the best score on held-out pictures{faster}.{rival}"


def _rival(summary: dict[str, Any], first: dict[str, Any]) -> str:
    """How the first rival with a held-out score stands to what is recommended."""
    rival = next((r for r in summary["rivals"] if r["held_out_score"] is not None), None)
    if rival is None:
        return ""
    name, trial = rival["title"], trial_of(summary, first["trial"])
    name = name[0].upper() + name[1:]
    beside = {"score": rival["held_out_score"], "low": rival["held_out_low"], "high": rival["held_out_high"]}
    apart = told_apart(first, beside)
    said = "scores more" if beside["score"] > first["score"] else "scores less"
    said = "cannot be told from it" if apart is False else said + (NOISE_UNKNOWN if apart is None else "")
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
    return f"; {quick['trial']} trains in {quick['step_time_s'] / trial['step_time_s']:.2f} of the time of {trial['trial']}"


def _unfinished(summary: dict[str, Any]) -> str:
    done = [trial for trial in summary["trials"] if trial["state"] == COMPLETE]
    if not done:
        ended = ", ".join(f"{n} {state}" for state, n in summary["counts"].items()) or "no trial"
        return f"No network has given a usable result yet: {ended}."
    best = max(done, key=lambda trial: (trial["score"], -trial["trial"]))
    searched = any(not trial["drawn_evenly"] for trial in done)
    if summary["validation"]["verdict"] == "failed" and not searched:
        return "Scores of these networks do not rank them: two trainings of the same ones disagree, so nothing was searched."
    return f"So far trial {best['trial']} scores best, from one seed; no score on held-out pictures yet."


def _score(summary: dict[str, Any]) -> Card | None:
    first, width = first_final(summary), fraction(summary["spec"]["preset"]["width_multiplier"])
    if first is not None:
        span = "" if first["low"] is None else f"95 %: [{first['low']:.3f}, {first['high']:.3f}], "
        seeds = f"{first['seeds']} seed{'s' if first['seeds'] > 1 else ''}"
        beside = next((r for r in summary["rivals"] if r["held_out_score"] is not None), None)
        rival = "" if beside is None else f"; {beside['title']} {beside['held_out_score']:.3f}"
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
    note = f"full network, batch of {summary['spec']['preset']['timing_batch']}"
    if rival is not None:
        times = f"×{rival['step_time_s'] / trial['step_time_s']:.2f}"
        note += f"; {rival['title']} {seconds_words(rival['step_time_s'])}, {times}"
    return _card("Its training step", seconds_words(trial["step_time_s"]), note, "training step")


def _trust(summary: dict[str, Any]) -> Card:
    validation, found = summary["validation"], summary["agreement"]
    word = TRUST.get(validation["verdict"], validation["verdict"])
    if summary["forced"] is not None:
        word = "poor; searched anyway"
    if found is None:
        return _card("Trust in the ranking", word, "no network was trained twice yet", "Kendall τ")
    asked = f"{VALID_TAU:g} on {VALID_PAIRS} networks would do"
    note = f"two trainings of {found['n']} rank alike by τ {found['tau']:.2f} [{found['low']:.2f}, {found['high']:.2f}]; {asked}"
    return _card("Trust in the ranking", word, note, "Kendall τ")


def _cost(summary: dict[str, Any]) -> Card:
    spent, counts = summary["provenance"]["spent_seconds"], summary["counts"]
    tried = sum(counts.values()) - counts.get(RUNNING, 0)
    again = summary["provenance"]["evaluations"] - tried
    note = f"of one worker: {tried:,} network{'s' if tried != 1 else ''}" + (
        f" and {again:,} repeats and checks" if again > 0 else ""
    )
    return _card("It cost", duration(spent), note, "trial")


def _card(label: str, value: str, note: str, term: str) -> Card:
    return {"label": label, "value": value, "note": note, "term": term}


def _choice(summary: dict[str, Any]) -> list[str]:
    """Where finalists tie: why one of them is named first, and what speaks for the others."""
    first = first_final(summary)
    if first is None:
        return []
    trial, sentences = trial_of(summary, first["trial"]), list[str]()
    for final in summary["finals"][1:]:
        other = trial_of(summary, final["trial"])
        apart = told_apart(first, final)
        if apart is None:
            sentences.append(f"Trial {final['trial']} scores {final['score']:.3f}{NOISE_UNKNOWN}.")
            continue
        if apart:
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
