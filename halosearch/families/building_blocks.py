"""Modules that networks of all families are made of. Maps are (N, C, H, W), in channels_last."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from halosearch.families.layers import SILU
from halosearch.families.norm import ACTIVATIONS, Norm, activated


class Conv(nn.Sequential):
    """Convolution without bias, batch norm, and an activation where one is named."""

    def __init__(
        self, channels: int, width: int, size: int = 1, stride: int = 1, *, groups: int = 1, act: str | None = SILU
    ) -> None:
        """Pad so that a stride of two rounds the map up."""
        super().__init__(
            nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False),
            Norm(width, act),
        )

    @property
    def norm(self) -> Norm:
        """Its batch norm."""
        found = self[1]
        assert isinstance(found, Norm)
        return found

    def joined(self, x_NCHW: Tensor, shortcut_NCHW: Tensor, scale: float, act: str | None) -> Tensor:
        """The activation of the shortcut and `scale` times the normalised convolution: the end of a residual block."""
        return self.norm.joined(self[0](x_NCHW), shortcut_NCHW, scale, act)


class SqueezeExcite(nn.Module):
    """Channel gates from the map's mean (arXiv:1709.01507); shape is kept."""

    def __init__(self, width: int, squeezed: int, act: str = SILU) -> None:
        """Two fully connected layers, `width` -> `squeezed` -> `width`."""
        super().__init__()
        self.squeeze, self.excite, self.act = nn.Linear(width, squeezed), nn.Linear(squeezed, width), ACTIVATIONS[act]()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Scale every channel."""
        gates_NC = self.excite(self.act(self.squeeze(x_NCHW.mean((2, 3))))).sigmoid()
        gated: Tensor = x_NCHW * gates_NC[:, :, None, None]
        return gated


class Subsample(nn.Module):
    """Every `stride`-th row and column: before a 1x1 convolution this equals its stride.

    oneDNN's backward of a strided 1x1 convolution in channels_last corrupts memory at some channel counts (torch 2.13 on a
    CPU, 6 to 12 channels), so strided 1x1 convolutions are never built.
    """

    def __init__(self, stride: int) -> None:
        """Keep the stride."""
        super().__init__()
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H/stride, W/stride), rounded up."""
        return x_NCHW[:, :, :: self.stride, :: self.stride]


class ResidualBlock(nn.Module):
    """A block whose branch begins at 0 and is multiplied by `scale` (1 in the papers) before it is added to the shortcut.

    `drop`: share of images whose branch is left out of a training step (stochastic depth, arXiv:1603.09382).
    """

    scale: float = 1.0
    drop: float = 0.0

    def joined(self, last: Conv, inner_NCHW: Tensor, shortcut_NCHW: Tensor, act: str | None) -> Tensor:
        """The block's end: its `last` convolution of the branch, beside the shortcut."""
        if self.training and self.drop > 0:
            return activated(shortcut_NCHW + self.weighed(last(inner_NCHW)), act)
        return last.joined(inner_NCHW, shortcut_NCHW, self.scale, act)

    def weighed(self, branch_NCHW: Tensor) -> Tensor:
        """The branch times its scale; in training of some images none of it, of the others more, so that the mean stays."""
        if not (self.training and self.drop > 0):
            return self.scale * branch_NCHW
        kept_N111 = branch_NCHW.new_empty(len(branch_NCHW), 1, 1, 1).bernoulli_(1 - self.drop)
        return branch_NCHW * (self.scale / (1 - self.drop) * kept_N111)


class Classifier(nn.Module):
    """What all networks share: a last map (`features`), its mean, dropout of share `dropout`, and a linear layer (`head`)."""

    head: nn.Linear
    dropout: float = 0.0

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map of images (N, 3, s, s)."""
        raise NotImplementedError

    def classify(self, map_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of a last map."""
        mean_NC = map_NCHW.mean((2, 3))
        if self.training and self.dropout > 0:
            mean_NC = F.dropout(mean_NC, self.dropout)
        logits: Tensor = self.head(mean_NC)
        return logits

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, s, s)."""
        return self.classify(self.features(x_NCHW))
