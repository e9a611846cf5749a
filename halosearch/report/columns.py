"""What the report calls the columns of the trial table, and how their axes run."""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.families.known import FAMILIES


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a reader can look along: its title with its unit, whether its axis is logarithmic, its kind (score, cost, dial)."""

    name: str
    title: str
    log: bool
    kind: str


SCORE = Column("score", "score", log=False, kind="score")
COSTS = (
    Column("step_time_s", "training step, full network", log=True, kind="cost"),
    Column("predicted_step_time_s", "predicted training step", log=True, kind="cost"),
    Column("macs", "MACs", log=True, kind="cost"),
    Column("params", "parameters", log=False, kind="cost"),
    Column("activations", "activations (elements)", log=True, kind="cost"),
    Column("memory_bytes", "memory of a training step (bytes)", log=True, kind="cost"),
    Column("seconds", "seconds spent on the trial", log=True, kind="cost"),
    Column("images", "images seen by the twin", log=False, kind="cost"),
)
_NAMES = {name: short for each in FAMILIES.values() if each.search for short, name in each.search.space.SHORT.items()}
DIALS = tuple(
    Column(name, f"{short}: {name.replace('_', ' ')}" if short != name else name, log=False, kind="dial")
    for name, short in _NAMES.items()
)
COLUMNS = (SCORE, *COSTS, *DIALS)
BY_NAME = {column.name: column for column in COLUMNS}
PARALLEL = (*(column.name for column in DIALS), "params", "macs", "memory_bytes", "step_time_s", "score")
