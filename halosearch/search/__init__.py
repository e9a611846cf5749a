"""Which candidate comes next: samplers kept inside a cell, workers, the loop of ask, evaluate, tell."""
