"""Architecture search: trials, resumption, growth from finished trials."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from pelee.classification.loading import load_network
from pelee.commands.train_classifier import main as train_main
from pelee.search import study
from pelee.search.budget import smallest
from pelee.search.report import write_report
from pelee.search.space import PAPER
from tests.support.tiny_search import make_plan
from weights.store import resolve


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_lightning")
def test_trial_that_extends_a_finished_one_starts_with_its_function(
    two_color_folders: Path, tmp_path: Path, launched: list[list[str]]
) -> None:
    plan = make_plan(two_color_folders, tmp_path / "search", morph=True)
    begun = study.ArchitectureSearch(plan)
    begun.study.enqueue_trial({**smallest({}), "lr": 0.5, "weight_decay": 1.0})
    begun.study.enqueue_trial({**smallest({}), "lr": 1.0, "weight_decay": 1.0, "blocks3": 3, "growth_rate": 24})
    for waiting in begun.study.get_trials(states=(TrialState.WAITING,))[:1]:  # the paper's design
        begun.study._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    assert begun.describe(begun.step()).startswith("trial 1: top-1 ")
    kept = {}

    def look(words: Sequence[str]) -> int:
        start = resolve(words[words.index("--weights") + 1])
        kept["child"] = load_network(start)
        return train_main(words)

    study.launch = look  # the fixture's own patch is undone with it
    assert "grown from trial 1" in begun.describe(begun.step())
    parent = load_network(resolve(str(plan.folder(1) / "model")))
    images = 255 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(kept["child"](images), parent(images), atol=1e-4)
    assert write_report(begun)["trials"][1]["grown_from"] == 1


@pytest.mark.slow
def test_design_over_the_budget_is_not_trained(
    two_color_folders: Path, tmp_path: Path, launched: list[list[str]]
) -> None:
    begun = study.ArchitectureSearch(make_plan(two_color_folders, tmp_path / "search"))
    for waiting in begun.study.get_trials(states=(TrialState.WAITING,)):
        begun.study._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    begun.study.enqueue_trial(PAPER)
    number = begun.step()
    trial = begun.study.trials[number]
    assert trial.state is TrialState.PRUNED and not launched and trial.constraints["budget"] > 0
    assert begun.describe(number) == f"trial {number}: over the budget, not trained" and not begun.finished()


@pytest.mark.slow
def test_launch_runs_the_trainer_s_command() -> None:
    assert study.launch(["--help"]) == 0 and study.launch(["--recipe"]) == 2  # exit codes of the processes
