"""The answer in words: sentences made of a summary's numbers, each with its n and what it is worth."""

from __future__ import annotations

from typing import Any

from halosearch.analysis.rank_agreement import VALID_PAIRS, VALID_TAU
from halosearch.families.known import member_title
from halosearch.record.evaluation import COMPLETE
from halosearch.report.headline import first_final, ties, trial_of
from halosearch.report.numbers import fraction, seconds_words
from halosearch.report.rivals import rival_sentences
from halosearch.report.worth import images_words, worth_sentences

BEST = "best score"
"""The role of the trial with the best score in the search."""
MOST_LISTED = 30
"""Trials that a sentence lists by number."""


def answer_groups(summary: dict[str, Any]) -> dict[str, list[str]]:
    """The answer's sentences by what they are about: found, trust, costs, images, published."""
    groups = {
        "found": [*_rediscovery(summary), *_recommended(summary), _best(summary), *rival_sentences(summary)],
        "trust": [],
        "costs": _prediction(summary),
        "images": _worth(summary),
        "published": _reference(summary) + summary["published"],
    }
    if summary["decisions"]:
        groups["trust"] = _noise(summary) + worth_sentences(summary) + _trivial(summary)
    return groups


def answer_sentences(summary: dict[str, Any]) -> list[str]:
    """What was found, how sure, on what; the first sentence is the answer."""
    return [sentence for group in answer_groups(summary).values() for sentence in group]


def _rediscovery(summary: dict[str, Any]) -> list[str]:
    """Of a study that asks for a published member, what became of R0 to R3."""
    member = summary["spec"].get("rediscover")
    if member is None:
        return []
    said = [
        f"{each['id']}, {each['statement']}: {each['verdict']}; {each['why']}." for each in summary["rediscovery"][:4]
    ]
    return [f"Is {member_title(member)} found again?", *said]


def first_sentence(summary: dict[str, Any]) -> str:
    """What is recommended, or the best so far."""
    return [*_recommended(summary), _best(summary)][0]


def step_time_words(trial: dict[str, Any], summary: dict[str, Any]) -> str:
    """Step time with its interval and what a step is."""
    if trial["step_time_s"] is None:
        return "step time not measured"
    preset = summary["spec"]["preset"]
    return (
        f"{seconds_words(trial['step_time_s'])} [{seconds_words(trial['step_time_low_s'])}, {seconds_words(trial['step_time_high_s'])}] "
        f"per training step of {preset['timing_batch']} images"
    )


def _recommended(summary: dict[str, Any]) -> list[str]:
    """The finalists' numbers, the only ones that are recommended."""
    first = first_final(summary)
    if first is None:
        return []
    trial, others, more = trial_of(summary, first["trial"]), ties(summary), len(summary["finals"]) > 1
    interval = "" if first["low"] is None else f" [{first['low']:.3f}, {first['high']:.3f}]"
    apart = (
        f"trial{'s' if len(others) > 1 else ''} {', '.join(map(str, others))} cannot be told from it"
        if others
        else "whether the other finalists score less by more than the noise is not known"
        if more and first["low"] is None
        else "the other finalists score less"
        if more
        else "it was the only finalist"
    )
    return [
        f"Recommended: trial {first['trial']}, {trial['candidate']}: score {first['score']:.3f}{interval} on {first['images']:,} images "
        f"that the search never saw (mean of {first['seeds']} further seed{'s' if first['seeds'] > 1 else ''}), "
        f"{trial['params']:,} parameters, {trial['macs'] / 1e9:.2f} GMACs, {step_time_words(trial, summary)}; {apart}."
    ]


def _best(summary: dict[str, Any]) -> str:
    budget = summary["spec"]["budget"]
    under = f"{budget['params']:,} parameters ±{100 * budget['tolerance']:g} %"
    if not summary["decisions"]:
        ended = ", ".join(f"{n} {state}" for state, n in summary["counts"].items()) or "no trial"
        return f"No trial of {under} gave a usable result: {ended}."
    best, first = _best_trial(summary), first_final(summary)
    tried = f"{summary['counts'].get(COMPLETE, 0)} candidates of {under} trained to the end{_stopped(summary)}"
    if first is not None and first["trial"] == best["trial"]:
        return f"It had the best score of the search, too: {best['score']:.3f} on the search's own test images, from one seed, of {tried}."
    return (
        f"Best in the search, of {tried}: trial {best['trial']}, {best['candidate']}: score {best['score']:.3f} from one seed, "
        f"{best['params']:,} parameters, {best['macs'] / 1e9:.2f} GMACs, {step_time_words(best, summary)}."
    )


def _reason(summary: dict[str, Any]) -> str:
    return str(summary["validation"]["reason"])


def _best_trial(summary: dict[str, Any]) -> dict[str, Any]:
    """The trial with the best score in the search."""
    number = next(d["trial"] for d in summary["decisions"] if d["role"] == BEST)
    return trial_of(summary, number)


def _stopped(summary: dict[str, Any]) -> str:
    pruned = summary["counts"].get("pruned", 0)
    return f" ({pruned} more stopped early)" if pruned else ""


def _trivial(summary: dict[str, Any]) -> list[str]:
    """Rankings that cost nothing, and shorter trainings, beside the proxy's own agreement; whether the search was forced."""
    found = summary["validation"]
    known = {name: tau for name, tau in found["baselines"].items() if tau is not None}
    sentences = []
    if known:
        n = max(tau["n"] for tau in known.values())
        listed = ", ".join(
            f"{name.replace('_', ' ')} {tau['tau']:+.2f}" + ("" if tau["n"] == n else f" (of {tau['n']})")
            for name, tau in known.items()
        )
        sentences.append(
            f"Rankings that need no training agree with the scores by Kendall tau: {listed} (n = {n} candidates drawn evenly)."
        )
    rungs = summary["spec"]["preset"]["rungs"]
    shorter = [(images, tau) for images, tau in zip(rungs, found["rungs"], strict=False) if tau is not None]
    if shorter:
        listed = ", ".join(f"{images:,} images {tau['tau']:.2f}" for images, tau in shorter)
        sentences.append(
            f"Shorter trainings rank like the longest one by Kendall tau: {listed} (n = {shorter[0][1]['n']}, same seed)."
        )
    rates = found["rates"]
    if rates is not None:
        verdict = {True: "the rule holds", False: "the rule fails here", None: "its noise is unknown"}[rates["holds"]]
        sentences.append(
            f"Learning rates of half and double were tried on {len(rates['scores'])} corner candidate(s): the rule loses at most "
            f"{rates['worst_loss']:.3f}; {verdict}."
        )
    if summary["forced"] is not None:
        sentences.append(f"The proxy failed its test and was searched with --force: {summary['forced']}.")
    return sentences


def _noise(summary: dict[str, Any]) -> list[str]:
    agreement = summary["agreement"]
    if agreement is None:
        return [
            f"Every score of the search is from one seed; how far the ranking can be trusted is not known: {_reason(summary)}."
        ]
    best = _best_trial(summary)
    noise = summary["validation"]["noise"]
    margin = 2 * 2**0.5 * noise["sd"]
    near = [
        t["trial"]
        for t in summary["trials"]
        if t["state"] == "complete" and t["trial"] != best["trial"] and t["score"] >= best["score"] - margin
    ]
    tied = _near_words(near) if near else "no other candidate is within noise of it"
    verdict = (
        "the ranking can be used"
        if agreement["valid"]
        else f"below {VALID_TAU:g}, so the ranking itself is weak evidence"
        if agreement["tau"] < VALID_TAU
        else f"an indication, not the {VALID_PAIRS} candidates that would show that this proxy ranks"
    )
    return [
        f"Scores of the search are from one seed each; the standard deviation of one score is {noise['sd']:.3f} "
        f"({noise['scores']} scores of {noise['candidates']} candidates), and {tied}.",
        f"Test-retest agreement of the ranking: Kendall tau {agreement['tau']:.2f} [{agreement['low']:.2f}, {agreement['high']:.2f}], "
        f"n = {agreement['n']} candidates trained with two seeds; with this noise "
        f"scores agree with the true order by {agreement['ceiling']:.2f} at most: {verdict}.",
    ]


def _near_words(near: list[int]) -> str:
    if len(near) == 1:
        return f"one other candidate is within noise of it (trial {near[0]})"
    listed = ", ".join(map(str, near[:MOST_LISTED])) + (" and others" if len(near) > MOST_LISTED else "")
    return f"{len(near):,} other candidates are within noise of it (trials {listed})"


def _reference(summary: dict[str, Any]) -> list[str]:
    reference = summary["reference"]
    if reference is None:
        return []
    if reference["state"] != "complete":
        return [f"The reference model ({reference['candidate']}) gave no score: {reference['reason']}."]
    parts = ", ".join(
        f"{name} {value:.2f} (chance {reference['chance'][name]:.2f})" for name, value in reference["accuracy"].items()
    )
    return [
        f"The reference model, the candidate nearest to {member_title(reference['nearest_to'])} in dials ({reference['candidate']}), scores "
        f"{reference['score']:.3f}; accuracy: {parts}. It is not {member_title(reference['nearest_to'])}."
    ]


def _prediction(summary: dict[str, Any]) -> list[str]:
    found = summary["prediction"]
    if found is None:
        return []
    return [
        f"Step times of candidates never measured are predicted from {found['parts']} timed parts: trials left out of the fit were missed by "
        f"{100 * found['mape']:.0f} % on average (Kendall tau {found['kendall_tau']:.2f}, n = {found['trials']}; 95 % interval "
        f"±{100 * found['half_width']:.0f} %). Every step time on the front was measured."
    ]


def _worth(summary: dict[str, Any]) -> list[str]:
    spec = summary["spec"]
    preset = spec["preset"]
    how = (
        f"What was trained is a copy of each candidate with {fraction(preset['width_multiplier'])} of its channels (its twin), "
        f"on {images_words(preset)}, "
        f"scored on {summary['data'].get('images', {}).get('test', preset['test_images']):,}."
    )
    dense, labels = (summary["data"].get(kind, ()) for kind in ("dense", "factors"))
    if dense:
        how += (
            f" The score is the mean over {len(labels) + len(dense)} parts, of which {len(labels)} "
            f"{'is a label' if len(labels) == 1 else 'are labels'} ({', '.join(name for name, _ in labels)}) and {len(dense)} are dense targets."
        )
    if "synthetic" in summary["data"]["description"]:
        kind = "a CPU preset" if spec["device"] == "cpu" else "a GPU preset"
        return [
            f"This is synthetic data ({summary['data']['description']}) on {kind}. {how} It ranks candidates on this small task; "
            "it says nothing yet of accuracy on photographs."
        ]
    return [
        f"Data: {summary['data']['description']}. {how} It ranks candidates after short training; it is no forecast of full training."
    ]
