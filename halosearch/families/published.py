"""Published image models for overlays: parameters, MACs, ImageNet top-1, each with its source and how sure it is.

Nothing of it was measured here. The family's own exact counts are in `halosearch.families.halonet.counts`.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One row: parameters in millions, MACs in billions (None where not published), top-1 in percent; `data` it was trained on."""

    family: str
    model: str
    image_size: int | None
    params_m: float | None
    macs_g: float | None
    top1_percent: float
    data: str
    source: str
    confidence: str

    @property
    def name(self) -> str:
        """Family and model."""
        return f"{self.family} {self.model}"


@functools.cache
def published_models() -> tuple[PublishedModel, ...]:
    """All rows of `published_models.csv`, in its order."""
    text = resources.files(__package__).joinpath("published_models.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedModel(
            row["family"],
            row["model"],
            int(row["image_size_px"]) if row["image_size_px"] else None,
            _number(row["params_m"]),
            _number(row["macs_g"]),
            float(row["top1_percent"]),
            row["data"],
            row["source"],
            row["confidence"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
