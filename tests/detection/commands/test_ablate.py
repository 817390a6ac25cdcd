"""Comparisons: what is planned, what is run, resumed and skipped, and the table by hand."""

import contextlib
import io
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import detection.commands.ablate as module
from data.errors import SettingsError
from detection.ablation.experiment import COMPARISONS, Comparison, Run, read_comparison
from detection.ablation.plan import plan
from detection.ablation.table import markdown, rate
from detection.commands.ablate import build_parser, main, plan_options
from detection.commands.train import main as train_main
from detection.training.settings import TrainSettings, resolve_settings
from pelee.training.optimization import RESUMABLE
from pelee.training.recipes import recipe_names, to_plain
from tests.conftest import TrainedRun
from weights.card import Card

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]
TINY = """
recipe: quick
settings: {val_split: val, batch_size: 4, input_size: 64, epochs: 1, max_steps: 2, size_phases: [], precision: fp32}
variants:
  base:
  3x3:
    {head_kernel: 3, class_loss: focal, box_loss: ciou, assignment: atss, label_smoothing: 0.1, mixup: 1, copy_paste: 1}
  taught: {imitation: 2.0}
"""


def planned(comparison: Comparison, *arguments: str) -> list[Run]:
    options, words = build_parser().parse_known_args(["x", "--root", "R", "--output", "O", *arguments])
    return plan(comparison, plan_options(options, words))


@pytest.mark.parametrize("name", recipe_names(COMPARISONS))
def test_shipped_comparisons_differ_in_settings_only_and_are_trained_equally_long(name: str) -> None:
    comparison = read_comparison(name)
    runs = planned(comparison, "--teacher", "T")
    assert [run.name for run in runs] == list(comparison.variants)
    assert not runs[0].changed
    assert {run.settings.epochs for run in runs} == {comparison.settings["epochs"]}
    assert {run.settings.val_split for run in runs} == {"2007-minival"}
    assert len({json.dumps(run.changed, sort_keys=True) for run in runs}) == len(runs)


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


def test_only_some_and_none_without_its_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = read_comparison("ingredients")
    assert [run.name for run in planned(comparison, "--only", "giou,mosaic")] == ["quick", "mosaic", "giou"]
    assert "teacher" not in [run.name for run in planned(comparison)]
    assert "teacher: left out, it needs a --teacher" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="no variant 'gio'; there are quick"):
        planned(comparison, "--only", "gio")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {lr: -1}}", "setting lr: "),
        ("variants: {a: {lrr: 1}}", "unknown key 'lrr'; did you mean 'lr'"),
        ("variants: {a: 3}", "expected of each variant a name and its settings"),
        ("variants: {}", "expected of each variant"),
        ("recipe: quick", "expected the keys recipe, settings and variants"),
        ("variant: {a: {}}", "expected the keys"),
        ("variants: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_told_before_any_run(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train", lambda run: pytest.fail("a run began"))
    (tmp_path / "own.yaml").write_text(text)
    assert main([str(tmp_path / "own.yaml"), "--root", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_unknown_comparison_names_those_that_ship() -> None:
    with pytest.raises(SettingsError, match="neither a file nor one of design, ingredients, peer, recipes"):
        read_comparison("desing")


def test_runs_are_made_resumed_skipped_and_told(
    voc_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs on the tiny devkit, the second of which is killed at first; pelee-train runs in this process."""
    commands: list[list[str]] = []
    killed = {"3x3"}

    original = subprocess.run

    def in_this_process(command: list[str], **options: Any) -> Any:
        if command[0] == "git":
            return original(command, **options)
        assert command[:3] == [sys.executable, "-m", "detection.commands.train"]
        commands.append(command[3:])
        name = Path(command[command.index("--output") + 1]).name
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = train_main(command[3:])
        if name in killed:  # as if killed between the last step and the model
            killed.clear()
            for file in (out / name / "model").iterdir():
                file.unlink()
            return SimpleNamespace(returncode=137)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", in_this_process)
    out = tmp_path / "out"
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [str(tmp_path / "tiny.yaml"), "--root", str(voc_root), "--output", str(out), "--accelerator", "cpu"]
    assert main(command) == 2
    assert "the run of 3x3 ended with exit code 137" in capsys.readouterr().err
    assert [row["variant"] for row in json.loads((out / "compare.json").read_text())] == ["base"]

    assert main(command) == 0
    assert ["--resume" in words for words in commands] == [False, False, True]
    assert main([*command, "--table"]) == 0
    assert len(commands) == 3  # all is done
    text = capsys.readouterr().out
    assert text.endswith((out / "compare.md").read_text())
    base, heads = json.loads((out / "compare.json").read_text())
    assert (base["variant"], heads["variant"]) == ("base", "3x3")  # and none without its teacher
    assert base["delta"] == 0 and heads["delta"] == round(heads["map"] - base["map"], 2)
    # 3x3 convolutions have nine times the weights of 1x1: six heads, 256 channels to 6 * (4 + 4), without the biases
    assert heads["parameters"] - base["parameters"] == 8 * 6 * 256 * 6 * (4 + 4)
    assert base["ms"] > 0 and heads["ms"] > 0
    assert heads["trained_pictures_per_second"] is None and base["trained_pictures_per_second"] > 0
    assert (base["split"], base["pictures"]) == ("val", 4)
    assert base["command"].startswith("pelee-train --dataset voc --root ") and "--head-kernel=3" in heads["command"]
    settings = Card.load(out / "3x3" / "model").training["settings"]
    assert (settings["assignment"], settings["box_loss"], settings["label_smoothing"]) == ("atss", "ciou", 0.1)

    (tmp_path / "tiny.yaml").write_text(TINY.replace("batch_size: 4", "batch_size: 2"))
    assert main([*command, "--table"]) == 2
    assert "begun with batch_size 4 and cannot go on with 2" in capsys.readouterr().err


def test_the_table_by_hand() -> None:
    row = {
        "variant": "base", "changed": {}, "map": 50.04, "delta": 0.0, "split": "val", "pictures": 1000,
        "parameters": 1234567, "multiply_adds": 1_205_400_000, "ms": 9.96, "trained_pictures_per_second": 25.4,
        "command": "pelee-train a",
    }  # fmt: skip
    other = row | {"variant": "x", "changed": {"lr": 0.1, "size_phases": []}, "map": 49.0, "delta": -1.04, "ms": None}
    lines = markdown([row, other]).splitlines()
    assert lines[0] == "mAP (VOC, 11-point, IoU 0.5) on val, 1,000 pictures."
    assert lines[4] == "| base | as the recipe | 50.0 |  | 1,234,567 | 1,205 M | 10.0 | 25 |"
    assert lines[5] == "| x | `lr: 0.1`, `size_phases: []` | 49.0 | -1.0 | 1,234,567 | 1,205 M |  | 25 |"
    assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|") == 9
    assert lines[7:] == ["```", "pelee-train a", "pelee-train a", "```"]


def test_the_rate_of_a_run_by_hand(trained_run: TrainedRun, tmp_path: Path) -> None:
    """Ten steps of four pictures, of the eight that its card tells, in 2 seconds."""
    settings = resolve_settings("quick", {"batch_size": 4, "epochs": 6, "max_steps": 10})
    run = Run("x", {}, settings, [], tmp_path)
    card = Card.load(trained_run.output / "model")
    assert rate(run, card) is None
    (tmp_path / "seconds.json").write_text('{"seconds": 2.0}')
    assert rate(run, card) == 20.0
