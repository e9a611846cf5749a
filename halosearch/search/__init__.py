"""Which candidate comes next: samplers kept inside a pool, workers, the loop of ask, evaluate, tell."""
