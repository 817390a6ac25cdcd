"""`pelee-models`: every model, counted."""

import argparse
from collections.abc import Callable, Sequence

from data.command import run


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
        prog="pelee-models",
        description="Print each model's parameters, multiply-adds, input and output shapes, and which have weights.",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help="only these")
    parser.add_argument("--json", action="store_true", help="one JSON object a model, a line each")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-models`; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    import json
    from functools import partial

    from rich.console import Console
    from rich.table import Table
    from torch import nn

    from detection.model import DESIGNS, Pelee
    from pelee.networks.registry import MODELS, choose, count
    from weights.store import resolve, shipped

    builders: dict[str, Callable[[], nn.Module]] = {name: entry.build for name, entry in MODELS.items()}
    builders |= {name: partial(Pelee, config) for name, config in DESIGNS.items()}
    sizes = {name: entry.input_size for name, entry in MODELS.items()}
    sizes |= {name: config.input_size for name, config in DESIGNS.items()}
    cards = [resolve(name).card for name in shipped()]
    weights = {card.architecture if card.task == "classification" else card.name: card.name for card in cards}
    counts = {name: count(builders[name](), sizes[name]) for name in choose(options.names, builders)}
    if options.json:
        for name, counted in counts.items():
            print(json.dumps({"model": name, **counted._asdict(), "weights": weights.get(name)}))
        return 0
    table = Table("model", "parameters", "multiply-adds", "input", "outputs", "weights")
    for name, counted in counts.items():
        table.add_row(
            name,
            f"{counted.parameters:,}",
            f"{counted.multiply_adds / 1e6:,.0f} M",
            "×".join(map(str, counted.input_shape)),
            ", ".join("×".join(map(str, shape)) for shape in counted.output_shapes),
            weights.get(name, ""),
        )
    Console(width=None if Console().is_terminal else 120).print(table)
    return 0
