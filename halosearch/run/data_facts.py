"""What a study says of its data, and that it is still the same data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halosearch.proxy.data.dataset import Dataset
from halosearch.proxy.data.difficulty import DIFFICULTIES
from halosearch.proxy.data.scenes import golden_hash
from halosearch.proxy.data.sources import upsampled_sizes
from halosearch.spec.study import StudySpec


def data_facts(data: Dataset, spec: StudySpec) -> dict[str, Any]:
    """The data's report, its factors, and for built-in scenes the hash of the task."""
    facts = data.report.to_dict() | {
        "factors": [[factor.name, factor.classes] for factor in data.factors],
        "upsampled": upsampled_sizes(data, spec.search_space().image_size),
    }
    return facts | ({"task_hash": golden_hash(spec.data)} if spec.data in DIFFICULTIES else {})


def tell_of_data(data: Dataset, spec: StudySpec, message: Callable[[str], None]) -> None:
    """Say what was found and, by name, what is not used."""
    report = data.report
    message(f"data: {report.description}; " + ", ".join(f"{n:,} {split}" for split, n in report.images.items()))
    for name, found in (("unreadable", report.unreadable), ("skipped", report.skipped)):
        if found:
            message(f"{len(found)} {name} file{'s' if len(found) > 1 else ''}:")
        for path, reason in found:
            message(f"  {name}: {path} ({reason})")
    for name in report.empty_classes:
        message(f"  class without a readable image: {name}")
    sizes = upsampled_sizes(data, spec.search_space().image_size)
    if sizes:
        message(
            f"warning: image sizes {', '.join(map(str, sizes))} exceed 1.5x the images' own {report.native_size} pixels: they are only enlarged"
        )
