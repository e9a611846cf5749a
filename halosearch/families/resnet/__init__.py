"""ResNet with bottleneck blocks (arXiv:1512.03385)."""
