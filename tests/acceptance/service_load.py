"""Load test of the service: `python -m tests.acceptance.service_load COMMAND`, each figure with its bound.

Every command starts its own servers on free ports; arguments after `--` are their flags. Exit code 0: all figures
are within their bounds. The figures are valid only on an otherwise idle machine.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data.command_line import run
from tests.acceptance.scenarios import latency, overload, soaked, throughput
from tests.acceptance.service_targets import Figure, report
from tests.acceptance.soak import leaking_server

EPILOG = """\
commands:
  throughput  answers a second at a concurrency of 16 beside the bare decode + detect loop, in turns, in one process
  latency     what the service adds to the loop's median at a concurrency of 1, in turns, in one process
  overload    twice the load that it carries: what is accepted, what is refused, /healthz, memory
  soak        mixed load for a long time: memory; with --leak the server leaks on purpose, and must be caught

wrk makes the load of throughput and latency. The overload's comes from here: it must not wait for answers, as wrk's
and hey's connections do (and hey's, held to a rate, all ask at the same moment), and tells refusals from results.
"""
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], list[Figure]], float]] = {
    "throughput": (throughput, 10.0),
    "latency": (latency, 10.0),
    "overload": (overload, 60.0),
    "soak": (soaked, 900.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a measurement; the exit code is 1 where a figure is missed."""
    words = list(sys.argv[1:] if argv is None else argv)
    words, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    if words == ["leaking-server"]:
        return leaking_server(flags)
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance.service_load",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("images", nargs="*", type=Path, default=[Path("data/samples/astronaut.jpg")])
    parser.add_argument("--model", default="pelee-voc", help="the detector (%(default)s)")
    parser.add_argument("--seconds", type=float, help="of each round (10), of the overload (60), of the soak (900)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--leak", action="store_true", help="soak: the control")
    args = parser.parse_args(words)
    measure, seconds = COMMANDS[args.command]
    args.seconds = seconds if args.seconds is None else args.seconds
    args.flags = ["--model", args.model, *flags]
    return run(lambda: 0 if report(measure(args)) else 1)


if __name__ == "__main__":
    sys.exit(main())
