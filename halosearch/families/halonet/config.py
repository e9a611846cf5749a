"""One HaloNet written down: `HaloNetConfig`, frozen and born valid."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from halosearch.errors import UsageError
from halosearch.families.halonet.variant import AS_PUBLISHED, Variant

ATTENTION, CONV = "attention", "conv"
STAGES = 4
SE_RATIO = 16
"""Squeeze-excite of conv stages reduces its width by 16 (arXiv:1709.01507, the default of its table 10)."""
CHANNELS_PER_HEAD = 16
"""Head width of `heads by width`, as in HaloNet-50 (arXiv:2103.12731, section 4)."""
PUBLISHED_HEADS = (4, 8, 8, 8)
"""Heads per stage of H0-H7 (arXiv:2103.12731, table 2)."""


def halve(side: int) -> int:
    """Positions a side after a stride of two (padded convolutions and strided queries round up)."""
    return -(-side // 2)


@dataclass(frozen=True, slots=True)
class HaloNetConfig:
    """A member of the HaloNet family (arXiv:2103.12731), in the paper's symbols, mapped once.

    s `image_size` (pixels) | b `block_size` | h `halo_size` | rv `value_ratio` | rb `expansion_ratio` |
    l3 `stage_depths[2]` | df `final_width` (None: no final 1x1) | heads `heads` per stage |
    r_qk `query_ratio` | 64 r_w `base_width` | `variant`: see `Variant`. `stage_kinds` says attention or conv (3x3 + SE) per stage.

    Raises:
        UsageError: a dial is out of its domain or widths and heads do not divide.
    """

    image_size: int
    block_size: int
    halo_size: int
    expansion_ratio: float
    stage_depths: tuple[int, int, int, int]
    value_ratio: float = 1.0
    final_width: int | None = None
    heads: tuple[int, int, int, int] = PUBLISHED_HEADS
    stage_kinds: tuple[str, str, str, str] = (ATTENTION,) * 4
    query_ratio: float = 1.0
    base_width: int = 64
    variant: Variant = AS_PUBLISHED

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _require(self.image_size >= 32, f"image size {self.image_size} is below 32", "s=64")
        _require(self.block_size >= 1, f"block size {self.block_size} is below 1", "b=8")
        _require(self.halo_size >= 0, f"halo size {self.halo_size} is negative", "h=3")
        _require(
            len(self.stage_depths) == STAGES and min(self.stage_depths) >= 1,
            f"stage depths {self.stage_depths} are not four positive numbers",
            "l3=7",
        )
        _require(
            len(self.heads) == STAGES and min(self.heads) >= 1,
            f"heads {self.heads} are not four positive numbers",
            "heads=4-8-8-8",
        )
        _require(
            set(self.stage_kinds) <= {ATTENTION, CONV} and len(self.stage_kinds) == STAGES,
            f"stage kinds {self.stage_kinds} are not four of attention, conv",
            "conv=0",
        )
        _require(self.base_width >= 4, f"base width {self.base_width} is below 4", "w=64")
        _require(
            self.final_width is None or self.final_width >= 1, f"final width {self.final_width} is below 1", "df=none"
        )
        for stage in range(STAGES):
            self._check_stage(stage)
        mask, side = self.variant.mask, self.first_attention_side()
        _require(
            mask is None or side is None or mask // 2 <= self.halo_size or self.block_size >= side,
            f"a mask of {mask} pixels reaches {(mask or 0) // 2} pixels far, and halos of {self.halo_size} do not",
            f"h={(mask or 0) // 2}",
        )

    def _check_stage(self, stage: int) -> None:
        width = self.stage_width(stage)
        named = {"expansion ratio": self.expansion_ratio}
        if self.stage_kinds[stage] == ATTENTION:
            named |= {"value ratio": self.value_ratio, "query ratio": self.query_ratio}
        for name, ratio in named.items():
            channels = ratio * width
            _require(
                ratio > 0 and channels == int(channels),
                f"{name} {ratio:g} times the {width} channels of stage {stage + 1} is not a whole number",
                "rv=1,rb=1",
            )
            if name != "expansion ratio":
                _require(
                    int(channels) % self.heads[stage] == 0,
                    f"stage {stage + 1} has {int(channels)} channels ({name} {ratio:g}), which {self.heads[stage]} heads do not divide",
                    "heads=published",
                )

    @property
    def stage3_depth(self) -> int:
        """The paper's l3."""
        return self.stage_depths[2]

    @property
    def window_size(self) -> int:
        """Side of the window that a block attends to, b + 2h."""
        return self.block_size + 2 * self.halo_size

    def stage_width(self, stage: int) -> int:
        """Bottleneck channels of stage 0..3."""
        return self.base_width << stage

    def stage_sides(self) -> tuple[int, int, int, int]:
        """Positions a side of the map that each stage gives out: s/4, s/8, s/16, s/32, rounded up."""
        sides = [halve(halve(self.image_size))]
        for _ in range(STAGES - 1):
            sides.append(halve(sides[-1]))
        return tuple(sides)  # type: ignore[return-value]

    def first_attention_side(self) -> int | None:
        """Side of the largest map that any attention layer reads; None when every stage is convolutional."""
        sides = self.stage_sides()
        for stage, kind in enumerate(self.stage_kinds):
            if kind == ATTENTION:
                return sides[0] if stage == 0 else sides[stage - 1]
        return None

    def canonical(self) -> HaloNetConfig:
        """The one description of this network: dials that change nothing take their plainest value.

        A block that covers the largest map is global attention (b = that map, h = 0); a final 1x1 that does not change
        the width is left out; heads of conv stages, and every attention dial of an all-conv network, are set to 1 (h to 0).
        """
        last = int(self.expansion_ratio * self.stage_width(STAGES - 1))
        heads = tuple(n if kind == ATTENTION else 1 for n, kind in zip(self.heads, self.stage_kinds, strict=True))
        side = self.first_attention_side()
        block, halo = self.block_size, self.halo_size
        if side is None:
            block, halo = 1, 0
        elif block >= side:
            block, halo = side, 0
        return replace(
            self,
            block_size=block,
            halo_size=halo,
            heads=heads,  # type: ignore[arg-type]
            final_width=None if self.final_width == last else self.final_width,
            value_ratio=1.0 if side is None else self.value_ratio,
            query_ratio=1.0 if side is None else self.query_ratio,
            variant=Variant(activation=self.variant.activation) if side is None else self.variant,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values (JSON, YAML) under the field names."""
        return {
            "image_size": self.image_size,
            "block_size": self.block_size,
            "halo_size": self.halo_size,
            "value_ratio": self.value_ratio,
            "expansion_ratio": self.expansion_ratio,
            "stage_depths": list(self.stage_depths),
            "final_width": self.final_width,
            "heads": list(self.heads),
            "stage_kinds": list(self.stage_kinds),
            "query_ratio": self.query_ratio,
            "base_width": self.base_width,
            "variant": asdict(self.variant),
        }


def _require(holds: bool, sentence: str, example: str) -> None:
    if not holds:
        raise UsageError(sentence, f"for example {example}")


def config_from_dict(values: dict[str, Any]) -> HaloNetConfig:
    """The inverse of `HaloNetConfig.to_dict`."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return HaloNetConfig(**plain | {"variant": Variant(**plain.get("variant", {}))})


def heads_by_width(base_width: int = 64) -> tuple[int, int, int, int]:
    """Heads per stage at 16 channels each."""
    one, two, three, four = (max(1, (base_width << stage) // CHANNELS_PER_HEAD) for stage in range(STAGES))
    return one, two, three, four
