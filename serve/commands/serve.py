"""`pelee-serve`: the service, from the command line."""

import argparse
import sys
from collections.abc import Sequence

from data.command_line import new_parser, run

EPILOG = """\
Every setting is also a variable of the environment, PELEE_ and its name in capitals: PELEE_PORT=8080,
PELEE_MODELS=pelee-voc,my-model. Keys come from there alone: PELEE_API_KEYS=KEY,KEY. Flags win.

examples:
  pelee-serve
  pelee-serve --model pelee-voc --port 8080
  PELEE_API_KEYS=$(openssl rand -hex 16) pelee-serve --host 0.0.0.0

signals:
  SIGTERM, ctrl-C   answer what runs, refuse what comes, end; once more: end at once
  SIGHUP            load the models' files again, without dropping a request

exit codes:
  0    it was told to end
  2    it could not begin: a line on stderr
"""
#: Flag -> (type, what the help calls its value, help).
FLAGS: dict[str, tuple[type, str, str]] = {
    "host": (str, "ADDRESS", "where to listen (127.0.0.1: this machine alone)"),
    "port": (int, "N", "0 takes a free one (8000)"),
    "runtime": (str, "NAME", "openvino, onnxruntime or torch (auto: the fastest here)"),
    "device": (str, "NAME", "cpu, cuda, ... (auto)"),
    "precision": (str, "NAME", "f32, bf16 or int8 (auto)"),
    "mode": (str, "NAME", "latency gives one picture all cores, throughput shares them (auto: as many as wait)"),
    "cors_origins": (str, "A,B", "origins of other pages that may use it, such as https://example.org (none)"),
    "max_body_mb": (float, "MB", "largest body (10.0)"),
    "max_megapixels": (float, "N", "largest picture (25.0)"),
    "max_files": (int, "N", "most files in one POST /detect/batch (16)"),
    "max_buffered_mb": (float, "MB", "most bytes of bodies in memory at a time (256.0)"),
    "queue_size": (int, "N", "most pictures under way; who comes then gets 429 (64)"),
    "batch_size": (int, "N", "most pictures in a batch (1 in openvino, where it is no faster, else 8)"),
    "batch_wait_ms": (float, "MS", "a batch waits so long for pictures that are being decoded (1.0)"),
    "decode_threads": (int, "N", "threads that decode (one a core)"),
    "deadline_s": (float, "S", "from a request's last byte to its answer (3.0)"),
    "body_timeout_s": (float, "S", "from a request's header to its last byte (20.0)"),
    "header_timeout_s": (float, "S", "for a header to be whole, and an answer to be read (10.0)"),
    "grace_s": (float, "S", "for what runs when the service is told to end (10.0)"),
    "max_connections": (int, "N", "most at a time (2000)"),
    "max_websockets": (int, "N", "most at a time (32)"),
    "log_level": (str, "LEVEL", "debug, info, warning or error (info)"),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's definition; a flag that is not given leaves its setting to the environment."""
    parser = new_parser(
        prog="pelee-serve",
        description="Serve detection and classification over HTTP, with a live page.",
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="MODEL",
        help="a shipped name, a folder or a file; several times for several, the first of a task is its default "
        "(pelee-voc, peleenet-tiny-imagenet)",
    )
    for name, (kind, metavar, text) in FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, metavar=metavar, help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    return run(lambda: _serve(vars(args)))


def _serve(flags: dict[str, object]) -> int:
    import uvicorn  # noqa: F401  first: where the parts are not installed, its name leads to the extra that has all

    from serve.settings import load_settings
    from serve.web.server import serve

    return serve(load_settings(**flags))


if __name__ == "__main__":
    sys.exit(main())
