"""Pictures of a split at an image size, kept on a device as far as there is room."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

KEPT_BYTES = 2**30
"""For every split; a size that takes more is made again whenever it is asked for."""


class KeptPictures:
    """Whole splits by image size: those that are scored on again and again."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._kept = dict[tuple[str, int], Tensor]()

    def get(self, split: str, image_size: int, count: int, make: Callable[[list[int]], Tensor]) -> Tensor | None:
        """Pictures (count, 3, S, S) uint8 of a split, made once; None where they are too many to keep. Sizes asked for first go first."""
        need = 3 * image_size**2 * count
        if need > KEPT_BYTES:
            return None
        if (split, image_size) not in self._kept:
            held = [key for key in self._kept if key[0] == split]
            while held and sum(self._kept[key].nbytes for key in held) + need > KEPT_BYTES:
                del self._kept[held.pop(0)]
            self._kept[split, image_size] = make(list(range(count)))
        return self._kept[split, image_size]
