"""`pelee-ablate`: errors before any run, and runs that are made, resumed and skipped."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import detection.commands.ablate as module
from detection.commands.ablate import main
from detection.commands.train import main as train_main
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


@pytest.mark.slow
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
