"""Blocked local self-attention with halos: one function, interchangeable backends."""
