"""Report of `pelee-bench`: Markdown tables for the terminal and for docs/benchmarks/speed.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.errors import SettingsError

BEGIN, END = "<!-- bench:start -->", "<!-- bench:end -->"


def to_markdown(result: dict[str, Any]) -> str:
    """Markdown report of a benchmark result."""
    parts = [_machine(result["machine"], result["settings"])]
    if result["networks"]:
        parts.append(_networks(result["networks"]))
    parts += [f"absent: {line}" for line in result["absent"]]
    if "postprocess_ms" in result:
        times = result["postprocess_ms"]
        parts.append(
            f"Postprocessing per image: {times['default']:.2f} ms at the default threshold; "
            f"{times['worst_at_0.01']:.2f} ms for the image with the most candidates at `--conf 0.01`."
        )
    if "start" in result:
        start = result["start"]
        parts.append(
            f"`pelee-detect IMAGE --json -`: {start['first_line_s']:.2f} s from shell to first line, "
            f"{start['memory_mb']:.0f} MB at its peak; `pelee-detect --help`: {start['help_s']:.2f} s."
        )
    if "video" in result:
        parts.append(_video(result["video"]))
    if "training" in result:
        rows = [
            [one["precision"], str(one["batch_size"]), f"{one['pictures_per_s']:.1f}"] for one in result["training"]
        ]
        parts.append(_table(["training, 304×304, data included", "batch", "images/s"], rows))
    return "\n\n".join(parts) + "\n"


def write_between(path: Path, text: str) -> None:
    """Replace the text between the two marks of a Markdown file; errors as `split_at_marks`."""
    before, after = split_at_marks(path)
    with atomic_path(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", encoding="utf-8")


def split_at_marks(path: Path) -> tuple[str, str]:
    """Text before and after the tables of a Markdown file; `SettingsError` if a mark is missing."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SettingsError(f"{path} lacks the lines {BEGIN} and {END}, between which the tables go; add them")
    return before, after


def _machine(machine: dict[str, Any], settings: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    free, clock = machine["free_cores"], machine["clock_mhz"]
    facts = [f"{machine['cores']} cores" + ("" if free is None else f" ({free:.1f} of them free)")]
    facts += [f"{clock / 1000:.2f} GHz"] if clock else []
    facts += [" ".join(machine["instructions"])] if machine["instructions"] else []
    lines = [
        f"{machine['processor']}, {', '.join(facts)}, {machine['system']}, Python {machine['python']}, {versions}.",
        f"{settings['repeats']} calls each after {settings['warm_up']} warm-up calls, in {settings['rounds']} rounds "
        f"in which all take turns; {settings['pictures']} images.",
    ]
    if machine["busy"]:
        lines.append(
            "**Taken on a busy machine**: others used its cores at the start, and the figures are not its best."
        )
    return " ".join(lines)


def _networks(rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]["p50_ms"] / rows[0]["batch"]
    columns = ["runtime", "batch", "p50 ms", "p95 ms", "network ms", "images/s", "in flight: images/s", "times"]
    extra = {"memory_mb": ("memory MB", "{:.0f}"), "map_11point": ("mAP", "{:.1f}"), "coco_ap": ("COCO AP", "{:.1f}")}
    shown = [key for key in extra if any(key in row for row in rows)]
    table = []
    for row in rows:
        network = row.get("stages_ms", {}).get("network")
        cells = [row["name"], str(row["batch"]), f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}"]
        cells.append("" if network is None else f"{network:.2f}")
        cells.append(f"{row['pictures_per_s']:.1f}")
        rate = row.get("in_flight_pictures_per_s")
        cells.append("" if rate is None else f"{rate:.1f}")
        cells.append(f"{row['p50_ms'] / row['batch'] / first:.2f}×")
        cells += [extra[key][1].format(row[key]) if key in row else "" for key in shown]
        table.append(cells)
    return (
        _table([*columns, *(extra[key][0] for key in shown)], table)
        + "\n\np50 and p95 are per call, from images in memory to their boxes; network is the network's part, per "
        "image; in flight is the network alone, with as many concurrent requests as it takes; times is p50 per image "
        "relative to the first row; memory is the peak of `pelee-detect` on one image."
    )


def _video(video: dict[str, Any]) -> str:
    rates = video["rates"]
    # Upper bound: the slower of the two parts.
    limit = min(rates["network"], rates["decoder"])
    names = {
        "decoder": "the decoder alone",
        "network": "the network alone, in flight",
        "pipeline": "`pelee-detect --json`, once loaded",
        "pipeline drawn": "`pelee-detect --json --output`, once loaded",
        "command": "`pelee-detect --json`, from shell to end",
        "command drawn": "`pelee-detect --json --output`, from shell to end",
    }
    rows = [
        [name, f"{rates[key]:.1f}", f"{video['frames'] / rates[key]:.2f}", f"{100 * rates[key] / limit:.0f} %"]
        for key, name in names.items()
    ]
    stages = ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in video["stages_ms"].items())
    return (
        _table([f"{video['frames']} frames, {video['runtime']}", "frames/s", "seconds", "of the limit"], rows)
        + f"\n\nStages with drawing, ms per frame (median; they overlap; network includes its queue): {stages}."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table, first column left-aligned, padded to be readable as plain text."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    ruler = ["-" * widths[0], *("-" * (max(width, 3) - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (header, ruler, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(max(width, 3)) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
