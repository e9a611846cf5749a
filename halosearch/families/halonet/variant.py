"""What a HaloNet may differ in beside its dials: the paper's ablations and the layers that it was compared with, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.errors import UsageError
from halosearch.families.layers import RELU, SILU

STRIDED, POOLED = "strided", "pooled"
RELATIVE, ABSOLUTE, NO_POSITIONS = "relative", "absolute", "none"


@dataclass(frozen=True, slots=True)
class Variant:
    """The published network is the default.

    Args:
        mask: every query sees only the `mask` x `mask` pixels around it (odd), as in SASA (arXiv:1906.05909); None: its block's window.
        downsampling: "strided" queries, or attention at stride 1 and a 2 x 2 average "pooled" behind it, as in SASA.
        positions: "relative" embeddings in the logits; "absolute" ones of rows and columns added to what a layer reads; or "none".
        activation: "silu" or "relu", everywhere.
        squeeze_excite: behind the attention of every attention block, as behind the 3x3 convolution of convolutional ones.

    Raises:
        UsageError: a value is none of these.
    """

    mask: int | None = None
    downsampling: str = STRIDED
    positions: str = RELATIVE
    activation: str = SILU
    squeeze_excite: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.mask is not None and (self.mask < 1 or self.mask % 2 == 0):
            raise UsageError(f"a mask of {self.mask} pixels has no middle", "it takes odd numbers: mask=7")
        for name, value, known in (
            ("downsampling", self.downsampling, (STRIDED, POOLED)),
            ("positions", self.positions, (RELATIVE, ABSOLUTE, NO_POSITIONS)),
            ("activation", self.activation, (SILU, RELU)),
        ):
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}", f"it is one of {', '.join(known)}")


AS_PUBLISHED = Variant()
