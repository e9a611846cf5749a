"""Many names in little memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np


class PackedNames:
    """Many texts in one buffer: 1.3 million paths of 40 bytes take 60 MB instead of 140."""

    def __init__(self, names: Sequence[str]) -> None:
        """Pack them."""
        encoded = [os.fsencode(name) for name in names]
        self._ends = np.cumsum([len(each) for each in encoded], dtype=np.int64) if encoded else np.zeros(0, np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        """How many."""
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        """One of them."""
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._bytes[start : int(self._ends[index])])
