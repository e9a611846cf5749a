"""`import halosearch.timm`: timm.create_model then knows `halosearch_h0` to `halosearch_h7`, and `halosearch` for any candidate or export.

import timm, halosearch.timm
timm.create_model("halosearch_h0", num_classes=10)
timm.create_model("halosearch", candidate="s=64,b=8,h=2,rv=1,rb=2,l3=4", features_only=True)
timm.create_model("halosearch", folder="models/small/export")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from halosearch.errors import UsageError
from halosearch.families.backbone import STRIDES, Backbone
from halosearch.families.building_blocks import Classifier
from halosearch.families.foreign import import_optional
from halosearch.families.known import HALONET, build, parse_candidate, search_of
from halosearch.training.exporting import DEVIATION, MEAN, crop_of, load_model
from halosearch.training.transfer import begin_from

IMAGENET_CLASSES = 1000


class Features(nn.Module):
    """Maps as timm gives them: a list from fine to coarse, with `feature_info`."""

    def __init__(self, network: Classifier, out_indices: tuple[int, ...]) -> None:
        """`out_indices`: which of the four maps; negative ones count from the end.

        Raises:
            UsageError: there is no such map.
        """
        super().__init__()
        wrong = next((index for index in out_indices if not -len(STRIDES) <= index < len(STRIDES)), None)
        if wrong is not None:
            raise UsageError(
                f"there is no map {wrong}", f"out_indices from 0 to {len(STRIDES) - 1}, or negative from the end"
            )
        places = sorted(index % len(STRIDES) for index in out_indices)
        self.backbone = Backbone(network, tuple(STRIDES[place] for place in places))
        kind = import_optional("timm.models").FeatureInfo
        self.feature_info = kind(self.backbone.feature_info, tuple(range(len(places))))

    def forward(self, x_NCHW: Tensor) -> list[Tensor]:
        """The maps."""
        return list(self.backbone(x_NCHW).values())


def halosearch(
    pretrained: bool = False,
    *,
    candidate: str = "",
    folder: str | Path | None = None,
    num_classes: int | None = None,
    features_only: bool = False,
    **more: Any,
) -> nn.Module:
    """Any candidate with fresh weights, or a model that was trained or exported here.

    Raises:
        UsageError: neither or both are given, pretrained weights are asked for, or an argument is unknown.
    """
    out_indices = tuple(more.pop("out_indices", range(len(STRIDES))))
    more = {key: value for key, value in more.items() if key not in _FROM_TIMM}
    if more:
        raise UsageError(
            f"halosearch models take no {next(iter(more))}",
            "candidate, folder, num_classes, features_only, out_indices",
        )
    if pretrained:
        raise UsageError(
            "there are no published weights of HaloNet", "pretrained=False; or folder= of a model of your own"
        )
    if bool(candidate) == (folder is not None):
        raise UsageError(
            "a model needs a candidate or a folder, not both", 'candidate="h0", or folder="models/small/export"'
        )
    if folder is not None:
        network = load_model(Path(folder))
        if num_classes not in (None, 0, network.head.out_features):
            other = build(network.config, num_classes or 0)  # type: ignore[arg-type]
            begin_from(other, network.state_dict())
            network = other
    else:
        network = build(parse_candidate(candidate), num_classes or IMAGENET_CLASSES)
    classes = network.head.out_features if num_classes is None else num_classes
    if classes == 0:  # timm's word for the mean of the last map
        network.head = nn.Identity()  # type: ignore[assignment]
    side = int(network.config.image_size)  # type: ignore[union-attr,arg-type]
    found = Features(network, out_indices) if features_only else network
    found.default_cfg = found.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, side, side), "crop_pct": 1.0 if folder is None else crop_of(Path(folder)), "interpolation": "bilinear",
        "mean": (MEAN,) * 3, "std": (DEVIATION,) * 3,
        "num_classes": classes, "first_conv": "stem.0.0", "classifier": "head",
    }  # fmt: skip
    return found


_FROM_TIMM = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
"""What timm.create_model passes to every model."""


def _register() -> None:
    """Entry points by name; timm reads the name and module of a function."""
    register = import_optional("timm.models").register_model

    def member(name: str) -> Any:
        def make(pretrained: bool = False, **more: Any) -> nn.Module:
            return halosearch(pretrained, candidate=name, **more)

        make.__name__ = make.__qualname__ = f"halosearch_{name}"
        make.__module__ = __name__
        make.__doc__ = f"{name.upper()} (arXiv:2103.12731) with fresh weights."
        return make

    register(halosearch)
    for name in search_of(HALONET).published:
        made = member(name)
        globals()[made.__name__] = made
        register(made)


_register()
