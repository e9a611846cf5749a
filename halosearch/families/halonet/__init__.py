"""HaloNet: config and notation, space, closed-form counts, network, twin."""
