"""A few of the pictures that copies are trained on, with their labels: of built-in scenes, which anybody can draw again.

A page is mailed around, so pictures from somebody's folder are not put into it.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import Any

from halosearch.report.shell import base64_text

SHOWN, SIDE = 8, 64


def examples(spec: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first training pictures of a study as PNG (base64) with their labels in words; none where its data is not built in."""
    from halosearch.proxy.data.difficulty import DIFFICULTIES

    if spec["data"] not in DIFFICULTIES:
        return []
    return _drawn(spec["data"], spec["seed"])


@functools.cache
def _drawn(version: str, seed: int) -> list[dict[str, str]]:
    # torch and Pillow take seconds to import, and only built-in scenes need them
    from pathlib import Path

    import numpy as np
    from PIL import Image

    from halosearch.proxy.data.dataset import TRAIN, DataRequest
    from halosearch.proxy.data.sources import open_data

    data = open_data(DataRequest(version, seed, SHOWN, SHOWN, SIDE, Path()))
    batch = data.batch(TRAIN, np.arange(SHOWN), SIDE, None)
    found = []
    for picture, labels in zip(batch.images.numpy(), batch.labels.tolist(), strict=True):
        target = io.BytesIO()
        Image.fromarray(picture.transpose(1, 2, 0)).save(target, format="PNG")
        words = ", ".join(
            f"{factor.name} {label + 1} of {factor.classes}" for factor, label in zip(data.factors, labels, strict=True)
        )
        found.append({"png": base64_text(target.getvalue()), "labels": words})
    return found
