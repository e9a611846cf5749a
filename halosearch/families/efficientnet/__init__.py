"""EfficientNet (arXiv:1905.11946)."""
