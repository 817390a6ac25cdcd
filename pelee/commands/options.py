"""Options that several commands share."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from data.errors import SettingsError

S = TypeVar("S")


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """Add --runtime, --device and --precision, which `pelee.runtime.selection.open_session` takes and checks."""
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="NAME",
        help="openvino, onnxruntime or torch (%(default)s: the fastest here)",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, ... (%(default)s)")
    parser.add_argument("--precision", default="auto", metavar="NAME", help="f32, bf16 or int8 (%(default)s)")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what both trainers' commands take beside their data and their settings."""
    parser.add_argument("--name", help="the model's name on its card (default: the output folder's)")
    parser.add_argument("--resume", action="store_true", help="go on from the output folder's last checkpoint")
    parser.add_argument("--devices", type=int, default=1, help="processes that train together (DDP)")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--print-settings", action="store_true", help="print the resolved settings and stop")


def train_command(
    program: str,
    options: argparse.Namespace,
    words: Sequence[str],
    arguments: Sequence[str],
    resolve: Callable[[str | None, dict[str, Any], str | None], S],
    train: Callable[[argparse.Namespace, S, str], int],
) -> int:
    """What a trainer's command does before it trains: settle the settings, and print them where that was asked.

    Args:
        program: the command's name.
        options: its own flags; words: the rest, settings; arguments: all, as they were given.
        resolve: (recipe, overrides, dataset) -> settings.
        train: does the work: (options, settings, the command for the card) -> exit code.
    """
    import yaml

    from pelee.training.precision import resolve_precision
    from pelee.training.recipes import parse_overrides, to_plain

    settings = resolve(options.recipe, parse_overrides(words), options.dataset)
    if options.print_settings:
        print(yaml.safe_dump(to_plain(settings), sort_keys=False), end="")
        return 0
    if not options.dataset or not options.root:
        raise SettingsError(f"--dataset and --root are needed; see {program} --help")
    settings, reason = resolve_precision(settings, options.accelerator)
    print(f"precision {settings.precision}: {reason}")
    # A run that was resumed is the run that was begun: its card tells the command without the flag.
    command = [program, *(word for word in arguments if word != "--resume")]
    return train(options, settings, shlex.join(command))
