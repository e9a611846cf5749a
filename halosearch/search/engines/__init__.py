"""Who runs jobs: processes of this machine, a Ray cluster, Ray Tune."""
