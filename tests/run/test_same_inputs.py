"""A study that an earlier version began goes on as it was; a number that was edited is refused."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from halosearch.errors import UsageError, VersionError
from halosearch.proxy.data.scenes import Scenes
from halosearch.proxy.recipe import Recipe
from halosearch.run.same_inputs import check_same_inputs, recipe_of
from halosearch.spec.presets import PRESETS, Preset
from halosearch.spec.study import MAY_CHANGE, make_spec

ROOT = Path(__file__).parents[1]
EARLIER = (  # what a preset named before dense targets
    "name", "device", "minutes", "smallest", "largest", "width_multiplier", "rungs", "batch", "learning_rate", "train_images",
    "test_images", "trials", "retests", "scenes", "timing_batch", "timing_rounds", "timing_anchor", "eta", "uniform", "anchor_seeds",
    "rates", "finalists", "final_seeds",
)  # fmt: skip


class Facts:
    def __init__(self, **known):
        self.known = known

    def facts(self):
        return self.known

    def set_fact(self, key, value):
        self.known[key] = value


@pytest.fixture
def spec():
    """A study file of the version before, which names no number that came later."""
    values = yaml.safe_load((ROOT / "record" / "format3" / "study.yaml").read_text())
    values["preset"] = {name: values["preset"][name] for name in EARLIER}
    return make_spec(values)


def earlier(spec):
    inputs = {key: value for key, value in spec.model_dump(mode="json").items() if key not in MAY_CHANGE}
    inputs["preset"] = {name: inputs["preset"][name] for name in EARLIER}
    del inputs["rivals"]
    recipe = asdict(recipe_of(spec.preset)) | {"weights": 2}
    return Facts(inputs=inputs, recipe=recipe | {"betas": list(recipe["betas"])})


def test_numbers_that_it_did_not_name_mean_what_they_meant(spec):
    assert recipe_of(spec.preset) == Recipe(batch=32, learning_rate=1e-2)
    assert not spec.preset.dense
    assert spec.preset.timed == "all"
    check_same_inputs(earlier(spec), spec, Scenes("scenes-easy-1", 0, 512))


def test_an_edited_number_is_refused_and_so_is_another_recipe(spec):
    edited = spec.model_copy(update={"preset": spec.preset.model_copy(update={"cooldown": 0.5})})
    with pytest.raises(UsageError, match="begun with"):
        check_same_inputs(earlier(spec), edited, Scenes("scenes-easy-1", 0, 512))
    with pytest.raises(UsageError, match="says rivals"):
        check_same_inputs(
            earlier(spec), spec.model_copy(update={"rivals": ("efficientnet-b0",)}), Scenes("scenes-easy-1", 0, 512)
        )
    facts = earlier(spec)
    facts.known["recipe"]["clip"] = 2.0
    with pytest.raises(VersionError, match="clip"):
        check_same_inputs(facts, spec, Scenes("scenes-easy-1", 0, 512))


def test_every_preset_says_its_whole_recipe():
    for preset in PRESETS.values():
        recipe = recipe_of(preset)
        assert (recipe.batch, recipe.learning_rate, recipe.cooldown) == (
            preset.batch,
            preset.learning_rate,
            preset.cooldown,
        )
        assert preset.dense
        assert preset.rungs[-1] <= preset.train_images  # every image is new: the prequential score is honest
    assert set(EARLIER) < set(Preset.model_fields)
