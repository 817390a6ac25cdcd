"""`pelee-models`: table of all models with parameters and multiply-adds."""

import argparse
import sys
from collections.abc import Sequence

from data.command_line import new_parser, run
from pelee.commands import installed_models
from pelee.commands.options import add_hidden_alias, add_json_lines_option

EPILOG = """\
pelee-models add|remove|show|push manages models of your own: see `pelee-models add --help` and the others.

parameters are PyTorch's count; "all biases" counts a bias for every convolution and a batch norm's running
statistics, too, as Keras and some reports do.
"""


def build_parser() -> argparse.ArgumentParser:
    """Argument parser of the command."""
    parser = new_parser(
        prog="pelee-models",
        description="Print each model's parameters, multiply-adds, input and output shapes, and which have weights.",
        epilog=EPILOG,
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help="only these")
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="the classifiers with N classes, instead of the published number"
    )
    add_hidden_alias(parser, "--classes", dest="num_classes", type=int)
    parser.add_argument("--installed", action="store_true", help="list the installed models and their folders instead")
    add_json_lines_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-models`; returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in installed_models.VERBS:
        return installed_models.main(words)
    options = build_parser().parse_args(words)
    if options.installed:
        return run(lambda: installed_models.print_installed(options.json))
    return run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    import json

    import torch
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from data.errors import SettingsError
    from data.json_lines import json_lines
    from data.json_output import is_stdout
    from detection.models.registry import build, published_designs
    from pelee.models.complexity import count
    from pelee.models.peleenet import PeleeNet
    from pelee.models.registry import MODELS, choose
    from weights.model_folders import shipped
    from weights.store import resolve

    if options.num_classes is not None and options.num_classes < 1:
        raise SettingsError(f"--num-classes is {options.num_classes}; expected at least 1")
    designs = published_designs()
    known = {**MODELS, **designs} if options.num_classes is None else MODELS
    if detectors := set(options.names) & (designs.keys() - known.keys()):
        raise SettingsError(
            f"--num-classes is for classifiers, and {min(detectors)} is a detector; leave one of them out"
        )
    cards = [resolve(name).card for name in shipped()]
    weights = {card.architecture if card.task == "classification" else card.name: card.name for card in cards}
    counts, groups = {}, {}
    for name in choose(options.names, known):
        with torch.device("meta"):  # shapes only: no memory and no computation
            if name in MODELS:
                entry = MODELS[name]
                network = entry.build() if options.num_classes is None else entry.build(options.num_classes)
                size = entry.input_size
            else:
                network, size = build(designs[name]), designs[name].input_size
        counts[name] = count(network, size)
        groups[name] = (name in MODELS, isinstance(network, PeleeNet))
    with json_lines(options.json) as write_line:
        if write_line is not None:
            for name, counted in counts.items():
                write_line(json.dumps({"model": name, **counted._asdict(), "weights": weights.get(name)}))
    table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
    table.add_column("model", no_wrap=True)
    for title in ("parameters", "all biases", "multiply-adds"):
        table.add_column(title, justify="right")
    table.add_column("input")
    table.add_column("outputs")  # wraps in a narrow terminal
    table.add_column("weights", no_wrap=True)
    previous = None
    for name, counted in counts.items():
        if previous not in (None, groups[name]):
            table.add_section()
        previous = groups[name]
        table.add_row(
            name,
            f"{counted.parameters:,}",
            f"{counted.report_parameters:,}",
            f"{counted.multiply_adds / 1e6:,.0f} M",
            "×".join(map(str, counted.input_shape)),
            ", ".join("×".join(map(str, shape)) for shape in counted.output_shapes),
            weights.get(name, ""),
        )
    to_stderr = is_stdout(options.json)
    Console(stderr=to_stderr, width=None if Console(stderr=to_stderr).is_terminal else 120).print(table)
    return 0
