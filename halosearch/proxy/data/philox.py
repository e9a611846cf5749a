"""Philox4x32-10: random words that are a function of key and counter alone, the same on every device.

John K. Salmon, Mark A. Moraes, Ron O. Dror, David E. Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

Shape suffixes: N counters.
"""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
DEVIATION = ((256**2 - 1) / 3) ** 0.5
"""Of the sum of four even bytes."""
MASK = 0xFFFFFFFF


def words(key: tuple[int, int], counter_N4: Tensor) -> Tensor:
    """Four 32-bit words for every counter of four 32-bit words; int64 in, int64 out, each below 2^32.

    Products of two words wrap around in int64; their low 64 bits, which are all that is used, are right nevertheless.
    """
    a, b, c, d = counter_N4.unbind(-1)
    first, second = (part & MASK for part in key)
    for _ in range(ROUNDS):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            ((right >> 32) & MASK) ^ b ^ first,
            right & MASK,
            ((left >> 32) & MASK) ^ d ^ second,
            left & MASK,
        )
        first, second = (first + WEYL[0]) & MASK, (second + WEYL[1]) & MASK
    return torch.stack((a, b, c, d), -1)


def stream(key: tuple[int, int], ids_N: Tensor, count: int, number: int = 0) -> Tensor:
    """The first `count` words of stream `number` of every id, (N, count) int64 on the device of the ids."""
    blocks = torch.arange(-(-count // 4), device=ids_N.device)
    counter = torch.zeros(len(ids_N), len(blocks), 4, dtype=torch.int64, device=ids_N.device)
    counter[:, :, 0] = blocks
    counter[:, :, 1] = number
    counter[:, :, 2] = (ids_N & MASK)[:, None]
    counter[:, :, 3] = (ids_N >> 32)[:, None]
    return words(key, counter).flatten(1)[:, :count]


def uniform(key: tuple[int, int], ids_N: Tensor, count: int, number: int = 0) -> Tensor:
    """Numbers in [0, 1) with 24 bits each, (N, count) float32: exact on every device."""
    return (stream(key, ids_N, count, number) >> 8).float() * 2.0**-24


def noise(key: tuple[int, int], ids_N: Tensor, count: int, number: int = 0) -> Tensor:
    """Nearly normal numbers of mean 0 and deviation 1, (N, count) float32: the sum of a word's four bytes, scaled.

    Sums of integers, so every device agrees; the largest value is 3.45.
    """
    word = stream(key, ids_N, count, number)
    total = (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255) + (word >> 24)
    return (total.float() - 510.0) / DEVIATION
