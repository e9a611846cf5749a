"""Are H0-H7 found again? Statements R0 to R5, what each needs, and what this study says of it.

One study of one budget can decide R0 alone. The others are listed with what they need, so that nothing is passed by silence.
"""

from __future__ import annotations

from typing import Any

from halosearch.analysis.rank_agreement import VALID_PAIRS, VALID_TAU
from halosearch.analysis.rediscovery import found_again, lies_near, member_is_good
from halosearch.families.known import numeric_dials, parse_candidate

PASSED, FAILED, UNDECIDED, NOT_TESTED = "passed", "failed", "undecided", "not tested"
_VERDICTS = {"valid": PASSED, "failed": FAILED}


def rediscovery(summary: dict[str, Any]) -> list[dict[str, str]]:
    """One entry per statement: id, statement, what passes it, verdict, why."""
    validation = summary["validation"]
    first = {
        "id": "R0",
        "statement": "the proxy ranks the candidates of this pool",
        "passes": f"test-retest Kendall tau of at least {VALID_TAU:g} on {VALID_PAIRS} candidates drawn evenly",
        "verdict": _VERDICTS.get(validation["verdict"], UNDECIDED),
        "why": validation["reason"],
    }
    asked = _asked(summary) if summary["spec"].get("rediscover") else {}
    return [
        first,
        *(
            dict(entry, **asked.get(entry["id"], {"verdict": NOT_TESTED, "why": _why(entry["id"], summary)}))
            for entry in LATER
        ),
    ]


def _asked(summary: dict[str, Any]) -> dict[str, dict[str, str]]:
    """R1 to R3 of a study that asks for a published member, which was trained beside the candidates as its first rival."""
    member, noise = next(iter(summary["rivals"]), None), summary["validation"]["noise"]
    done = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    if member is None or all(trial["drawn_evenly"] for trial in done):  # refused, or not that far yet
        return {}
    best = max(done, key=lambda trial: (trial["score"], -trial["trial"]))
    held_out = {
        final["trial"]: dict(zip(final["repeats"], final["scores"], strict=True)) for final in summary["finals"]
    }
    even = [trial for trial in done if trial["drawn_evenly"]]
    scores = held_out.get(best["trial"], {})
    members = dict(zip(member["held_out_repeats"], member["held_out_scores"], strict=True))
    near = lies_near(
        numeric_dials(parse_candidate(best["candidate"])),
        numeric_dials(parse_candidate(member["candidate"])),
        [numeric_dials(parse_candidate(trial["candidate"])) for trial in even],
    )
    found = {
        "R1": member_is_good([trial["score"] for trial in even], member["score"]),
        "R2": found_again(
            scores, members, None if noise is None else noise["sd"], summary["spec"]["preset"]["final_seeds"]
        ),
        "R3": near,
    }
    return {name: {"verdict": each.verdict, "why": each.why} for name, each in found.items()}


LATER = (
    {
        "id": "R1",
        "statement": "the published model of this budget is good",
        "passes": "upper 95 % bound on the share of even draws that score better than it: 25 % at most",
    },
    {
        "id": "R2",
        "statement": "it is found again, or beaten",
        "passes": "95 % interval of best found minus published model, five seeds each, against a margin fixed before",
    },
    {
        "id": "R3",
        "statement": "what is found lies near it",
        "passes": "distance in log dials below the 5 % quantile of even draws",
    },
    {
        "id": "R4",
        "statement": "the best candidates of several budgets scale as H0-H7 do",
        "passes": "slopes of log dial on log parameters contain the family's",
    },
    {
        "id": "R5",
        "statement": "the paper's trends appear",
        "passes": "single dials changed around one centre, several seeds each",
    },
)


def _why(statement: str, summary: dict[str, Any]) -> str:
    if statement in ("R1", "R2", "R3"):
        outside = [sentence for sentence in summary["published"] if "not compared with" in sentence]
        inside = [sentence for sentence in summary["published"] if sentence not in outside]
        if inside:
            return f"{' '.join(inside)} It was not trained beside the others with five seeds"
        return " ".join(outside).rstrip(".") or "no published model has this budget"
    if summary["spec"].get("rediscover"):
        return "over all members that were asked for: reports/rediscovery"
    if statement == "R4":
        return "this is one budget; slopes need several"
    return "this study searches; it does not change one dial at a time with the others fixed"


SCALING = (
    "No scaling law is fitted: a law of score over parameters needs several budgets, and this study has one; "
    "a law over images needs rungs that were trained to the end independently, and rungs here share one trunk."
)
"""Why one study has no scaling fit."""
