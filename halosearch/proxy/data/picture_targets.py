"""Dense targets that can be made of any picture, without labels: its colours, a small copy of it, and where its edges run.

They are made of the picture as the network gets it (cropped, mirrored), averaged down to 32 pixels, so that they mean the same at
every image size. Shape suffixes: N images, C colours, S pixels a side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from halosearch.proxy.data.dataset import Dense

SIDE = 32
CELLS, QUADRANTS = 4, 2
DENSE = (
    Dense("colours", 6),
    Dense("small picture", 3 * CELLS**2),
    Dense("edges", CELLS**2),
    Dense("edge directions", 4 * QUADRANTS**2),
)


def picture_targets(images_NCSS: Tensor) -> Tensor:
    """The numbers of all groups in the order of `DENSE`, (N, 86) float32, of pictures in bytes; not standardised yet."""
    small = F.adaptive_avg_pool2d(images_NCSS.float() / 255, SIDE)
    light = small.mean(1, keepdim=True)
    right = F.pad(light, (1, 1, 0, 0), mode="replicate")
    down = F.pad(light, (0, 0, 1, 1), mode="replicate")
    across, along = right[..., 2:] - right[..., :-2], down[..., 2:, :] - down[..., :-2, :]
    strength, direction = torch.hypot(across, along), torch.atan2(along, across)
    turned = [strength * wave(times * direction) for times in (2, 4) for wave in (torch.cos, torch.sin)]
    return torch.cat(
        [
            small.mean((2, 3)),
            small.std((2, 3)),
            F.adaptive_avg_pool2d(small, CELLS).flatten(1),
            F.adaptive_avg_pool2d(strength, CELLS).flatten(1),
            F.adaptive_avg_pool2d(torch.cat(turned, 1), QUADRANTS).flatten(1),
        ],
        1,
    )
