"""What a trial may cost, by device and time: named tiers, written into study.yaml number by number."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Tier:
    """One price class.

    `smallest`..`largest`: image sizes searched. `rungs`: images that a trial's twin sees; one trial in `eta` goes on from each
    (0: all). `uniform`: first trials, drawn evenly and run to the last rung; `retests` of them with a second seed, three of these
    with `anchor_seeds` in all; `rates`: candidates whose learning rate is audited. `finalists` get `final_seeds` more, on held-out
    images. `minutes`: what the whole study
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
    eta: int
    uniform: int
    anchor_seeds: int
    rates: int
    finalists: int
    final_seeds: int


_CPU = Tier(
    name="cpu-10m",
    device="cpu",
    minutes=10,
    smallest=48,
    largest=128,
    width_multiplier=0.125,
    rungs=(1024, 2048),
    batch=32,
    learning_rate=1e-2,
    train_images=20_000,
    test_images=512,
    trials=20,
    retests=6,
    scenes="scenes-easy-1",
    timing_batch=4,
    timing_rounds=5,
    timing_anchor=32,
    eta=3,
    uniform=8,
    anchor_seeds=2,
    rates=0,
    finalists=2,
    final_seeds=2,
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
    trials=64,
    retests=16,
    scenes="scenes-1",
    timing_batch=64,
    timing_rounds=9,
    timing_anchor=224,
    eta=4,
    uniform=16,
    anchor_seeds=3,
    rates=0,
    finalists=3,
    final_seeds=3,
)
TIERS = {
    tier.name: tier
    for tier in (
        replace(
            _CPU,
            name="cpu-2m",
            minutes=2,
            largest=64,
            rungs=(384, 768),
            batch=16,
            test_images=256,
            trials=9,
            retests=4,
            uniform=5,
            eta=2,
            finalists=1,
            final_seeds=1,
        ),
        _CPU,
        replace(
            _CPU,
            name="cpu-1h",
            minutes=60,
            rungs=(2048, 6144),
            test_images=1024,
            trials=50,
            retests=14,
            timing_rounds=7,
            uniform=14,
            anchor_seeds=3,
            rates=1,
            finalists=3,
            final_seeds=3,
        ),
        replace(
            _CPU,
            name="cpu-6h",
            minutes=360,
            width_multiplier=0.25,
            rungs=(3072, 12_288),
            test_images=2048,
            trials=96,
            retests=40,
            timing_rounds=9,
            uniform=40,
            anchor_seeds=5,
            rates=3,
            finalists=4,
            final_seeds=3,
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
            trials=160,
            retests=40,
            uniform=40,
            anchor_seeds=5,
            rates=3,
            finalists=8,
            final_seeds=3,
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
