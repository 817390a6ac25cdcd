"""Training command: options and steps common to `pelee-train` and `pelee-train-classifier`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from data.command_line import first_few, run
from data.datasets.registry import FORMATS, find_root
from data.errors import ProcessLostError, SettingsError
from data.settings_flags import add_settings_flags, given_settings, parse_settings
from pelee.runs.processes import find_processes, is_first_process, restarts_fail, under_torchrun
from pelee.runs.run_record import BegunRun, read_begun
from pelee.training.allocator import tune_allocator

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from pelee.export.trained_model import ExportPlan
    from pelee.training.optimization import OptimizationSettings
    from weights.card import Card
    from weights.store import ModelFile

S = TypeVar("S", bound="OptimizationSettings")


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Result of a training.

    Attributes:
        tensors: the network's state.
        card: the model card.
        scores: the scores on one line, such as "mAP 47.1 on val (500 images)".
        notes: further lines to print.
        try_it: command that uses the model, without its weights.
        warning: why the model is of no use, such as that it finds nothing; empty for none.
        unreadable: error messages of images that could not be read.
        exports: the exports to write.
    """

    tensors: dict[str, Any]
    card: "Card"
    scores: str
    exports: "ExportPlan"
    notes: list[str] = field(default_factory=list)
    try_it: str
    warning: str = ""
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Training with open datasets and a built network.

    Attributes:
        model: the network's name.
        dataset: name and split of the training data.
        contents: its size, such as "5011 images".
        started_from: name and digest of the pretrained weights; None for random weights.
        train: (the card's `training`) -> the model; None in the processes that write no model.
    """

    model: str
    dataset: str
    contents: str
    started_from: str | None
    train: Callable[[dict[str, Any]], TrainedModel | None]


@dataclass(frozen=True, kw_only=True)
class TrainingTask(Generic[S]):
    """Task-specific parts of a training command.

    Attributes:
        build_parser: returns the parser, whose prog is the command's name.
        settings_class: the settings; a flag for each.
        resolve: (recipe, overrides, dataset) -> settings.
        open_data: (options, settings) -> the data, opened and checked without torch.
        prepare: (options, settings, data) -> job: builds the network.
        default_recipe: recipe of a run that names none; None for the defaults of the settings.
    """

    build_parser: Callable[[], argparse.ArgumentParser]
    settings_class: type[S]
    resolve: Callable[[str | None, dict[str, Any], str | None], S]
    open_data: Callable[[argparse.Namespace, S], Any]
    prepare: Callable[[argparse.Namespace, S, Any], TrainingJob]
    default_recipe: str | None = None


def add_training_options(
    parser: argparse.ArgumentParser,
    settings_class: "type[OptimizationSettings]",
    recipes: "Traversable",
    output: str,
    default_recipe: str = "the defaults below",
) -> None:
    """Add the options of both training commands, and a flag for each setting.

    Args:
        parser: the command's parser.
        settings_class: the settings of the task.
        recipes: folder of the shipped recipes.
        output: default of `--output`.
        default_recipe: default of `--recipe`, for the help.
    """
    from pelee.training.recipes import recipe_names

    parser.usage = f"{parser.prog} --dataset FORMAT --root FOLDER [options] [settings]"
    parser.add_argument(
        "--recipe",
        help=f"a shipped recipe ({', '.join(recipe_names(recipes))}) or a YAML file (default: {default_recipe})",
    )
    parser.add_argument(
        "--output", type=Path, default=Path(output), help="folder of checkpoints, logs and model (%(default)s)"
    )
    parser.add_argument("--name", help="name of the model on its card (default: that of the output folder)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume from the last checkpoint in the output folder; needs no other option but --output, and may raise "
        "--epochs where the schedule does not depend on them",
    )
    parser.add_argument(
        "--finish",
        type=Path,
        metavar="RUN",
        help="write the best weights of a stopped run, given by its output folder, as a model; needs no other option",
    )
    parser.add_argument(
        "--devices", type=int, default=1, help="number of processes of each node that train together, DDP (1)"
    )
    parser.add_argument("--nodes", type=int, default=1, help="number of machines that train together (1)")
    parser.add_argument("--node-rank", type=int, metavar="RANK", help="number of this node, from 0")
    parser.add_argument("--master", metavar="HOST[:PORT]", help="address of node 0")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--no-export", action="store_true", help="leave out the model's OpenVINO exports, f32 and int8")
    parser.add_argument("--print-settings", action="store_true", help="print the resolved settings and stop")
    add_settings_flags(parser, settings_class)


def training_command(task: TrainingTask[S], argv: Sequence[str] | None = None) -> int:
    """Run a training command and return its exit code: 1 if images could not be read, else as `run`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run(lambda: _main(task, arguments))


def _main(task: TrainingTask[S], arguments: list[str]) -> int:
    parser = task.build_parser()
    options = parse_settings(parser, task.settings_class, arguments)
    if options.finish and options.resume:
        raise SettingsError("--finish and --resume: give one of them")
    output = options.finish or options.output
    from pelee.training.resume import LAST, check_output, lock

    begun = read_begun(output, parser.prog) if options.finish or options.resume else None
    if begun is None and (options.finish or options.resume):
        check_output(output, options.resume, options.finish is not None)
    if begun is not None:
        words = [word for word in arguments if word != "--resume"]
        options = parse_settings(parser, task.settings_class, [*begun.arguments, *words])
        options.resume, options.output = options.finish is None, output
        for name in ("root", "recipe", "weights", "backbone", "teacher"):
            if value := getattr(options, name, None):
                setattr(options, name, type(value)(begun.locate(Path(value))))
    settings = _settings(task, options, begun)
    if options.print_settings:
        import yaml

        from pelee.training.recipes import to_plain

        print(yaml.safe_dump(to_plain(settings), sort_keys=False), end="")
        return 0
    if not options.root and options.dataset in FORMATS and (default := FORMATS[options.dataset].default_root):
        options.root = begun.locate(Path(default)) if begun else find_root(options.dataset, None)
    if not options.dataset or not options.root:
        raise SettingsError(f"--dataset and --root are needed; see {parser.prog} --help")
    options.resume |= under_torchrun() and (output / LAST).is_file()  # it repeats the command after a loss
    check_output(output, options.resume, options.finish is not None)
    if options.finish:
        options.devices = options.nodes = 1
        options.node_rank = options.master = None
    # The card of a resumed run has the command that began it.
    command = begun.command if begun else shlex.join([parser.prog, *(word for word in arguments if word != "--resume")])
    options.processes = find_processes(options.devices, options.nodes, options.node_rank, options.master)
    if restarts_fail() and is_first_process():
        print("note: for --max-restarts to work, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")
    with lock(output) if is_first_process() else nullcontext():
        try:
            return _train(task, options, settings, command)
        except (KeyboardInterrupt, ProcessLostError):
            if (output / LAST).is_file():
                node = [] if options.node_rank is None else ["--node-rank", str(options.node_rank)]
                go_on = shlex.join([parser.prog, "--output", str(output), "--resume", *node])
                print(f"go on with: {go_on}", file=sys.stderr)
            raise


def _settings(task: TrainingTask[S], options: argparse.Namespace, begun: BegunRun | None) -> S:
    """Resolve the settings; those of a begun run are its record's, whatever its recipe is by now.

    But for the precision: the record has the one that suited the machine on which the run was begun.
    """
    given = given_settings(options)
    if begun is None or not begun.settings:
        return task.resolve(options.recipe or task.default_recipe, given, options.dataset)
    known = {field.name for field in fields(task.settings_class)} - {"precision"}
    recorded = {name: value for name, value in begun.settings.items() if name in known}
    return task.resolve(None, recorded | given, options.dataset)


def _train(task: TrainingTask[S], options: argparse.Namespace, settings: S, command: str) -> int:
    data = task.open_data(options, settings)
    tune_allocator()  # before torch is imported
    import torch

    from pelee.runs.provenance import current_commit
    from pelee.runs.run_record import record_run
    from pelee.training.precision import resolve_precision
    from pelee.training.recipes import to_plain
    from pelee.training.resume import MODEL
    from weights.store import save_model

    settings, reason = resolve_precision(settings, options.accelerator)
    print(f"precision {settings.precision}: {reason}")
    commit = current_commit()  # now, because the files may change while this runs
    torch.manual_seed(settings.seed)
    job = task.prepare(options, settings, data)
    record: dict[str, Any] = {
        "command": command,
        "commit": commit,
        "settings": to_plain(settings),
        "data": f"{job.dataset}: {job.contents}",
        "started_from": job.started_from,
    }
    begun = record_run(
        options.output,
        command=command,
        model=job.model,
        dataset=job.dataset,
        settings=record["settings"],
        started_from=job.started_from,
    )
    with begun if is_first_process() else nullcontext():
        trained = job.train(record)
    if trained is None:
        return 0
    saved = save_model(options.output / MODEL, trained.tensors, trained.card)
    print(f"model: {saved.path.parent}, {trained.scores}")
    for line in trained.notes:
        print(line)
    if trained.warning:
        print(f"warning: {trained.warning}", file=sys.stderr)
    else:
        if not options.no_export:
            _export(saved, trained.exports)
        print(f"try it: {trained.try_it} --weights {saved.path.parent}")
    if trained.unreadable:
        print(f"{len(trained.unreadable)} images could not be read and were left out:", file=sys.stderr)
        for line in first_few(trained.unreadable, "see the folders for the rest"):
            print(f"  {line}", file=sys.stderr)
    return 1 if trained.unreadable or trained.warning else 0


def _export(model: "ModelFile", plan: "ExportPlan") -> None:
    """Write the model's exports, and print a line for each, or for what is missing."""
    from pelee.export.trained_model import FORMAT, export_trained, missing_packages

    if missing := missing_packages():
        print(
            f"note: no OpenVINO export, without which the model runs several times slower: {', '.join(missing)} not "
            f"installed; pip install 'pelee[export]', then pelee-export --weights {model.path.parent} --format "
            f"{FORMAT} --int8 --calibration DIR --output {model.path.parent / f'{FORMAT}-int8'}",
            file=sys.stderr,
        )
        return
    for precision, folder, problem in export_trained(model, plan):
        if problem:
            print(f"warning: no OpenVINO {precision} export: {problem}", file=sys.stderr)
        else:
            print(f"OpenVINO {precision} export: {folder}")
