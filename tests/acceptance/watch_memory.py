"""Memory of `pelee-watch` over a long time, with events all the while.

    python -m tests.acceptance.watch_memory [--minutes 30] [--clip FILE]

Two cameras are files that are played at their own pace; events go to SQLite, to clips and to JSON Lines. The machine
need not be quiet. Exit code 1 where the memory grows by more than the limit.
"""

import argparse
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2

from detection.video.open_source import open_video
from detection.video.video_writer import video_writer
from tests.acceptance.soak import growth
from tests.support.paths import ROOT

SIZE, RATE = (640, 360), 5
SAMPLE_S = 2.0
LIMIT = 5.0  # per cent, after the first fifth of the time

SETTINGS = """\
cameras:
  a: {source: FILM}
  b: {source: FILM}
rules:
  all: {kinds: [appeared, vanished], labels: [person, car, bicycle, motorbike]}
recording: {before: 2, after: 2}
folder: FOLDER
json_lines: FOLDER/events.jsonl
server: {port: 0}
"""


def film(path: Path, clip: Path, seconds: float) -> Path:
    """Write a film that plays a clip forwards and backwards for so long."""
    with open_video(str(clip)) as video:
        frames = [cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA) for frame in islice(video, 0, 250, 5)]
    order = itertools.cycle([*range(len(frames)), *range(len(frames) - 2, 0, -1)])
    with video_writer(path, SIZE, Fraction(RATE)) as writer:
        for index in islice(order, round(seconds * RATE)):
            writer.write(frames[index])
    return path


def resident(process: int) -> int:
    """Memory of a process, bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main() -> int:
    """Watch, and print the memory of each minute and its growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clip", type=Path, default=ROOT / "data" / "samples" / "bikes.mp4")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = film(folder / "film.mp4", args.clip, 60 * args.minutes + 60)
        settings = folder / "watch.yaml"
        settings.write_text(SETTINGS.replace("FILM", str(source)).replace("FOLDER", str(folder / "watch")))
        command = [sys.executable, "-m", "serve.commands.watch", str(settings)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        memory: list[tuple[float, int]] = []
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < 60 * args.minutes:
            assert process.poll() is None, "the watch ended"
            memory.append((passed, resident(process.pid)))
            time.sleep(SAMPLE_S)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        events = len((folder / "watch" / "events.jsonl").read_text().splitlines())
    for minute in range(0, round(args.minutes), max(1, round(args.minutes / 10))):
        at, size = next((at, size) for at, size in memory if at >= 60 * minute)
        print(f"{at / 60:4.0f} min {size / 1e6:6.0f} MB")
    grown = growth(memory[:: max(1, len(memory) // 400)])
    print(f"{events} events; {grown:+.1f} % growth (limit {LIMIT:g} %)")
    return 0 if events and grown < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
