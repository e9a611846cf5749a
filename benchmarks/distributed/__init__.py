"""Studies on clusters and databases: what breaks, what is kept, what it costs."""
