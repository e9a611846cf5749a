"""The network: blocked local self-attention with halos, and HaloNet built of it (arXiv:2103.12731)."""
