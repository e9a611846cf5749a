"""The first screens of the other pages: experiments, laws, stars, rediscovery, comparisons, trained models. Same form as a study's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from halosearch.analysis.rediscovery import IMPROVED
from halosearch.analysis.verdicts import CONFIRMED, REFUTED, UNDECIDED
from halosearch.report.headline import Card
from halosearch.report.numbers import amount, duration, fraction

Top = dict[str, Any]
"""title, subtitle, sentence, cards."""
STATEMENT = {
    "R0": "does the proxy rank?",
    "R1": "is the published model good?",
    "R2": "is it found again, or beaten?",
    "R3": "does what is found lie near it?",
    "R4": "do the best scale as H0–H7 do?",
    "R5": "do the paper's trends appear?",
}


def top_of(summary: Mapping[str, Any]) -> Top:
    """The first screen of any study's summary: a search, a law, a star or an experiment."""
    if "headline" in summary:
        found: Top = summary["headline"]
        return found
    if "coefficients" in summary:
        return law_top(summary)
    return star_top(summary) if "dials" in summary else experiment_top(summary)


def experiment_top(summary: Mapping[str, Any]) -> Top:
    """The question, how the expectations came out, what it cost."""
    spec, found = summary["spec"], summary["expectations"]
    counts = {word: sum(each["verdict"] == word for each in found) for word in (CONFIRMED, REFUTED, UNDECIDED)}
    said = [f"{n} {word}" for word, n in counts.items() if n]
    expected = f"{len(found)} expectation{'s' if len(found) != 1 else ''}"
    when = "changed after results were there" if summary["changes"] else "written before the run"
    sentence = f"Of {expected}, {when}: {', '.join(said)}." if found else "Nothing was expected; effects are shown."
    if spec["experiment"]["ladder"]:  # one without a law yet
        sentence = summary["answer"][0]
    cards = (
        [_card(word.capitalize(), str(n), _named(found, word)) for word, n in counts.items() if n or word == UNDECIDED]
        if found
        else []
    )
    return {
        "title": summary["question"],
        "subtitle": _trainings(summary, f"{len(summary['arms'])} arms, {spec['experiment']['seeds']} seeds each"),
        "sentence": sentence,
        "cards": [*cards, _cost(summary)],
    }


def _named(found: Iterable[Mapping[str, Any]], verdict: str) -> str:
    """The expectations with a verdict, as they were written."""
    return "; ".join(each["text"] for each in found if each["verdict"] == verdict)


def _trainings(summary: Mapping[str, Any], arms: str) -> str:
    preset, done = summary["spec"]["preset"], summary["trainings"]
    if not done["planned"]:
        timed = f"training steps of {preset['timing_batch']} pictures in the same rounds"
        return f"Experiment {summary['study']}: {len(summary['arms'])} arms, {timed}"
    images = f"{preset['rungs'][-1]:,} pictures of {summary['data']['description']}"
    copies = f"copies of {fraction(preset['width_multiplier'])} of the width, {images}"
    return f"Experiment {summary['study']}: {arms}; {copies}; {done['done']} of {done['planned']} trainings done"


def _cost(summary: Mapping[str, Any]) -> Card:
    return _card("It cost", duration(summary["provenance"]["seconds"]), "of one worker", "trial")


def law_top(summary: Mapping[str, Any]) -> Top:
    """What the law says of size and of images, and what it expects next."""
    ends, values, ahead = summary["intervals"], summary["coefficients"], summary["forecast"]
    cards = [
        _card(
            f"loss falls as {what} to the −{name}", _held(values[name], ends[name]), f"{name}, 95 % {_ends(ends[name])}"
        )
        for name, what in (("alpha", "parameters"), ("beta", "images"))
        if name in ends
    ]
    if "E" in ends:
        cards.append(_card("what no size takes away", _held(values["E"], ends["E"]), f"E, 95 % {_ends(ends['E'])}"))
    target = f"at {amount(ahead['params'])} parameters and {ahead['images']:,.0f} images"
    cards.append(_card("It expects a loss of", f"{ahead['loss']:.4f}", f"{_range(ahead)} {target}"))
    if summary.get(
        "checked"
    ):  # a ladder's largest budget, trained after it was forecast; its first sentence is the verdict
        verdict = summary["checked"][0]
        cards.append(
            _card("the forecast, checked", verdict.rstrip(".").rpartition(": ")[2], verdict.rpartition(": ")[0])
        )
    return {
        "title": "How does the loss fall with size and images?",
        "subtitle": f"Scaling law of {', '.join(summary['sources'])}: {summary['rows']:,} losses, {len(summary['sizes'])} sizes, "
        f"{len(summary['lengths'])} lengths",
        "sentence": _law_sentence(summary),
        "cards": cards,
    }


def _held(value: float, ends: Mapping[str, Any]) -> str:
    """A value where its interval is closed: one that the data does not hold is not to be quoted alone."""
    return "not held" if None in (ends["low"], ends["high"]) else f"{value:.3g}"


def _law_sentence(summary: Mapping[str, Any]) -> str:
    named = {"params and images": "parameters and images both", "params": "parameters", "images": "images"}
    if summary["form"] not in named:
        return "Neither parameters nor images say more of losses that were left out than a constant does."
    free = [name for name, ends in summary["intervals"].items() if None in (ends["low"], ends["high"])]
    slopes = [name for name in free if name != "E"]
    loose = f" These losses do not hold {', '.join(free)} from both sides" if free else ""
    loose += (": no slope is to be quoted." if slopes else ".") if free else ""
    return f"Of {len(summary['missed'])} forms, one with {named[summary['form']]} says best what was left out of the fit.{loose}"


def _ends(ends: Mapping[str, Any]) -> str:
    low, high = ("open" if ends[end] is None else f"{ends[end]:.3g}" for end in ("low", "high"))
    return f"[{low}, {high}]"


def star_top(summary: Mapping[str, Any]) -> Top:
    """How the best value of every dial moves with compute."""
    held = [dial for dial in summary["dials"] if dial["law"] and None not in (dial["law"]["low"], dial["law"]["high"])]
    names = ", ".join(dial["field"] for dial in held)
    cards = [
        _card(
            f"{dial['field']} grows as compute to the",
            f"{dial['law']['slope']:.2f}" if dial["law"] else "no law yet",
            f"{_ends(dial['law'])}" if dial["law"] else "",
        )
        for dial in summary["dials"]
    ]
    return {
        "title": summary["question"],
        "subtitle": _trainings(summary, f"{len(summary['arms'])} shapes around one centre"),
        "sentence": f"How the best value moves with compute is held by these losses for {names}."
        if held
        else "How the best value of a dial moves with compute is not held by these losses.",
        "cards": [*cards, _cost(summary)],
    }


def rediscovery_top(summary: Mapping[str, Any]) -> Top:
    """The verdicts by statement."""
    members = summary["members"]
    asked = ", ".join(member["member"] for member in members)
    verdicts: dict[str, list[str]] = {}
    for member in members:
        for each in member["statements"]:
            verdicts.setdefault(each["id"], []).append(f"{member['member']} {each['verdict']}")
    cards = [_card(f"{id}: {STATEMENT[id]}", "; ".join(said), "") for id, said in verdicts.items()]
    cards += [_card(f"{each['id']}: {STATEMENT[each['id']]}", each["verdict"], "") for each in summary["over_all"]]
    sentence = "No published model was asked for here yet." if not members else _found_sentence(members)
    return {
        "title": "Are the published models found again?",
        "subtitle": f"By searches that were not told of them: {asked or 'none yet'}",
        "sentence": sentence,
        "cards": cards,
    }


def _found_sentence(members: list[dict[str, Any]]) -> str:
    said = "; ".join(f"{member['member']} {_outcome(member)}" for member in members)
    unsure = [member["member"] for member in members if _verdict(member, "R0") != "passed"]
    doubt = f" That the proxy ranks is not shown for {', '.join(unsure)}, so it is weak evidence." if unsure else ""
    return f"{said}.{doubt}"


def _outcome(member: Mapping[str, Any]) -> str:
    """What became of R2, by the margin that was fixed before the run."""
    found = next(each for each in member["statements"] if each["id"] == "R2")
    if found["verdict"] == "passed":
        return "is beaten by another network" if found["why"].startswith(IMPROVED) else "is found again"
    return (
        "is not reached"
        if found["verdict"] == "failed"
        else "was not decided upon"
        if found["verdict"] == "undecided"
        else "was not compared yet"
    )


def _verdict(member: Mapping[str, Any], statement: str) -> str:
    return next((str(each["verdict"]) for each in member["statements"] if each["id"] == statement), "")


def comparison_top(found: Mapping[str, Any]) -> Top:
    """Which front is better, and by how much."""
    names, gap, best = found["studies"], found["hypervolume"], found["recommended"]
    cards = []
    if gap is not None:
        ends = f"[{gap['low']:+.3f}, {gap['high']:+.3f}], {names[0]} minus {names[1]}"
        cards.append(_card("Area under the fronts", f"{gap['median']:+.3f}", ends, "hypervolume"))
    if best is not None:
        ends = f"[{best['low']:+.3f}, {best['high']:+.3f}], the recommended ones"
        cards.append(_card("Held-out score", f"{best['difference']:+.3f}", ends, "held-out"))
    if found["shared"] is not None:
        cards.append(_card("Candidates in both", str(found["shared"]["n"]), "trained to the end in both"))
    cards.append(
        _card("Inputs that differ", str(len(found["inputs"])), ", ".join(each["field"] for each in found["inputs"]))
    )
    return {
        "title": f"{names[0]} or {names[1]}?",
        "subtitle": "Two studies side by side",
        "sentence": found["answer"][0].partition(": hypervolume")[0].rstrip(".") + ".",
        "cards": cards,
    }


def model_top(name: str, about: Mapping[str, Any]) -> Top:
    """What a trained model scores, how large it is, what it cost."""
    last, recipe = about["epochs"][-1], about["job"]["recipe"]
    return {
        "title": f"{name}: a trained model",
        "subtitle": f"{about['job']['candidate']} on {about['data']}",
        "sentence": f"It gets {100 * last['top1']:.1f} % of the scored pictures right after {last['epoch']} epochs.",
        "cards": [
            _card("Top-1", f"{100 * last['top1']:.2f} %", "the last epoch, not the best; one seed"),
            _card("Parameters", f"{about['params']:,}", f"{about['macs']:,} MACs, {about['job']['classes']} classes"),
            _card(
                "Recipe", recipe["name"], f"{recipe['optimizer']}, batch {recipe['batch']}, seed {about['job']['seed']}"
            ),
            _card("It cost", duration(about["seconds"]), "steps and reading; scoring not counted"),
        ],
    }


def _range(ahead: Mapping[str, Any]) -> str:
    return "no interval," if ahead["low"] is None else f"[{ahead['low']:.4f}, {ahead['high']:.4f}]"


def _card(label: str, value: str, note: str, term: str = "") -> Card:
    return {"label": label, "value": value, "note": note, "term": term}
