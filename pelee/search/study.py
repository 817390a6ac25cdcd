"""Architecture search: an Optuna study in a file, and one run of pelee-train-classifier for each trial."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from optuna.trial import FrozenTrial, TrialState

from data.atomic_files import atomic_path
from data.errors import SettingsError
from pelee.classification.loading import load_network, settings_of
from pelee.classification.training.settings import ClassifierSettings, with_current_names
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.models.registry import build
from pelee.search.budget import Budget, format_cost
from pelee.search.net2net import extends, morph
from pelee.search.sampler import DesignSampler
from pelee.search.space import MODEL, PAPER, SPACE, space_to_json, to_model_settings, to_settings
from pelee.training.recipes import to_plain
from pelee.training.resume import RESUMABLE
from pelee.training.trainer import to_tensors
from weights.card import CARD_NAME, Card
from weights.store import resolve, save_model

STUDY = "search.db"
TRAINER = "pelee.commands.train_classifier"  # module of pelee-train-classifier
TRIAL_FAILED, INTERRUPTED = 2, 130  # its exit codes


@dataclass(frozen=True)
class SearchPlan:
    """Configuration of a search.

    Attributes:
        output: the search's folder; trial number 7 is the run in `trials/0007`.
        settings: training settings of every trial, except for its design, learning rate and weight decay.
        dataset, root, accelerator: options of pelee-train-classifier.
        class_names: of the dataset.
        budget: the limit of a design's cost.
        random: number of random trials at the start; see `DesignSampler`.
        morph: a trial that extends a finished one starts from its weights.
    """

    output: Path
    settings: ClassifierSettings
    dataset: str
    root: Path
    class_names: Sequence[str]
    budget: Budget
    random: int = 10
    morph: bool = False
    accelerator: str = "auto"

    def folder(self, number: int) -> Path:
        """Folder of a trial's run."""
        return self.output / "trials" / f"{number:04}"


class ArchitectureSearch:
    """A search, new or resumed from `plan.output`.

    The folder holds the whole state, except for the running trial's training since its last checkpoint.

    Raises:
        SettingsError: every design exceeds the budget, or the folder holds a search with other settings.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self.plan = plan
        if clash := sorted(to_model_settings(PAPER).keys() & plan.settings.model_settings.keys()):
            raise SettingsError(f"model_settings sets {clash[0]}, which the search chooses; leave it out")
        plan.budget.check()
        plan.output.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=f"sqlite:///{plan.output / STUDY}",
            study_name="pelee-search",
            directions=["maximize", "minimize"],  # top-1 in percent, and the cost
            load_if_exists=True,
        )
        self._check_begun()
        # a resumed search draws other random designs
        seed = plan.settings.seed + len(self.study.get_trials(deepcopy=False))
        self.study.sampler = DesignSampler(plan.budget, seed=seed, random=plan.random, morph=plan.morph)

    def _check_begun(self) -> None:
        plan = self.plan
        now = {
            "dataset": plan.dataset,
            "classes": list(plan.class_names),
            "budget": f"{plan.budget.limit:g} {plan.budget.unit}",
            "morph": plan.morph,
            "space": space_to_json(),
            **{key: value for key, value in to_plain(plan.settings).items() if key not in RESUMABLE},
        }
        begun = self.study.user_attrs.get("begun")
        if begun is None:
            self.study.set_user_attr("begun", now)
            if first := plan.budget.shrink_to_fit(PAPER):
                self.study.enqueue_trial(first)  # PeleeNet itself, shrunk to the budget
            return
        begun = with_current_names(begun)
        for key, value in now.items():
            if begun.get(key) != value:
                raise SettingsError(
                    f"{plan.output} holds a search that was begun with {key} {begun.get(key)!r} and cannot go on with "
                    f"{value!r}; run the same command again, or name another --output"
                )

    def finished(self) -> list[FrozenTrial]:
        """The trials that were trained, by number."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def attempted(self) -> int:
        """Number of trials that were trained or failed."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)))

    def step(self) -> int:
        """Resume the interrupted trial, or train the next one; returns its number.

        Raises:
            SettingsError: pelee-train-classifier reported an error.
            KeyboardInterrupt: ctrl-C.
        """
        for interrupted in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "start" in interrupted.user_attrs:
                return self._train(interrupted.number, interrupted.user_attrs)
            self.study.tell(interrupted.number, state=TrialState.PRUNED)  # killed before its training
        trial = self.study.ask(SPACE)
        budget = self.plan.budget
        cost = budget.cost(trial.params)
        parameters, multiply_adds = budget.count(trial.params)
        trial.set_constraint("budget", cost / budget.limit - 1)
        trial.set_user_attr("parameters", parameters)
        trial.set_user_attr("multiply_adds", multiply_adds)
        trial.set_user_attr("cost", cost)
        if cost > budget.limit:  # enqueued, not proposed by the sampler
            self.study.tell(trial, state=TrialState.PRUNED)
            return trial.number
        folder = self.plan.folder(trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        parent = self._parent(trial.params) if self.plan.morph else None
        self._prepare(folder, trial.params, parent)
        trial.set_user_attr("start", -1 if parent is None else parent.number)
        return self._train(trial.number, {"start": -1 if parent is None else parent.number, "cost": cost})

    def _config(self, params: Mapping[str, Any]) -> PeleeNetConfig:
        given = {key: value for key, value in self.plan.settings.model_settings.items() if key != "normalization"}
        return PeleeNetConfig(**{**given, **to_model_settings(params)})

    def _parent(self, params: Mapping[str, Any]) -> FrozenTrial | None:
        """The finished trial of highest top-1 that this design extends; None where there is none."""
        design = self._config(params)
        best_first = sorted(self.finished(), key=lambda trial: -trial.values[0])
        return next((trial for trial in best_first if extends(self._config(trial.params), design)), None)

    def _prepare(self, folder: Path, params: Mapping[str, Any], parent: FrozenTrial | None) -> None:
        """Write the trial's recipe and, where it has a parent, the weights to start from."""
        plan = self.plan
        write_recipe(folder / "recipe.yaml", to_settings(params, plan.settings))
        if parent is None:
            return
        model = resolve(str(plan.folder(parent.number) / "model"))
        network = load_network(model)
        settings = {**model.card.architecture_settings, **to_model_settings(params)}
        torch.manual_seed(plan.settings.seed)
        child = build(MODEL, len(plan.class_names), settings)
        assert isinstance(network, PeleeNet) and isinstance(child, PeleeNet)
        morph(network, child)
        card = Card(
            name=f"trial {parent.number}, grown",
            task="classification",
            architecture=MODEL,
            architecture_settings=settings_of(child, settings),
            class_names=list(plan.class_names),
            input_size=plan.settings.input_size,
            preprocessing=model.card.preprocessing,
        )
        save_model(folder / "start", to_tensors(child), card, half=False)

    def _train(self, number: int, attributes: Mapping[str, Any]) -> int:
        """Run the trainer for a prepared trial, and report its result to the study."""
        folder = self.plan.folder(number)
        if not (folder / "model" / CARD_NAME).is_file():
            code = launch(self._arguments(folder, attributes["start"] >= 0))
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code == TRIAL_FAILED:
                raise SettingsError(
                    f"trial {number} could not be trained; fix the error above and run the same command again"
                )
        if not (folder / "model" / CARD_NAME).is_file():
            self.study.tell(number, state=TrialState.FAIL)
            return number
        card = Card.load(folder / "model")
        top1 = next(score["value"] for score in card.scores if score["metric"] == "top1")
        self.study.tell(number, values=[top1, attributes["cost"]])
        for name in ("best.ckpt", "last.ckpt"):  # the model holds the weights; a checkpoint is several times as large
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "start", ignore_errors=True)
        return number

    def _arguments(self, folder: Path, grown: bool) -> list[str]:
        """Arguments of pelee-train-classifier for a trial."""
        plan = self.plan
        words = ["--model", MODEL, "--dataset", plan.dataset, "--root", str(plan.root)]
        words += ["--recipe", str(folder / "recipe.yaml"), "--output", str(folder), "--accelerator", plan.accelerator]
        words += ["--name", f"{plan.output.resolve().name}-{folder.name}", "--no-export"]
        words += ["--weights", str(folder / "start")] if grown else []
        return words + (["--resume"] if (folder / "last.ckpt").is_file() else [])

    def describe(self, number: int) -> str:
        """One line about a finished trial."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state is TrialState.PRUNED:
            return f"trial {number}: over the budget, not trained"
        if trial.state is not TrialState.COMPLETE:
            return f"trial {number}: failed; see the output of its training above"
        start = trial.user_attrs["start"]
        grown = f", grown from trial {start}" if start >= 0 else ""
        cost = format_cost(trial.values[1], self.plan.budget.unit)
        return f"trial {number}: top-1 {trial.values[0]:.2f} at {cost}{grown}"


def launch(arguments: Sequence[str]) -> int:
    """Train in a separate process, which frees all its memory at its end; returns its exit code."""
    return subprocess.run([sys.executable, "-m", TRAINER, *arguments], check=False).returncode


def write_recipe(path: Path, settings: ClassifierSettings, comment: str = "") -> None:
    """Write settings as a recipe of pelee-train-classifier, after a comment of whole lines."""
    with atomic_path(path) as temporary:
        temporary.write_text(comment + yaml.safe_dump(to_plain(settings), sort_keys=False), encoding="utf-8")
