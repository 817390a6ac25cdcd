"""`pelee-models add|remove|show|push`, and `--installed`: the user's own models under names."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, run

#: First argument of `pelee-models` that selects one of these subcommands.
VERBS = ("add", "remove", "show", "push")


def main(argv: Sequence[str]) -> int:
    """Run a subcommand; returns its exit code."""
    arguments = build_parser().parse_args(argv)
    return run(lambda: arguments.handler(arguments))


def print_installed(json_target: str | None) -> int:
    """Print the installed models with their folders, and write them to the target of `--json`; returns 0."""
    import json

    from data.json_lines import json_lines
    from data.json_output import is_stdout
    from weights.model_folders import installed, installed_folder
    from weights.store import resolve

    output = sys.stderr if is_stdout(json_target) else sys.stdout
    with json_lines(json_target) as write_line:
        for name in installed():
            card, folder = resolve(name).card, installed_folder() / name
            if write_line is not None:
                values = {"model": name, "task": card.task, "folder": str(folder)}
                write_line(json.dumps(values | {"classes": len(card.class_names), "input_size": card.input_size}))
            line = f"{name}: {card.task}, {len(card.class_names)} classes, {card.input_size} px, in {folder}"
            print(line, file=output)
    if not installed():
        print(f"no models are installed in {installed_folder()}; pelee-models add MODEL does it", file=output)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the verbs `add`, `remove` and `show`, and `push`."""
    parser = new_parser(
        prog="pelee-models",
        description="Installed models: every command finds them by name, as it does the shipped ones.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="copy a model to the installed models, verified")
    add.add_argument("model", metavar="MODEL", help="a model's folder or file, or hf://owner/name")
    add.add_argument("--name", help="its name (the one in its card)")
    add.add_argument("--replace", action="store_true", help="replace an installed model of that name")
    add.set_defaults(handler=_add)
    remove = commands.add_parser("remove", help="remove an installed model")
    remove.add_argument("model", metavar="NAME")
    remove.set_defaults(handler=_remove)
    show = commands.add_parser("show", help="print a model's card and its exports")
    show.add_argument("model", metavar="MODEL", help="a name, a folder, a file, or hf://owner/name")
    show.set_defaults(handler=_show)
    push = commands.add_parser("push", help="upload a model to the Hugging Face Hub")
    push.add_argument("model", metavar="MODEL", help="a name, a folder or a file")
    push.add_argument("address", metavar="hf://owner/name", help="the repository; it is created if it does not exist")
    push.add_argument("--private", action="store_true", help="create a private repository")
    push.set_defaults(handler=_push)
    return parser


def _add(arguments: argparse.Namespace) -> int:
    from weights.installation import install

    folder = install(arguments.model, arguments.name, replace=arguments.replace)
    print(f"{folder.name} is installed in {folder}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from weights.installation import uninstall

    print(f"{arguments.model} is removed from {uninstall(arguments.model).parent}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from weights.store import find_exports, resolve

    model = resolve(arguments.model)
    print(f"{model.path}")
    exports = find_exports(model) if model.export is None else [model]
    for export in exports:
        assert export.export is not None
        print(f"{export.path.parent}: {export.export.format} {export.export.precision}, {export.export.input_size} px")
    print(model.card.to_json(), end="")
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from weights.hub import upload
    from weights.installation import copy_model
    from weights.store import resolve

    model = resolve(arguments.model)
    with tempfile.TemporaryDirectory() as folder:  # only the files that the card and the manifests name
        copy_model(model, Path(folder))
        print(upload(Path(folder), arguments.address, private=arguments.private))
    return 0
