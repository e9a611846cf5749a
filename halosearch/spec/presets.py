"""What a trial may cost, by device and time: named presets, written into study.yaml number by number."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from halosearch.spec.flags import Flag


class Frozen(BaseModel):
    """A part of a study file: no unknown key, no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _rising(rungs: tuple[int, ...]) -> tuple[int, ...]:
    if list(rungs) != sorted(set(rungs)) or rungs[0] < 1:
        raise ValueError("rungs must be rising numbers of images")
    return rungs


class Preset(Frozen):
    """One price class.

    The defaults are what a study file of an earlier version means that does not name a number: they never change.
    `dense`: images of folders come with dense targets. `timed`: whose step time is measured: of every candidate with its training, of
    those on or near the front after the search, of none. `zero_cost`: whether scores of untrained networks are taken.
    `smallest`..`largest`: image sizes searched. `rungs`: images that a trial's twin sees; one trial in `eta` goes on from each
    (0: all). `uniform`: first trials, drawn evenly and run to the last rung; `retests` of them with a second seed, three of these
    with `anchor_seeds` in all; `rates`: candidates whose learning rate is audited. `finalists` get `final_seeds` more, on held-out
    images. `minutes`: what the whole study takes on the machine that the preset was made for (two CPU cores; one H100-class GPU,
    which is unmeasured; of the CPU presets `cpu-10m` is measured, the others are estimated from its trainings).
    `timing_*`: images per step, rounds and anchor size of the step-time measurement.
    """

    name: Annotated[
        str,
        Flag("--preset", "Price class of a trial: cpu-2m, cpu-10m, cpu-1h, cpu-6h, gpu-1h, gpu-1d.", key="preset",
             old="--tier"),
    ]  # fmt: skip
    device: str = "cpu"
    minutes: float = 10
    smallest: int = 48
    largest: int = 128
    width_multiplier: float = Field(default=0.125, gt=0, le=1)
    rungs: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)] = (1024, 2048)
    batch: int = Field(default=32, gt=1)
    learning_rate: float = Field(default=1e-2, gt=0)
    warmup_steps: int = Field(default=8, gt=0)
    cooldown: float = Field(default=0.2, gt=0, lt=1)
    norm_batches: int = Field(default=8, gt=0)
    dense: bool = False
    train_images: int = Field(default=20_000, gt=0)
    test_images: int = Field(default=512, gt=0)
    trials: int = 20
    retests: int = 6
    scenes: str = "scenes-easy-1"
    timing_batch: int = Field(default=4, gt=1)
    timing_rounds: int = Field(default=7, gt=1)
    timing_anchor: int = Field(default=32, ge=32)
    eta: int = Field(default=3, ge=0)
    uniform: int = Field(default=8, ge=0)
    anchor_seeds: int = Field(default=2, ge=0, le=50)
    rates: int = Field(default=0, ge=0, le=3)
    finalists: int = Field(default=2, ge=0)
    final_seeds: int = Field(default=2, ge=0, le=50)
    timed: Literal["all", "front", "none"] = "all"
    zero_cost: bool = True


def _with(preset: Preset, **changes: Any) -> Preset:
    return Preset(**(preset.model_dump() | changes))


_DENSE = Preset(
    name="cpu-1h", minutes=60, width_multiplier=0.25, rungs=(768, 1536), batch=16, learning_rate=5e-3, warmup_steps=12, cooldown=0.5,
    norm_batches=16, dense=True, scenes="scenes-easy-2", timed="front", zero_cost=False, eta=0, test_images=1024,
    trials=60, uniform=40, retests=40, anchor_seeds=3, rates=1, finalists=3, final_seeds=3,
)  # fmt: skip
"""Recipe: see docs/proxy.md, which says on what it was chosen and judged."""
_SHORT = _with(
    _DENSE, name="cpu-10m", minutes=10, largest=96, width_multiplier=0.125, rungs=(512, 1024), test_images=512, trials=30,
    uniform=12, retests=12, anchor_seeds=2, rates=0, finalists=2, final_seeds=2,
)  # fmt: skip
_GPU = _with(
    _DENSE, name="gpu-1h", device="cuda", minutes=60, smallest=64, largest=320, rungs=(12_800, 51_200), batch=64,
    learning_rate=8e-3, warmup_steps=50, norm_batches=8, train_images=300_000, test_images=4096, scenes="scenes-2", timing_batch=64,
    timing_rounds=9, timing_anchor=224, trials=64, uniform=40, retests=40, anchor_seeds=3, finalists=3, final_seeds=3,
)  # fmt: skip
PRESETS = {
    preset.name: preset
    for preset in (
        _with(
            _SHORT, name="cpu-2m", minutes=2, largest=64, rungs=(256, 512), test_images=256, trials=8, retests=5, uniform=5,
            finalists=1, final_seeds=1,
        ),
        _SHORT,
        _DENSE,
        _with(
            _DENSE, name="cpu-6h", minutes=360, rungs=(1536, 6144), test_images=2048, trials=120, retests=50, timing_rounds=9,
            uniform=50, anchor_seeds=5, rates=3, finalists=4, final_seeds=3,
        ),
        _GPU,
        _with(
            _GPU, name="gpu-1d", minutes=1440, largest=640, width_multiplier=0.5, rungs=(51_200, 204_800), test_images=20_000,
            trials=160, anchor_seeds=5, rates=3, finalists=8,
        ),
    )
}  # fmt: skip
DEFAULTS = {"cpu": "cpu-10m", "cuda": "gpu-1h"}


def choose_preset(device: str, max_time_s: float | None) -> Preset:
    """The largest preset of the device whose study fits the time limit; the smallest where none does."""
    if max_time_s is None:
        return PRESETS[DEFAULTS[device]]
    own = [preset for preset in PRESETS.values() if preset.device == device]
    fitting = [preset for preset in own if preset.minutes * 60 <= max_time_s]
    return fitting[-1] if fitting else own[0]
