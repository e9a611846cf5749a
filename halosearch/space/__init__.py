"""What may be built: one network written down, the published family, the dials a search may turn."""
