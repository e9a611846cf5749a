"""The families that halosearch knows: what each reads, writes, counts, builds and narrows. A new one is a folder and an entry here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from halosearch.errors import UsageError
from halosearch.families.efficientnet import config as efficientnet_config
from halosearch.families.efficientnet import counts as efficientnet_counts
from halosearch.families.efficientnet import notation as efficientnet_notation
from halosearch.families.efficientnet import space as efficientnet_space
from halosearch.families.halonet import config as halonet_config
from halosearch.families.halonet import notation as halonet_notation
from halosearch.families.halonet import published as halonet_published
from halosearch.families.halonet import space as halonet_space
from halosearch.families.halonet import twin as halonet_twin
from halosearch.families.layers import IMAGENET_CLASSES, Cost, Layer, total
from halosearch.families.published import PublishedModel, published_models
from halosearch.families.resnet import config as resnet_config
from halosearch.families.resnet import counts as resnet_counts
from halosearch.families.resnet import notation as resnet_notation
from halosearch.families.search_space import Search

if TYPE_CHECKING:
    from halosearch.families.building_blocks import Classifier


class Config(Protocol):
    """One network written down: a frozen dataclass of its family."""

    @property
    def image_size(self) -> int:
        """Side of the images that it reads, in pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """One family of networks.

    `config`: the class of its members. `parse` and `text`: notation to member and back. `layers`: every layer with its cost for so many
    classes. `stages`: a table for people. `published`: what was published of a member. `build`: the network for so many classes;
    `explicit` asks for the form that a counter can follow. `twin`: the member with so much of every width. `search`: how it is searched,
    None for one that is only trained beside others.
    """

    name: str
    config: type
    parse: Callable[[str], Any]
    text: Callable[[Any], str]
    layers: Callable[[Any, int], Iterator[Layer]]
    stages: Callable[[Any], list[dict[str, Any]]]
    published: Callable[[Any], PublishedModel | None]
    build: Callable[[Any, int, bool], Classifier]
    twin: Callable[[Any, float], Any]
    search: Search | None = None


def parse_candidate(text: str) -> Any:
    """The network that a text describes, of whatever family: `h0`, `s=256,b=8,...`, `efficientnet-b4`, `resnet-50:s=256`.

    Raises:
        UsageError: it describes none.
    """
    name = text.strip().lower()
    for family in FAMILIES.values():
        if family.name != HALONET and name.startswith(family.name):
            return family.parse(text)
    try:
        return FAMILIES[HALONET].parse(text)
    except UsageError as error:
        if "=" in text or "did you mean" in error.hint:
            raise
        raise UsageError(str(error), f"{error.hint}; or efficientnet-b0 to -b7, resnet-50, -101, -152") from None


def family_of(config: Config) -> Family:
    """The family of a network."""
    return next(family for family in FAMILIES.values() if isinstance(config, family.config))


def search_of(name: str) -> Search:
    """How a family is searched.

    Raises:
        UsageError: there is no such family, or it is not searched.
    """
    family = FAMILIES.get(name)
    if family is None or family.search is None:
        searched = [each.name for each in FAMILIES.values() if each.search]
        why = f"there is no family {name!r}" if family is None else f"{name} has no search space"
        raise UsageError(why, f"families that can be searched are {', '.join(searched)}")
    return family.search


def search_of_dials(dials: Mapping[str, Any]) -> Search:
    """How the family of a row is searched; the dials' names tell the families apart.

    Raises:
        UsageError: no family has these dials.
    """
    for family in FAMILIES.values():
        if family.search and set(family.search.space.dials()) <= set(dials):
            return family.search
    raise UsageError(f"no family has the dials {', '.join(dials)}", "the record belongs to another version")


def config_of_dials(dials: Mapping[str, Any]) -> Any:
    """The network that a row of dials describes."""
    return search_of_dials(dials).config(dials)


def nearest_member(search: Search, params: int) -> str:
    """The published member whose parameters are nearest to a budget, by ratio."""
    return min(search.published, key=lambda name: abs(math.log(count(search.published[name]).params / params)))


def numeric_dials(config: Config) -> dict[str, float]:
    """The dials of a network whose values are numbers; none where its family's dials cannot say it."""
    search = family_of(config).search
    found = None if search is None else search.dials(config)
    return {name: float(value) for name, value in (found or {}).items() if not isinstance(value, str)}


def member_title(member: str) -> str:
    """A published member's name in a sentence: H4, EfficientNet-B4."""
    family, _, last = member.rpartition("-")
    return f"{family.capitalize().replace('net', 'Net')}-{last.upper()}" if family else member.upper()


def candidate_text(config: Config) -> str:
    """A network in its family's notation."""
    return family_of(config).text(config)


def layers_of(config: Config, classes: int = IMAGENET_CLASSES) -> Iterator[Layer]:
    """Every layer of a network, with its cost."""
    return family_of(config).layers(config, classes)


def count(config: Config, classes: int = IMAGENET_CLASSES) -> Cost:
    """Exact parameters, MACs and activations of one network, as Python ints."""
    cost = total(layers_of(config, classes))
    return Cost(int(cost.params), int(cost.macs), int(cost.activations))


def values_of(config: Any) -> dict[str, Any]:
    """A network as plain values (JSON) under its fields' names, which tell the families apart."""
    plain: dict[str, Any] = asdict(config)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def twin_of(config: Config, width_multiplier: float) -> Any:
    """The narrow network that is trained in a candidate's place."""
    return family_of(config).twin(config, width_multiplier)


def build(config: Config, classes: int = IMAGENET_CLASSES, *, explicit: bool = False) -> Classifier:
    """The network of a config; imports torch."""
    return family_of(config).build(config, classes, explicit)


def _halonet(config: Any, classes: int, explicit: bool) -> Classifier:
    from halosearch.families.halonet.network import HaloNet

    return HaloNet(config, classes, backend="reference" if explicit else "auto")


def _efficientnet(config: Any, classes: int, explicit: bool) -> Classifier:
    from halosearch.families.efficientnet.network import EfficientNet

    del explicit
    return EfficientNet(config, classes)


def _resnet(config: Any, classes: int, explicit: bool) -> Classifier:
    from halosearch.families.resnet.network import ResNet

    del explicit
    return ResNet(config, classes)


def _published_efficientnet(config: Any) -> PublishedModel | None:
    """With AutoAugment, the authors' better figures."""
    name = next((name for name, member in efficientnet_notation.MEMBERS.items() if member == config), None)
    rows = (row for row in published_models() if row.family == "EfficientNet AA")
    return next((row for row in rows if name is not None and row.model == name.upper()), None)


def _unpublished(config: Any) -> PublishedModel | None:
    del config
    return None


def _halonet_layers(config: Any, classes: int) -> Iterator[Layer]:
    from halosearch.families.halonet import counts  # NumPy: not for usage errors

    return counts.layers(counts.dials_of(config), classes)


def _halonet_stages(config: Any) -> list[dict[str, Any]]:
    from halosearch.families.halonet import counts

    return counts.stages(config)


HALONET = "halonet"
FAMILIES = {
    family.name: family
    for family in (
        Family(
            name=HALONET,
            config=halonet_config.HaloNetConfig,
            parse=halonet_notation.parse_candidate,
            text=halonet_notation.candidate_text,
            layers=_halonet_layers,
            stages=_halonet_stages,
            published=halonet_published.published_of,
            build=_halonet,
            twin=halonet_twin.twin_of,
            search=Search(
                halonet_space.HaloNetSpace,
                halonet_space.config_from_dials,
                halonet_space.dials_from_config,
                {name: each for name, each in halonet_published.FAMILY.items() if name[1:].isdigit()},
                ("stage3_depth", "expansion_ratio"),
            ),
        ),
        Family(
            name=efficientnet_notation.NAME,
            config=efficientnet_config.EfficientNetConfig,
            parse=efficientnet_notation.parse,
            text=efficientnet_notation.text,
            layers=efficientnet_counts.layers,
            stages=efficientnet_counts.stages,
            published=_published_efficientnet,
            build=_efficientnet,
            twin=efficientnet_config.twin_of,
            search=Search(
                efficientnet_space.EfficientNetSpace,
                efficientnet_space.config_from_dials,
                efficientnet_space.dials_from_config,
                {f"efficientnet-{name}": each for name, each in efficientnet_notation.MEMBERS.items()},
                ("depth", "width"),
            ),
        ),
        Family(
            name=resnet_notation.NAME,
            config=resnet_config.ResNetConfig,
            parse=resnet_notation.parse,
            text=resnet_notation.text,
            layers=resnet_counts.layers,
            stages=resnet_counts.stages,
            published=_unpublished,
            build=_resnet,
            twin=resnet_config.twin_of,
        ),
    )
}
