"""Is the search better? Recorded tables, synthetic families, contenders, a simulator with its own clock, the comparison."""
