"""`pelee-serve`: serves detection and classification over HTTP."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.command_line import new_parser, positive_float, positive_int, run
from data.errors import SettingsError
from data.settings_flags import add_settings_flags, given_settings, settings_fields
from serve.settings import ServeSettings, load_settings

if TYPE_CHECKING:
    from serve.cluster.ray_service import Scale

EPILOG = """\
Every setting is also an environment variable, its name in capitals after PELEE_: PELEE_PORT=8080,
PELEE_MODELS=pelee-voc,my-model. API keys come from the environment only: PELEE_API_KEYS=KEY,KEY. Flags win.

examples:
  pelee-serve
  pelee-serve --model pelee-voc --port 8080
  PELEE_API_KEYS=$(openssl rand -hex 16) pelee-serve --host 0.0.0.0
  pelee-serve --ray --replicas 1-4

signals:
  SIGTERM, ctrl-C   finish running requests, reject new ones, exit; a second one: exit at once
  SIGHUP            reload the models' files without dropping a request; with --ray, replace the replicas

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
    ray = parser.add_argument_group("Ray Serve")
    ray.add_argument("--ray", action="store_true", help="run replicas of the service behind Ray Serve (extra: ray)")
    ray.add_argument("--replicas", metavar="N|MIN-MAX", help="number of replicas, or its range (1)")
    ray.add_argument(
        "--replica-queue",
        type=positive_float,
        help="requests in progress per replica that the range aims at (4)",
    )
    ray.add_argument("--replica-cores", type=positive_int, help="CPUs of a replica (1)")
    ray.add_argument("--replica-gpus", type=float, help="GPUs of a replica, may be a fraction (0)")
    ray.add_argument("--address", help="address of a Ray cluster, or auto (default: Ray on this machine alone)")
    return parser


def parse_flags(argv: Sequence[str] | None) -> dict[str, Any]:
    """Parse the command line into the settings that it gives, by name."""
    return _given(build_parser().parse_args(argv))


def _given(args: argparse.Namespace) -> dict[str, Any]:
    return given_settings(args) | ({} if args.models is None else {"models": args.models})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run(lambda: _serve(argv))


def _serve(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    import uvicorn  # noqa: F401  first: if the extra is not installed, this is the module that its message names

    settings = load_settings(**_given(args))
    if args.ray:
        import ray  # noqa: F401  the same

        from serve.cluster.ray_service import serve_on_ray

        return serve_on_ray(settings, _scale(args))
    for name in ("replicas", "replica_queue", "replica_cores", "replica_gpus", "address"):
        if getattr(args, name) is not None:
            raise SettingsError(f"--{name.replace('_', '-')} is for --ray; give --ray, too")
    from serve.web.server import serve

    serve(settings)


def _scale(args: argparse.Namespace) -> "Scale":
    """Return the replicas that the options ask for."""
    from serve.cluster.ray_service import Scale

    given: dict[str, Any] = {
        "queue": args.replica_queue,
        "cores": args.replica_cores,
        "gpu_share": args.replica_gpus,
        "address": args.address,
    }
    if args.replicas is not None:
        least, dash, most = args.replicas.partition("-")
        if not least.isdecimal() or (dash and not most.isdecimal()):
            raise SettingsError(f"--replicas is {args.replicas!r}; expected a number, or a range such as 1-4")
        given |= {"least": int(least), "most": int(most or least)}
    return Scale(**{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main())
