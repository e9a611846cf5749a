"""Where a study runs. Nothing heavy is imported here: a wrong flag is answered at once."""

from __future__ import annotations

from dataclasses import dataclass

from halosearch.spec.study import StudySpec

LOCAL, RAY, RAY_TUNE = "local", "ray", "ray-tune"
ENGINES = (LOCAL, RAY, RAY_TUNE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study runs; it may change from one run to the next.

    `address` of a Ray cluster, None for one of our own. `gpus_per_trial`: share of a GPU that a worker holds (None: one on CUDA).
    """

    engine: str = LOCAL
    address: str | None = None
    gpus_per_trial: float | None = None

    def share(self, spec: StudySpec) -> float:
        """GPUs that one running evaluation holds."""
        if self.gpus_per_trial is not None:
            return self.gpus_per_trial
        if not spec.device.startswith("cuda"):
            return 0.0
        return 1.0 if self.engine != LOCAL or spec.preset.timed != "none" else 1.0 / parallel(spec)


def parallel(spec: StudySpec) -> int:
    """Jobs at once: never more than the study's decisions in flight."""
    return min(spec.workers, spec.max_in_flight)
