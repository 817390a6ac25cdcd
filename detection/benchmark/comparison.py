"""Comparison of a benchmark with a stored one: ratios within each run, never times, so that machines may differ."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from data.errors import SettingsError

TOLERANCE = 0.2  # relative change of a ratio from which on it counts as slower
RUNS = ("pipeline", "pipeline drawn", "command", "command drawn")  # of "video"


def read_stored(path: Path) -> dict[str, Any]:
    """Read the result that `pelee-bench --json` wrote; `SettingsError` for another file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        costs(stored)
        _times(stored)
    except OSError as error:
        raise SettingsError(f"--check {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"--check {path}: not a result of pelee-bench --json") from None
    return stored


def costs(result: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of a run by name; a larger one is slower.

    A whole call by the network's part of it, and a run on a video by the slower of network and decoder.
    """
    found: dict[str, float] = {}
    for row in result["networks"]:
        if network := row.get("stages_ms", {}).get("network"):
            found[f"{_name(row)}: a call by its network"] = row["p50_ms"] / row["batch"] / network
    if "video" in result:
        rates = result["video"]["rates"]
        limit = min(rates["network"], rates["decoder"])
        found |= {f"video, {name}: by the network alone": limit / rates[name] for name in RUNS}
    return found


def slower(result: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Return a line for each ratio that is more than `TOLERANCE` above the stored one.

    The rows of the networks are compared with each other: a row is slower if its time has grown by more than the
    median of all rows, which is what another machine does to all of them.

    Raises:
        SettingsError: the runs have nothing in common.
    """
    new, old = costs(result), costs(stored)
    pairs = {name: (old[name], new[name]) for name in new if name in old}
    times, before = _times(result), _times(stored)
    growth = {name: times[name] / before[name] for name in times if name in before}
    if len(growth) > 1:
        usual = median(growth.values())
        pairs |= {f"{name}: by the other rows": (1.0, value / usual) for name, value in growth.items()}
    if not pairs:
        raise SettingsError("--check: the runs have no row in common; measure the same models, runtimes and batches")
    return [
        f"slower: {name}: {was:.2f} -> {now:.2f} (+{100 * (now / was - 1):.0f} %)"
        for name, (was, now) in pairs.items()
        if now > was * (1 + TOLERANCE)
    ]


def _times(result: dict[str, Any]) -> dict[str, float]:
    """Milliseconds per image of each row."""
    return {_name(row): row["p50_ms"] / row["batch"] for row in result["networks"]}


def _name(row: dict[str, Any]) -> str:
    return f"{row['name']}, batch {row['batch']}"
