"""The comparison as a page of Markdown: a table per problem and number of workers, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from halosearch.bench.compare import END, MOMENTS, MOST_CAPPED, best_out_of_the_box
from halosearch.bench.contenders import OURS


def page(rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The whole page."""
    parts = [
        "# Is the search better?",
        "",
        f"Replays of searches, written by `{facts['command']}` (halosearch {facts['halosearch']}, optuna "
        f"{facts['optuna']}, {facts['device']}). Raw numbers: `{facts['raw']}`.",
        "",
        "A replay looks scores up in a table instead of training; workers are simulated, and the sampler's own time is added to the "
        "clock. Measured is the time until the candidates trained to the end cover 95 % of the hypervolume (score against log MACs) "
        "of the whole table, judged by scores that the search did not see: another seed of the same candidates, or the noiseless "
        "truth of a synthetic family. Medians over seeds with 95 % bootstrap intervals; ratios are paired by seed. `inf`: half of the "
        f"seeds or fewer got there before the end, which is the time of {END} middling trainings (divided by the workers). In the ratio "
        "a search that did not get there counts as if it had at its end, so a ratio against it is a lower bound. Optuna's samplers "
        "draw from the whole space; an ask outside the budget costs them no training (only the time to ask), one inside is answered "
        "by the nearest row not tried yet. Replays marked `capped` were ended by us for the number of their asks, of which few lay inside "
        f"the budget; where that befell more than {100 * MOST_CAPPED:.0f} % of the seeds, no ratio is given: nothing is shown about what "
        "those searches would have found later.",
        "",
    ]
    for source, workers in sorted({(row["source"], row["workers"]) for row in rows}):
        parts += _problem([r for r in rows if (r["source"], r["workers"]) == (source, workers)], source, workers, facts)
    return "\n".join(parts) + "\n"


def _problem(rows: Sequence[dict[str, Any]], source: str, workers: int, facts: dict[str, Any]) -> list[str]:
    about = facts["sources"].get(source, "")
    parts = [
        f"## {source}, {workers} worker{'s' if workers > 1 else ''}",
        "",
        about,
        "",
        f"| search | seeds | there | seconds to 95 % | full trainings | {OURS} is faster by | "
        + " | ".join(f"regret after {m}" for m in MOMENTS)
        + " | asks outside | s per ask |",
        "|" + "---|" * (8 + len(MOMENTS)),
    ]
    for row in rows:
        ratio = "" if row["ours_is_faster_by"] is None else _interval(row["ours_is_faster_by"], 2)
        regrets = " | ".join(_interval(regret, 3) for regret in row["regrets"])
        parts.append(
            f"| {row['contender']} | {row['seeds']} | {_there(row)} | {_interval(row['seconds'], 3)} | "
            f"{_interval(row['trainings'], 3)} | {ratio} | {regrets} | {100 * row['asks_outside_budget']:.0f} % | "
            f"{row['sampler_seconds_per_ask']:.3f} |"
        )
    return [*parts, "", verdict(rows, source, workers), ""]


def verdict(rows: Sequence[dict[str, Any]], source: str, workers: int) -> str:
    """Ours against the best of Optuna's samplers as they come, and against random in the pool."""
    sentences = []
    best = best_out_of_the_box(rows, source, workers)
    if best is None and any(row["out_of_the_box"] for row in rows):
        sentences.append("No sampler out of the box was run long enough here to be compared with.")
    others = [best] if best is not None else []
    others += [row for row in rows if row["contender"] == "random in pool"]
    for row in others:
        if row["ours_is_faster_by"] is None:
            continue
        middle, low, high = row["ours_is_faster_by"]
        words = f"{_number(middle, 3)} [{_number(low, 3)}, {_number(high, 3)}]"
        name = f"{row['contender']} (the best out of the box)" if row is best else row["contender"]
        words += (
            f" ({row['reached']} of {row['seeds']} of its seeds got there)" if row["reached"] < row["seeds"] else ""
        )
        if low > 1:
            sentences.append(f"`{OURS}` reaches 95 % in less time than {name}: {words} times.")
        elif high < 1:
            sentences.append(f"`{OURS}` is slower than {name}: {words}.")
        else:
            sentences.append(f"No difference is shown between `{OURS}` and {name}: {words}.")
    return " ".join(sentences)


def _there(row: dict[str, Any]) -> str:
    return f"{row['reached']}" + (f", {row['capped']} capped" if row["capped"] else "")


def _interval(values: Sequence[float], digits: int) -> str:
    middle, low, high = values
    return f"{_number(middle, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def _number(value: float, digits: int) -> str:
    return "inf" if math.isinf(value) else f"{value:.{digits}g}"
