"""Architecture searches whose trials train for two steps, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pelee.classification.training.settings import resolve_settings
from pelee.commands.train_classifier import main as train_main
from pelee.models.complexity import count
from pelee.models.registry import build
from pelee.search import study
from pelee.search.budget import Budget
from tests.support.color_folders import TWO_COLORS, make_folders

LIMIT = 6e6  # multiply-adds
CLASSES = len(TWO_COLORS)


def make_budget(limit: float = LIMIT, unit: Any = "multiply-adds") -> Budget:
    return Budget(unit, limit, classes=CLASSES, input_size=32)


def make_plan(folders: Path, output: Path, morph: bool = False, limit: float = LIMIT) -> study.SearchPlan:
    overrides = {"epochs": 1, "max_steps": 2, "batch_size": 6, "input_size": 32, "picture_size": 32}
    settings = resolve_settings(None, {**overrides, "precision": "fp32"}, "imagefolder")
    names = list(TWO_COLORS)
    return study.SearchPlan(
        output, settings, "imagefolder", folders, names, make_budget(limit), 2, morph, accelerator="cpu"
    )


def multiply_adds_of(model_settings: dict[str, Any]) -> int:
    """Multiply-adds of a real network of two classes at 32 pixels."""
    return count(build("peleenet", CLASSES, model_settings), 32).multiply_adds


@pytest.fixture(scope="session")
def two_color_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy color, 6 images each in train and in val."""
    return make_folders(tmp_path_factory.mktemp("data") / "colors", 6, TWO_COLORS, (32, 32))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Train trials in this process, where torch is already imported; returns the trainer's arguments of each trial."""
    calls: list[list[str]] = []

    def launch(arguments: Sequence[str]) -> int:
        calls.append(list(arguments))
        return train_main(arguments)

    monkeypatch.setattr(study, "launch", launch)
    return calls
