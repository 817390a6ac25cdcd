"""Overfit check on four images, through matching, loss, decoding and NMS; exit codes and errors of its command."""

from pathlib import Path

import pytest

from data.datasets.registry import open_dataset
from detection.training import overfit_check
from detection.training.overfit_check import main, overfit


@pytest.mark.slow
def test_four_images_are_overfitted_from_random_weights(voc_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfit_check, "BATCH", 4)  # each image once: gradients and statistics of 16 images
    dataset = open_dataset("voc", voc_root, "2007-trainval")
    records = [record for record in dataset.records if len(record.labels)][:4]
    assert overfit(records, dataset.class_names, steps=60, size=96) > 0.9


@pytest.mark.slow
def test_the_command_fails_where_nothing_was_learnt(voc_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(voc_root), "--steps", "1", "--input-size", "64"]) == 1
    assert "expected: over 90" in capsys.readouterr().out


def test_the_command_tells_a_missing_root_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
