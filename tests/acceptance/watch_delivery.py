"""Events of a watch through kill -9 and broker outages: none lost, none doubled, all delivered, in order per camera.

    python -m tests.acceptance.watch_delivery [--kills 20] [--outages 5] [--seed N]

Exit code 1 where a bound is missed. Needs Mosquitto.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.support.watch_kills import KillRun, run_kills


def table(run: KillRun) -> list[tuple[str, int, str]]:
    """Rows: name, value, bound."""
    return [
        ("kills -9", run.kills, ""),
        ("broker outages", run.outages, ""),
        ("events stored", len(run.stored), "> 0"),
        ("events lost, or not delivered", len(run.lost()), "0"),
        ("events doubled", len(run.doubled()), "0"),
        ("cameras out of order", len(run.disordered()), "0"),
        *((f"deliveries, {name}", len(ids), "> 0") for name, ids in run.received.items()),
        *((f"of these repeated, {name}", run.repeated(name), "") for name in run.received),
    ]


def holds(value: int, bound: str) -> bool:
    """Whether a value is within its bound."""
    return not bound or (value > 0 if bound == "> 0" else value == int(bound))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--outages", type=int, default=5)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = run_kills(Path(folder), args.kills, args.outages, args.seed)
    print("\n| | value | bound |\n| --- | ---: | ---: |")
    for name, value, bound in table(run):
        print(f"| {name} | {value:,} | {bound} |")
    for problem in [*run.lost(), *run.doubled(), *run.disordered()][:20]:
        print(problem)
    return 0 if all(holds(value, bound) for _, value, bound in table(run)) else 1


if __name__ == "__main__":
    sys.exit(main())
