"""Table of an ablation study, by hand."""

from pathlib import Path

import pytest

from detection.ablation.experiment import Run
from detection.ablation.table import markdown, rate
from detection.training.settings import resolve_settings
from tests.conftest import TrainedRun
from weights.card import Card


def test_the_table_by_hand() -> None:
    row = {
        "variant": "base", "changed": {}, "map": 50.04, "delta": 0.0, "split": "val", "pictures": 1000,
        "parameters": 1234567, "multiply_adds": 1_205_400_000, "ms": 9.96, "trained_pictures_per_second": 25.4,
        "command": "pelee-train a",
    }  # fmt: skip
    other = row | {"variant": "x", "changed": {"lr": 0.1, "size_phases": []}, "map": 49.0, "delta": -1.04, "ms": None}
    lines = markdown([row, other]).splitlines()
    assert lines[0] == "mAP (VOC, 11-point, IoU 0.5) on val, 1,000 images."
    assert lines[4] == "| base | as the recipe | 50.0 |  | 1,234,567 | 1,205 M | 10.0 | 25 |"
    assert lines[5] == "| x | `lr: 0.1`, `size_phases: []` | 49.0 | -1.0 | 1,234,567 | 1,205 M |  | 25 |"
    assert lines[2].count("|") == lines[3].count("|") == lines[4].count("|") == 9
    assert lines[7:] == ["```", "pelee-train a", "pelee-train a", "```"]


@pytest.mark.slow
def test_the_rate_of_a_run_by_hand(trained_run: TrainedRun, tmp_path: Path) -> None:
    """Ten steps of four images, of the eight in its card, in 2 seconds."""
    settings = resolve_settings("quick", {"batch_size": 4, "epochs": 6, "max_steps": 10})
    run = Run("x", {}, settings, [], tmp_path)
    card = Card.load(trained_run.output / "model")
    assert rate(run, card) is None
    (tmp_path / "seconds.json").write_text('{"seconds": 2.0}')
    assert rate(run, card) == 20.0
