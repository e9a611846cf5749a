"""Modules that networks of all families are made of. Maps are (N, C, H, W), in channels_last."""

from __future__ import annotations

from torch import Tensor, nn

from halosearch.families.layers import SILU
from halosearch.families.norm import ACTIVATIONS, Norm


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
    """A block whose branch begins at 0 and is multiplied by `scale` (1 in the papers) before it is added to the shortcut."""

    scale: float = 1.0


class Classifier(nn.Module):
    """What all networks share: a last map (`features`), its mean, and a linear layer (`head`)."""

    head: nn.Linear

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The last map of images (N, 3, s, s)."""
        raise NotImplementedError

    def classify(self, map_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of a last map."""
        logits: Tensor = self.head(map_NCHW.mean((2, 3)))
        return logits

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, s, s)."""
        return self.classify(self.features(x_NCHW))
