"""Plan of an ablation study: runs, settings and commands."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from data.errors import SettingsError
from detection.ablation.experiment import COMPARISONS, Comparison, Run, read_comparison
from detection.ablation.plan import plan
from detection.commands.ablate import build_parser, plan_options
from detection.training.settings import TrainSettings, resolve_settings
from pelee.training.recipes import recipe_names, to_plain
from pelee.training.resume import RESUMABLE


def planned(comparison: Comparison, *arguments: str) -> list[Run]:
    options, words = build_parser().parse_known_args(["x", "--root", "R", "--output", "O", *arguments])
    return plan(comparison, plan_options(options, words))


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names(COMPARISONS))
def test_shipped_comparisons_differ_in_settings_only_and_are_trained_equally_long(name: str) -> None:
    comparison = read_comparison(name)
    runs = planned(comparison, "--teacher", "T")
    assert [run.name for run in runs] == list(comparison.variants)
    assert not runs[0].changed
    assert {run.settings.epochs for run in runs} == {comparison.settings["epochs"]}
    assert {run.settings.val_split for run in runs} == {"2007-minival"}
    assert len({json.dumps(run.changed, sort_keys=True) for run in runs}) == len(runs)


@pytest.mark.slow
def test_the_recipes_are_the_ingredients_of_their_names() -> None:
    """So that a row of one table is a row of the other, and the two files of each say the same."""
    ingredients, recipes = (
        {
            run.name: {key: value for key, value in to_plain(run.settings).items() if key not in RESUMABLE}
            for run in planned(read_comparison(name), "--teacher", "T")
        }
        for name in ("ingredients", "recipes")
    )
    assert {name: ingredients[name] for name in recipes} == recipes


@pytest.mark.slow
def test_every_setting_of_a_plan_is_one_of_its_command() -> None:
    """What pelee-train resolves from the words is what the plan checks: file, then command, then variant."""
    from data.settings_flags import given_settings, parse_settings
    from detection.commands.train import build_parser as train_parser

    for run in planned(read_comparison("ingredients"), "--epochs", "7", "--lr=0.5", "--devices", "2", "--teacher", "T"):
        options = parse_settings(train_parser(), TrainSettings, run.words)
        assert resolve_settings(options.recipe, given_settings(options), options.dataset) == run.settings
        assert (run.settings.epochs, options.devices, str(options.output)) == (7, 2, f"O/{run.name}")
        assert run.settings.lr == (0.005 if run.name == "paper" else 0.5)
        assert (str(options.teacher) == "T") == (run.name == "teacher")


@pytest.mark.slow
def test_a_variant_has_its_networks_backbone_or_its_own(tmp_path: Path) -> None:
    flags = ["--backbone", "peleenet-x", "--backbone", "ssdlite-mobilenetv2=m.pth"]

    def backbones(name_or_path: str, *flags: str) -> dict[str, list[str]]:
        runs = planned(read_comparison(name_or_path), *flags)
        return {run.name: [b for a, b in pairwise(run.words) if a == "--backbone"] for run in runs}

    wanted = {"pelee": ["peleenet-x"], "ssdlite": ["m.pth"], "pelee-scratch": [], "ssdlite-scratch": []}
    assert backbones("peer", *flags) == wanted
    assert backbones("peer", *flags[:2])["ssdlite"] == []
    (tmp_path / "own.yaml").write_text("variants: {a: , b: {backbone: runs/b/model, recipe: quick, lr: 1}}")
    batches = {run.name: run.settings.batch_size for run in planned(read_comparison(str(tmp_path / "own.yaml")))}
    assert batches == {"a": TrainSettings().batch_size, "b": 24}
    assert backbones(str(tmp_path / "own.yaml"), "--backbone", "of=x") == {"a": ["of=x"], "b": ["runs/b/model"]}
    sizes = {run.name: run.settings.input_size for run in planned(read_comparison("peer"))}
    assert sizes == {"pelee": 304, "ssdlite": 300, "pelee-scratch": 304, "ssdlite-scratch": 300}


@pytest.mark.slow
def test_only_some_and_none_without_its_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = read_comparison("ingredients")
    assert [run.name for run in planned(comparison, "--only", "giou,mosaic")] == ["quick", "mosaic", "giou"]
    assert "teacher" not in [run.name for run in planned(comparison)]
    assert "teacher: left out, it needs a --teacher" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="no variant 'gio'; there are quick"):
        planned(comparison, "--only", "gio")
