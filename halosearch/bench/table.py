"""A recorded table: candidates drawn evenly from a pool, each trained with several seeds and scored at every rung."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from halosearch.errors import UsageError
from halosearch.files import write_text
from halosearch.record.trials import to_json

ROWS, FACTS = "table.csv", "table.json"
COST = "macs"


@dataclass(frozen=True, slots=True)
class Table:
    """What a replay can look up.

    `rows`: features and costs of each candidate. `scores`: (rows, seeds, rungs). `seconds`: (rows, rungs), what training from
    the rung before costs, fixed costs of a trial in the first. `budget`: fewest and most parameters admitted. `space`: the values of
    every feature that a search without the pool would draw from. `truth`: (rows,) noiseless scores where they are known.
    """

    name: str
    rows: pd.DataFrame
    features: tuple[str, ...]
    rungs: tuple[int, ...]
    scores: np.ndarray
    seconds: np.ndarray
    budget: tuple[int, int]
    space: dict[str, list[Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    truth: np.ndarray | None = None

    def seen(self, seed: int) -> np.ndarray:
        """Scores (rows, rungs) that a replay with this seed sees."""
        return np.asarray(self.scores[:, seed % self.scores.shape[1]])

    def judge(self, seed: int) -> np.ndarray:
        """Final scores (rows,) by which what was found is judged: the truth, or the seeds that the search did not see."""
        if self.truth is not None:
            return self.truth
        others = [s for s in range(self.scores.shape[1]) if s != seed % self.scores.shape[1]]
        return np.asarray(self.scores[:, others, -1].mean(1))

    def costs(self) -> np.ndarray:
        """The cost beside the score."""
        return self.rows[COST].to_numpy(dtype=float)


def write_table(folder: Path, table: Table) -> None:
    """Write table.csv and table.json, each whole."""
    frame = table.rows.copy()
    for seed in range(table.scores.shape[1]):
        for rung, images in enumerate(table.rungs):
            frame[f"score_seed{seed}_{images}"] = np.round(table.scores[:, seed, rung], 6)
    for rung, images in enumerate(table.rungs):
        frame[f"seconds_{images}"] = np.round(table.seconds[:, rung], 3)
    write_text(folder / ROWS, frame.to_csv(index=False))
    facts = {
        "name": table.name,
        "features": list(table.features),
        "rungs": list(table.rungs),
        "seeds": table.scores.shape[1],
        "budget": list(table.budget),
        "space": table.space,
        "facts": table.facts,
    }
    write_text(folder / FACTS, to_json(facts) + "\n")


def read_table(folder: Path) -> Table:
    """A table written by `write_table`.

    Raises:
        UsageError: no table there, or a damaged one.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        frame = pd.read_csv(io.StringIO((folder / ROWS).read_text(encoding="utf-8")))
        rungs = tuple(int(images) for images in facts["rungs"])
        scores = np.stack(
            [frame[[f"score_seed{s}_{images}" for images in rungs]].to_numpy() for s in range(int(facts["seeds"]))], 1
        )
        seconds = frame[[f"seconds_{images}" for images in rungs]].to_numpy()
        low, high = facts["budget"]
        kept = [name for name in frame.columns if not name.startswith(("score_seed", "seconds_"))]
        return Table(
            facts["name"],
            frame[kept],
            tuple(facts["features"]),
            rungs,
            scores,
            seconds,
            (int(low), int(high)),
            facts["space"],
            facts["facts"],
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no recorded table in {folder}",
            "make one of a study with retests: halosearch bench --record STUDY --output studies/NAME",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the recorded table in {folder} cannot be read: {error}", "restore its two files") from error


def describe(table: Table) -> str:
    """What a table is, in words."""
    if "family" in table.facts:
        return (
            f"A synthetic family: every seed is another problem of about {len(table.rows)} rows, rungs {table.rungs}, "
            f"noise {table.facts['noise']:g} of the truth's spread; judged by the truth."
        )
    preset, pool = table.facts.get("preset", {}), table.facts.get("pool_size")
    return (
        f"Recorded from real trainings: {len(table.rows)} candidates drawn evenly from a pool of {pool:,} "
        f"({table.budget[0]:,} to {table.budget[1]:,} parameters), {table.scores.shape[1]} seeds each, twins of "
        f"{preset.get('width_multiplier')} of the width, {' and '.join(f'{images:,}' for images in table.rungs)} images of "
        f"{table.facts.get('data')}, on {table.facts.get('device', {}).get('device', 'an unnamed device')}. A replay with seed k sees "
        "training seed k mod 2 and is judged by the other."
    )


def check_rows(count: int) -> None:
    """Refuse what no comparison can rest on.

    Raises:
        UsageError: fewer than 20 candidates.
    """
    if count < 20:
        raise UsageError(
            f"{count} candidates trained with two seeds are too few for a comparison",
            "a recorded table needs at least 20: sampler random, retests as many as trials",
        )
