"""Report of a search: one line for a design, the table, the Pareto plot."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, create_trial

from pelee.search.report import design, plot_front, print_table
from pelee.search.space import PAPER, to_model_settings
from tests.support.tiny_search import make_plan

PAPER_SETTINGS = to_model_settings(PAPER)


def test_design_is_one_line() -> None:
    assert design(PAPER_SETTINGS) == "two-branch 32, 3-4-8-6 × 32, two ways, 1-2-4-4, to 128-256-512-704"
    plain = PAPER_SETTINGS | {"stem": "none", "two_way": False}
    assert design(plain).startswith("no stem, 3-4-8-6 × 32, one way")


def test_print_table_sorts_by_top1_and_marks_the_front(capsys: pytest.CaptureFixture[str]) -> None:
    def row(number: int, top1: float, **changes: Any) -> dict[str, Any]:
        same = {"multiply_adds": 5e6, "ms": None, "parameters": 1200, "grown_from": None, "lr": 0.1}
        return {
            "number": number,
            "top1": top1,
            "weight_decay": 1e-4,
            "model_settings": PAPER_SETTINGS,
            **same,
            **changes,
        }

    print_table({"front": [1], "trials": [row(0, 40.0), row(1, 52.5, grown_from=0, ms=1.25)]})
    _, best, second, legend = capsys.readouterr().out.splitlines()
    assert best.startswith("1 *") and "52.50" in best and "1.25" in best and best.rstrip().endswith("0")
    assert second.startswith("0 ") and "40.00" in second and "5.0 M" in second and "1,200" in second
    assert legend.startswith("*: on the Pareto front")


@pytest.mark.slow
def test_plot_front_shows_trials_front_and_budget(tmp_path: Path) -> None:
    def trial(number: int, top1: float, cost: float, start: int) -> FrozenTrial:
        made = create_trial(values=[top1, cost], user_attrs={"start": start})
        made.number = number
        return made

    trials = [trial(0, 40.0, 2e6, -1), trial(1, 52.0, 3e6, 0), trial(2, 45.0, 4e6, -1)]
    plot_front(make_plan(tmp_path, tmp_path), trials, trials[:2], tmp_path / "pareto.svg")
    text = (tmp_path / "pareto.svg").read_text()
    for label in ("trained from the start", "grown from another trial", "Pareto front", "budget"):
        assert f"<!-- {label} -->" in text
    assert "<!-- million multiply-adds, at 32 pixels -->" in text and "<!-- 1 -->" in text
