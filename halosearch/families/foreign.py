"""Optional packages: imported when they are asked for, with one sentence where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import torch

from halosearch.errors import EnvironmentFault

TORCHVISION = "torchvision"


def import_optional(name: str, why: str = "") -> ModuleType:
    """A package that the core does without; `why`: what needs it, and what to do without it.

    timm and parts of torchvision compute with torch alone, but importing torchvision beside a torch of another build misses its own
    operators; for those two names only, schemas without an implementation are registered.

    Raises:
        EnvironmentFault: it is not installed or cannot be imported.
    """
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise EnvironmentFault(
            f"the optional package {package} is not installed", f"pip install {package}" + (f" ({why})" if why else "")
        )
    try:
        _make_torchvision_importable()
        return importlib.import_module(name)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFault(
            f"{package} cannot be imported: {line}", why or "install a torchvision that fits your torch"
        ) from error


def is_there(name: str) -> bool:
    """Whether a package is installed; it may still fail at import."""
    return importlib.util.find_spec(name) is not None


def _make_torchvision_importable() -> None:
    if importlib.util.find_spec(TORCHVISION) is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [each for each in sys.modules if each.split(".")[0] == TORCHVISION]:
            del sys.modules[name]
        _SCHEMAS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _SCHEMAS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_SCHEMAS = torch.library.Library(TORCHVISION, "FRAGMENT")
