"""`pelee-serve`: serves detection and classification over HTTP."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from data.command_line import new_parser, run
from data.settings_flags import add_settings_flags, given_settings, settings_fields
from serve.settings import ServeSettings, load_settings

EPILOG = """\
Every setting is also an environment variable, its name in capitals after PELEE_: PELEE_PORT=8080,
PELEE_MODELS=pelee-voc,my-model. API keys come from the environment only: PELEE_API_KEYS=KEY,KEY. Flags win.

examples:
  pelee-serve
  pelee-serve --model pelee-voc --port 8080
  PELEE_API_KEYS=$(openssl rand -hex 16) pelee-serve --host 0.0.0.0

signals:
  SIGTERM, ctrl-C   finish running requests, reject new ones, exit; a second one: exit at once
  SIGHUP            reload the models' files without dropping a request

exit codes:
  0    stopped by a signal
  2    could not start: one line on stderr
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser: a flag for every setting but the API keys; omitted flags set nothing."""
    parser = new_parser(
        prog="pelee-serve",
        description="Serve detection and classification over HTTP, with a live page.",
        epilog=EPILOG,
    )
    (models,) = (one for one in settings_fields(ServeSettings) if one.name == "models")
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="MODEL",
        help=f"{models.help}; repeatable ({', '.join(models.default)})",
    )
    add_settings_flags(parser, ServeSettings, exclude=("api_keys", "models"))
    return parser


def parse_flags(argv: Sequence[str] | None) -> dict[str, Any]:
    """Parse the command line into the settings that it gives, by name."""
    args = build_parser().parse_args(argv)
    return given_settings(args) | ({} if args.models is None else {"models": args.models})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(lambda: _serve(argv))


def _serve(argv: Sequence[str] | None) -> NoReturn:
    flags = parse_flags(argv)
    import uvicorn  # noqa: F401  first: if the extra is not installed, this is the module that its message names

    from serve.web.server import serve

    serve(load_settings(**flags))


if __name__ == "__main__":
    sys.exit(main())
