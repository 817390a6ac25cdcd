"""Summary table of a run."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detection.inference.stage_timer import StageTimer
    from detection.pipeline.frame_result import Summary
    from detection.video.stream_stats import StreamStats


ROWS = 40  # rows of single images; above it the rows are the arguments that named the images


def print_report(
    summaries: Sequence["Summary"], timer: "StageTimer", seconds: float, runtime: str, to_stderr: bool
) -> None:
    """Print detections by input and class, the speed in `runtime`, and the time of each stage."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False)
    rows: dict[str, tuple[int, Counter[str]]] = {}
    grouped = len(summaries) > ROWS
    for summary in summaries:
        name = summary.item.given if grouped else summary.item.name
        frames, counts = rows.get(name, (0, Counter()))
        rows[name] = (frames + summary.frames, counts + summary.counts)

    table = Table()
    table.add_column("input", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("found")
    for name, (frames, counts) in rows.items():
        table.add_row(Text(name), str(frames), Text(_counted(counts)))
    if len(rows) > 1:
        total = sum((summary.counts for summary in summaries), Counter())
        table.add_section()
        table.add_row("in all", str(sum(summary.frames for summary in summaries)), Text(_counted(total)))
    console.print(table)

    frames = sum(summary.frames for summary in summaries)
    if frames:
        lines = [f"{frames} images in {seconds:.2f} s: {frames / max(seconds, 1e-9):.1f} images/s on {runtime}"]
        stages = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in timer.medians().items())
        lines.append(f"ms per image (median; the stages overlap, and the network's includes its queue): {stages}")
        lines += [_live_line(summary.item.name, summary.stream_stats) for summary in summaries if summary.stream_stats]
        lines += [f"{summary.item.name}: {_tracks_line(summary.tracks)}" for summary in summaries if summary.tracks]
        console.print(Text("\n".join(lines)), soft_wrap=True)


def _live_line(name: str, stats: "StreamStats") -> str:
    """Return the rates, losses and ages of a live source in one line."""
    frames = max(1, stats.looked_at.count)
    tiles = f"{stats.tiles / frames:.1f} tiles a frame; " if stats.tiled else ""
    return (
        f"{name}: received {stats.captured.count} frames, {stats.captured.overall():.1f}/s; "
        f"processed {stats.looked_at.count}, {stats.looked_at.overall():.1f}/s; {tiles}dropped {stats.dropped}; "
        f"damaged {stats.damaged}; age when shown {stats.age(50):.0f} ms (p50), {stats.age(99):.0f} ms (p99); "
        f"reconnected {stats.reconnects} times"
    )


def _tracks_line(counts: dict[str, Any]) -> str:
    return "tracks " + json.dumps(counts)


def _counted(counts: Counter[str]) -> str:
    """Return "3 person, 1 dog", the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
