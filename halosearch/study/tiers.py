"""What a trial may cost, by device and time: named tiers, written into study.yaml number by number."""

from __future__ import annotations

from dataclasses import dataclass, replace


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


_CPU = Tier(
    name="cpu-10m",
    device="cpu",
    minutes=10,
    smallest=48,
    largest=128,
    width_multiplier=0.125,
    rungs=(2048,),
    batch=32,
    learning_rate=1e-2,
    train_images=20_000,
    test_images=512,
    trials=18,
    retests=6,
    scenes="scenes-easy-1",
    timing_batch=4,
    timing_rounds=5,
    timing_anchor=32,
)
_GPU = Tier(
    name="gpu-1h",
    device="cuda",
    minutes=60,
    smallest=64,
    largest=320,
    width_multiplier=0.25,
    rungs=(12_800, 51_200),
    batch=256,
    learning_rate=4e-3,
    train_images=50_000,
    test_images=4096,
    trials=48,
    retests=16,
    scenes="scenes-1",
    timing_batch=64,
    timing_rounds=9,
    timing_anchor=224,
)
TIERS = {
    tier.name: tier
    for tier in (
        replace(
            _CPU, name="cpu-2m", minutes=2, largest=64, rungs=(768,), batch=16, test_images=256, trials=8, retests=4
        ),
        _CPU,
        replace(
            _CPU, name="cpu-1h", minutes=60, rungs=(6144,), test_images=1024, trials=40, retests=12, timing_rounds=7
        ),
        replace(
            _CPU,
            name="cpu-6h",
            minutes=360,
            width_multiplier=0.25,
            rungs=(12_288,),
            test_images=2048,
            trials=64,
            retests=20,
            timing_rounds=9,
        ),
        _GPU,
        replace(
            _GPU,
            name="gpu-1d",
            minutes=1440,
            largest=640,
            width_multiplier=0.5,
            rungs=(12_800, 51_200, 204_800),
            test_images=20_000,
            trials=128,
            retests=40,
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
