"""Settings: recipes, flags over them, and one line for whatever is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from data.errors import SettingsError
from detection.models.priors import COCO_SIZES, VOC_SIZES
from detection.training.settings import RECIPES, TrainSettings, resolve_settings
from pelee.training.recipes import read_recipe, recipe_names, to_plain


@pytest.mark.slow
def test_every_shipped_recipe_resolves() -> None:
    assert recipe_names(RECIPES) == ["gpu", "modern", "paper-coco", "paper-voc", "quick"]
    for name in recipe_names(RECIPES):
        settings = resolve_settings(name, {})
        for key, value in read_recipe(name, RECIPES, TrainSettings).items():
            assert to_plain(settings)[key] == value


@pytest.mark.slow
def test_recipes_train_on_any_dataset_and_the_format_gives_the_splits() -> None:
    for name in recipe_names(RECIPES):
        assert not {"train_split", "val_split"} & read_recipe(name, RECIPES, TrainSettings).keys()
        splits = {
            dataset: (settings.train_split, settings.val_split)
            for dataset in ("voc", "coco", "yolo")
            for settings in [resolve_settings(name, {}, dataset)]
        }
        assert splits == {
            "voc": ("trainval", "2007-minival"),  # not the test set, which the final figure is measured on
            "coco": ("train2017", "val2017"),
            "yolo": ("train", "val"),
        }


def test_the_papers_numbers_for_voc_and_coco() -> None:
    voc = resolve_settings("paper-voc", {})
    assert (voc.batch_size, voc.lr, voc.weight_decay, voc.momentum) == (32, 0.005, 5e-4, 0.9)
    assert (voc.max_steps, voc.schedule, voc.gamma, voc.input_size) == (120_000, "multi-step", 0.1, 304)
    assert voc.epochs * (16_551 // 32) >= 120_000  # the epochs do not end it earlier
    coco = resolve_settings("paper-coco", {})
    assert (coco.batch_size, coco.lr) == (128, 0.01)
    assert voc.network(20).prior_sizes == VOC_SIZES
    assert coco.network(80).prior_sizes == COCO_SIZES


def test_without_a_recipe_the_defaults_stand() -> None:
    assert resolve_settings(None, {}) == TrainSettings()


def test_flags_override_the_recipe_and_the_recipe_the_defaults() -> None:
    recipe = resolve_settings("quick", {})
    changed = resolve_settings("quick", {"lr": 0.5, "size_phases": [[96, 0.25], [128, 0.5]]})
    assert changed == replace(recipe, lr=0.5, size_phases=((96, 0.25), (128, 0.5)))
    assert recipe.ema_decay == 0.998 != TrainSettings().ema_decay


def test_the_network_that_settings_describe() -> None:
    settings = resolve_settings(None, {"input_size": 512, "head_kernel": 3, "res_blocks": False, "use_38x38": True})
    config = settings.network(7)
    assert (config.num_classes, config.input_size, config.head_kernel) == (7, 512, 3)
    assert (config.res_blocks, config.use_38x38) == (False, True)


@pytest.mark.slow
def test_settings_go_to_a_file_and_back(tmp_path: Path) -> None:
    overrides = {"patience": 3, "size_phases": [[96, 0.5]], "milestones": [0.1, 0.9], "optimizer": "adamw"}
    for settings in (
        resolve_settings("quick", overrides),
        *(resolve_settings(name, {}) for name in recipe_names(RECIPES)),
    ):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(to_plain(settings), sort_keys=False))
        assert resolve_settings(str(file), {}) == settings


def test_an_empty_file_is_a_recipe_of_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert resolve_settings(str(tmp_path / "empty.yaml"), {}) == TrainSettings()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batchsize": 8}, "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ({"learning_phase_x": 8}, "unknown key"),
        ({"epochs": "many"}, "setting epochs: .*got 'many'"),
        ({"epochs": 1.5}, "setting epochs: .*got 1.5"),
        ({"epochs": 0}, "setting epochs: .*greater than or equal to 1, got 0"),
        ({"lr": -1}, "setting lr: .*greater than 0"),
        ({"lr": float("nan")}, "setting lr"),
        ({"momentum": 1}, "setting momentum: .*less than 1"),
        ({"mosaic": 1.5}, "setting mosaic"),
        ({"label_smoothing": 1}, "setting label_smoothing: .*less than 1"),
        ({"box_loss": "iou"}, "setting box_loss: .*'giou'"),
        ({"assignment": "simota"}, "setting assignment: .*'atss'"),
        ({"class_loss": "sigmoid"}, "setting class_loss"),
        ({"box_weight": 0}, "setting box_weight: .*greater than 0"),
        ({"mixup": 2}, "setting mixup"),
        ({"backgrounds": 2}, "setting backgrounds"),
        ({"backgrounds": 0.1}, "backgrounds is 0.1 with class_loss softmax, .*expected class_loss focal"),
        ({"head_kernel": 2}, "setting head_kernel: .*1 or 3"),
        ({"optimizer": "lion"}, "setting optimizer: .*'sgd', 'adamw' or 'adam'"),
        ({"precision": "fp8"}, "setting precision"),
        ({"milestones": [80_000]}, "setting milestones.0"),  # shares of the schedule, not steps
        ({"size_phases": [[208, 1.5]]}, "setting size_phases.0.1"),
        ({"size_phases": [[100, 0.5]]}, "input size 100 does not fit; expected a multiple of 16"),
        ({"input_size": 300}, "input size 300 does not fit; expected a multiple of 16, at least 64"),
        ({"input_size": 48}, "input size 48"),
        ({"nesterov": True, "momentum": 0}, "nesterov: it needs a momentum"),
        ({"train_split": 2007}, "setting train_split"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        resolve_settings(None, overrides)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr 0.1: [", "no YAML"),
        ("- 1\n- 2\n", "holds a list; expected settings"),
        ("warmup: 3\n", "unknown key 'warmup'; did you mean 'warmup_steps'"),
        ("lr: fast\n", "setting lr"),
    ],
)
def test_a_recipe_that_is_none_is_told_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(SettingsError, match=message) as raised:
        resolve_settings(str(tmp_path / "bad.yaml"), {})
    assert "\n" not in str(raised.value)


def test_an_unknown_recipe_names_those_that_ship() -> None:
    with pytest.raises(SettingsError, match="neither a file nor one of gpu, modern, paper-coco, paper-voc, quick"):
        resolve_settings("paper", {})
