"""pelee-search: designs within a budget, trials in a file, a front."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optuna
import pytest
import torch
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from data.images.image_io import write_image
from pelee.classification.loading import load_network
from pelee.classification.training.settings import ClassifierSettings, resolve_settings
from pelee.commands.search import main, multiply_adds
from pelee.commands.train_classifier import main as train_main
from pelee.models.complexity import count
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.models.registry import build
from pelee.runs.run import find_runs, open_run
from pelee.search import study
from pelee.search.budget import Budget, smallest
from pelee.search.report import write_report
from pelee.search.sampler import DesignSampler, nearest_design, smallest_extension
from pelee.search.space import PAPER, SPACE, size_names, to_model_settings, to_settings
from weights.store import resolve

BUDGET = 6e6
QUICK = ["--max-multiply-adds", "6M", "--random", "2", "--epochs", "1", "--max-steps", "2", "--batch-size", "6"]
QUICK += ["--input-size", "32", "--picture-size", "32", "--precision", "fp32", "--accelerator", "cpu"]


def costs(limit: float = BUDGET, unit: Any = "multiply-adds") -> Budget:
    return Budget(unit, limit, classes=2, input_size=32)


def counted(model_settings: dict[str, Any]) -> int:
    """Multiply-adds of a real network of two classes at 32 pixels."""
    return count(build("peleenet", 2, model_settings), 32).multiply_adds


# Space


def test_the_paper_s_network_is_a_choice_of_the_space() -> None:
    assert PAPER.keys() == SPACE.keys()
    for name, kind in SPACE.items():
        assert kind._contains(kind.to_internal_repr(PAPER[name])), name
    ours, theirs = PeleeNet(10, PeleeNetConfig(**to_model_settings(PAPER))), PeleeNet(10)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


def test_a_choice_sets_design_rate_and_decay_over_the_base() -> None:
    base = ClassifierSettings(lr=0.2, weight_decay=0.01, model_settings={"dropout": 0.1}, epochs=3)
    settings = to_settings({**PAPER, "lr": 0.5, "weight_decay": 2.0, "transition": 0.5}, base)
    assert (settings.lr, settings.weight_decay, settings.epochs) == (0.1, 0.02, 3)
    # 32 + 3 × 32 = 128, halved; 64 + 4 × 32 = 192, halved; 96 + 8 × 32 = 352; 176 + 6 × 32 = 368
    assert settings.model_settings["transitions"] == [64, 96, 176, 184]
    assert settings.model_settings["dropout"] == 0.1 and "transition" not in settings.model_settings


@pytest.mark.parametrize(("text", "number"), [("300M", 3e8), ("1.2g", 1.2e9), ("5000", 5e3)])
def test_budgets_are_read(text: str, number: float) -> None:
    assert multiply_adds(text) == number


# Budget


def test_a_cost_is_that_of_the_network_which_is_built() -> None:
    params = {**smallest({"stem": "plain"}), "blocks3": 4, "transition": 0.875}
    assert costs().cost(params) == counted(to_model_settings(params))
    assert costs().count(PAPER)[0] == sum(p.numel() for p in PeleeNet(2).parameters())


def test_milliseconds_are_measured_once_and_rise_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Budget("ms", 1.0, 2, 64)
    small, large = measured.cost(smallest({})), measured.cost({**PAPER, "blocks3": 10})
    assert 0 < small < large
    monkeypatch.setattr("pelee.search.budget.build", None)  # what is known is not measured again
    assert measured.cost(smallest({})) == small


def test_a_design_over_the_budget_shrinks_until_it_just_fits() -> None:
    known = costs()
    fitting = known.shrink_to_fit(PAPER)
    assert fitting is not None and not known.fits(PAPER)
    assert 0.7 * BUDGET < known.cost(fitting) <= BUDGET
    assert all(smallest({})[name] <= fitting[name] <= PAPER[name] for name in size_names())
    assert known.shrink_to_fit(fitting) == fitting
    assert known.shrink_to_fit(PAPER, floor=PAPER) is None


# Sampler


def run_trials(sampler: DesignSampler, trials: int) -> optuna.Study:
    """A study of a smooth stand-in for training: more work is better, and so is a rate of 1."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = made.ask(SPACE)
        cost = sampler.budget.cost(trial.params)
        trial.set_constraint("budget", cost / sampler.budget.limit - 1)
        made.tell(trial, [cost**0.3 - abs(trial.params["lr"] - 1), cost])
    return made


def test_no_proposal_is_over_the_budget_nor_outside_of_the_space() -> None:
    trials = run_trials(DesignSampler(costs(), seed=3, random=3, morph=True), 5).trials
    for trial in trials:
        assert counted(to_model_settings(trial.params)) <= BUDGET
        assert trial.params.keys() == SPACE.keys()
        for name, kind in SPACE.items():
            assert kind._contains(kind.to_internal_repr(trial.params[name])), name
    assert len({json.dumps(trial.params) for trial in trials}) == 5
    params = trials[3].params  # every second proposal of the process extends a finished one
    assert any(
        all(params[name] >= other.params[name] for name in size_names())
        and all(params[name] == other.params[name] for name in ("stem", "two_way"))
        for other in trials[:3]
    )


def test_random_draws_differ_with_the_seed_and_reach_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "fits", lambda self, params: True)
    drawn = [DesignSampler(costs(), seed=seed, random=9, morph=False).random_design() for seed in range(40)]
    for name, kind in SPACE.items():
        values = {params[name] for params in drawn}
        assert len(values) > 2 or (isinstance(kind, CategoricalDistribution) and values == set(kind.choices)), name


def test_a_raised_design_extends_the_nearest() -> None:
    low, high = smallest({}), {**PAPER, "two_way": False}
    wanted = {**PAPER, "blocks1": 2, "growth_rate": 24, "lr": 2.0}
    assert nearest_design(wanted, [low, high, PAPER]) == PAPER
    child = smallest_extension(wanted, PAPER)
    assert child == {**PAPER, "lr": 2.0}
    assert smallest_extension(wanted, low) == wanted


# The command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy colour, 6 pictures each in train and in val."""
    root, rng = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    for split in ("train", "val"):
        for name, colour in (("blue", (20, 40, 220)), ("red", (210, 30, 30))):
            for number in range(6):
                image = np.clip(np.array(colour) + rng.integers(-20, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                write_image(root / split / name / f"{number}.png", image)
    return root


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Trials are trained in this process, which has torch already; what they were trained with, in their order."""
    words: list[list[str]] = []

    def launch(arguments: Sequence[str]) -> int:
        words.append(list(arguments))
        return train_main(arguments)

    monkeypatch.setattr(study, "launch", launch)
    return words


def search(folders: Path, output: Path, *words: str) -> int:
    return main(["--dataset", "imagefolder", "--root", str(folders), "--output", str(output), *QUICK, *words])


@pytest.mark.usefixtures("quiet_lightning")
def test_a_search_is_interrupted_goes_on_and_leaves_its_best_design(
    folders: Path, tmp_path: Path, trained: list[list[str]], capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    output = tmp_path / "search"
    with monkeypatch.context() as patch:  # ctrl-C in the midst of the first trial
        patch.setattr(study, "launch", lambda words: 130)
        assert search(folders, output, "--trials", "1", "--morph") == 130
    assert search(folders, output, "--trials", "1", "--morph") == 0
    assert [Path(words[words.index("--output") + 1]).name for words in trained] == ["0000"]  # the one that was begun
    assert search(folders, output, "--trials", "2", "--morph") == 0
    out = capfd.readouterr().out
    assert "goes on: 1 of 2 trials are done" in out and len(trained) == 2

    found = json.loads((output / "search.json").read_text())
    assert [row["number"] for row in found["trials"]] == [0, 1]
    for row in found["trials"]:
        model = resolve(row["folder"] + "/model")
        network = load_network(model)
        assert count(network, 32).multiply_adds == row["multiply_adds"] <= BUDGET
        assert model.card.scores[0]["value"] == row["top1"]
        assert not list(Path(row["folder"]).glob("*.ckpt"))
    scores = {row["number"]: (row["top1"], -row["multiply_adds"]) for row in found["trials"]}
    assert scores[found["best"]] == max(scores.values()) and found["best"] in found["front"]
    for number, (top1, cheap) in scores.items():
        beaten = any(a >= top1 and b >= cheap and (a, b) != (top1, cheap) for a, b in scores.values())
        assert (number in found["front"]) != beaten

    best = found["trials"][found["best"]]
    settings = resolve_settings(str(output / "best.yaml"), {"epochs": 2}, "imagefolder")
    assert counted(settings.model_settings) == best["multiply_adds"] and settings.lr == best["lr"]
    assert yaml.safe_load((output / "best.yaml").read_text())["max_steps"] == 2
    assert cv2.imread(str(output / "pareto.png")).std() > 5

    run = open_run(find_runs(output)[0])  # what pelee-runs makes of a trial, and of one that is not done
    assert run.model == "peleenet" and run.finished and run.steps == 2 and run.best == scores[0][0] / 100
    (run.folder / "model" / "card.json").unlink()
    assert open_run(run.folder) == run.__class__(
        **{name: getattr(run, name) for name in run.__slots__} | {"finished": False}
    )

    assert search(folders, output, "--trials", "2", "--lr", "0.3", "--morph") == 2
    assert "was begun with lr 0.1 and cannot go on with 0.3" in capfd.readouterr().err


@pytest.mark.usefixtures("quiet_lightning")
def test_a_trial_that_extends_a_finished_one_starts_as_its_function(
    folders: Path, tmp_path: Path, trained: list[list[str]]
) -> None:
    plan = make_plan(folders, tmp_path / "search", morph=True)
    begun = study.ArchitectureSearch(plan)
    begun.study.enqueue_trial({**smallest({}), "lr": 0.5, "weight_decay": 1.0})
    begun.study.enqueue_trial({**smallest({}), "lr": 1.0, "weight_decay": 1.0, "blocks3": 3, "growth_rate": 24})
    for waiting in begun.study.get_trials(states=(TrialState.WAITING,))[:1]:  # the paper's design, of no interest here
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


def make_plan(folders: Path, output: Path, morph: bool = False, limit: float = BUDGET) -> study.SearchPlan:
    overrides = {"epochs": 1, "max_steps": 2, "batch_size": 6, "input_size": 32, "picture_size": 32}
    settings = resolve_settings(None, {**overrides, "precision": "fp32"}, "imagefolder")
    names = ["blue", "red"]
    return study.SearchPlan(output, settings, "imagefolder", folders, names, costs(limit), 2, morph, accelerator="cpu")


def test_a_design_over_the_budget_is_not_trained(folders: Path, tmp_path: Path, trained: list[list[str]]) -> None:
    begun = study.ArchitectureSearch(make_plan(folders, tmp_path / "search"))
    for waiting in begun.study.get_trials(states=(TrialState.WAITING,)):
        begun.study._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    begun.study.enqueue_trial(PAPER)
    number = begun.step()
    trial = begun.study.trials[number]
    assert trial.state is TrialState.PRUNED and not trained and trial.constraints["budget"] > 0
    assert begun.describe(number) == f"trial {number}: over the budget, not trained" and not begun.finished()


def test_a_training_that_breaks_off_is_a_failed_trial_and_the_search_goes_on(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "launch", lambda words: -9)  # for want of memory
    wide = ["--max-multiply-adds", "50M"]  # quick to draw from
    assert search(folders, tmp_path / "search", "--trials", "2", *wide) == 0
    assert capsys.readouterr().out.count("failed; see what its training said") == 2
    monkeypatch.setattr(study, "launch", lambda words: 2)
    assert search(folders, tmp_path / "search", "--trials", "3", *wide) == 2
    assert "trial 2 could not be trained" in capsys.readouterr().err


def test_trials_are_trained_by_the_trainer_s_command() -> None:
    assert study.launch(["--help"]) == 0 and study.launch(["--recipe"]) == 2  # processes that say how they went


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-multiply-adds", "1000"], "below the smallest design of the search"),
        (["--model-settings", "{growth_rate: 8}"], "model_settings sets growth_rate, which the search chooses"),
        (["--learning-rate", "1"], "unknown key 'learning_rate'"),
        (["--root", "/nonexistent"], "no split 'train'"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    words: list[str], expected: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(folders, tmp_path / "search", *words) == 2
    err = capsys.readouterr().err
    assert expected in err and err.count("\n") == 1
