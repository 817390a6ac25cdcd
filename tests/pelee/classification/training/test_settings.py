"""Settings of a classifier's training: recipes, layouts, values."""

import pytest

from data.errors import SettingsError
from pelee.classification.training.settings import RECIPES, ClassifierSettings, resolve_settings, with_current_names
from pelee.training.recipes import recipe_names

GIVEN = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 50.0, 40.0]}


def test_every_recipe_resolves() -> None:
    for name in recipe_names(RECIPES):
        assert isinstance(resolve_settings(name, {}), ClassifierSettings)


def test_layout_sets_sizes_and_a_flag_overrides_a_recipe() -> None:
    settings = resolve_settings(None, {}, "cifar10")
    assert (settings.input_size, settings.picture_size, settings.val_split) == (32, 32, "test")
    assert resolve_settings("quick", {"epochs": 3}, "tiny-imagenet").epochs == 3
    with pytest.raises(SettingsError, match="too small"):
        resolve_settings(None, {"input_size": 4})


def test_normalization_is_a_name_or_numbers() -> None:
    assert resolve_settings(None, {}).normalization == "model"
    assert resolve_settings(None, {"normalization": "usual"}).normalization == "model"  # deprecated name
    settings = resolve_settings(None, {"normalization": GIVEN})
    assert settings.normalization.mean == (120, 110, 100)  # type: ignore[union-attr]
    for wrong in ("imagenet", {"mean": [1, 2, 3]}, GIVEN | {"std": [1, 2, 0]}, GIVEN | {"mean": [1, 2]}):
        with pytest.raises(SettingsError, match="setting normalization"):
            resolve_settings(None, {"normalization": wrong})
    for wrong in (["blurr"], "blur"):
        with pytest.raises(SettingsError, match="setting transforms"):
            resolve_settings(None, {"transforms": wrong})


def test_with_current_names_replaces_renamed_values() -> None:
    assert with_current_names({"normalization": "usual", "lr": 1.0}) == {"normalization": "model", "lr": 1.0}
    assert with_current_names({"normalization": GIVEN}) == {"normalization": GIVEN}


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_every_recipe_loads_on_its_data(name: str) -> None:
    usual = {"cars": "cars", "report": "cifar10", "cifar10": "cifar10", "inception-v3": "imagefolder"}
    settings = resolve_settings(name, {}, usual.get(name, "tiny-imagenet"))
    assert settings.epochs >= 8
