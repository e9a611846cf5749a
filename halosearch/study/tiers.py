"""What a trial may cost, by device and time: named tiers, written into study.yaml number by number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tier:
    """One price class.

    `smallest`..`largest`: image sizes searched. `rungs`: images that a trial's twin sees. `minutes`: what the whole study
    takes on the machine that the tier was made for (two CPU cores; one H100-class GPU, which is unmeasured).
    `timing_*`: images per step, rounds and anchor size of the step-time measurement.
    """

    name: str
    device: str
    minutes: float
    smallest: int
    largest: int
    width_multiplier: float
    rungs: tuple[int, ...]
    batch: int
    learning_rate: float
    train_images: int
    test_images: int
    trials: int
    retests: int
    scenes: str
    timing_batch: int
    timing_rounds: int
    timing_anchor: int


TIERS = {
    tier.name: tier
    for tier in (
        Tier("cpu-2m", "cpu", 2, 48, 64, 0.125, (512,), 32, 1e-2, 2_000, 256, 8, 4, "scenes-easy-1", 2, 5, 32),
        Tier("cpu-10m", "cpu", 10, 48, 128, 0.125, (2048,), 32, 1e-2, 20_000, 512, 18, 6, "scenes-easy-1", 4, 5, 32),
        Tier("cpu-1h", "cpu", 60, 48, 128, 0.125, (6144,), 32, 1e-2, 20_000, 1024, 40, 12, "scenes-easy-1", 4, 7, 32),
        Tier("cpu-6h", "cpu", 360, 48, 128, 0.25, (12_288,), 64, 5e-3, 20_000, 2048, 64, 20, "scenes-easy-1", 4, 9, 32),
        Tier(
            "gpu-1h",
            "cuda",
            60,
            64,
            320,
            0.25,
            (12_800, 51_200),
            256,
            4e-3,
            50_000,
            4096,
            48,
            16,
            "scenes-1",
            64,
            9,
            224,
        ),
        Tier(
            "gpu-1d",
            "cuda",
            1440,
            64,
            640,
            0.5,
            (12_800, 51_200, 204_800),
            256,
            3e-3,
            50_000,
            20_000,
            128,
            40,
            "scenes-1",
            64,
            9,
            224,
        ),
    )
}
DEFAULTS = {"cpu": "cpu-10m", "cuda": "gpu-1h"}


def choose_tier(device: str, max_time_s: float | None) -> Tier:
    """The largest tier of the device whose study fits the time limit; the smallest where none does."""
    if max_time_s is None:
        return TIERS[DEFAULTS[device]]
    own = [tier for tier in TIERS.values() if tier.device == device]
    fitting = [tier for tier in own if tier.minutes * 60 <= max_time_s]
    return fitting[-1] if fitting else own[0]
