"""Who evaluates: local processes, Ray, Ray Tune, behind one protocol."""
