"""Precision and recall of the events of a watch on a scripted film with known truth.

    python -m tests.acceptance.watch_events --root VOCdevkit [--episodes 24] [--film FILE]

Persons and cars are cut out of photos of VOC2007 minival and moved over a photo without them, by scripts: through the
zone and over the line, into the zone and back, along its border. Dogs, cats and others move as well, and must give no
event. The film is an H.264 file that is replayed as `pelee-watch --dry-run` does. It prints a table, and ends with 1
where a limit is missed.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data.datasets.records import Record
from data.datasets.registry import open_dataset
from data.images.image_io import read_image
from detection.detector import Detector
from detection.video.video_writer import video_writer
from detection.watch.event import Event, EventKind
from detection.watch.replay import EPOCH, replay
from detection.watch.settings import CameraSettings, RuleSettings, WatchSettings
from detection.watch.shapes import LineSettings, ZoneSettings

WIDTH, HEIGHT, RATE = 1280, 720, 10
EPISODE, PAUSE = 9.0, 4.0  # seconds
TOLERANCE = 1.2  # seconds between an event and the truth
LABELS = ("person", "car")
ZONE_LEFT, LINE_X = 0.6, 0.4  # the zone is right of the one, the line at the other; shares of the width
LEAST_SCORE = 0.5  # of the rule; below it the model takes parts of cars for persons
LEAST_PRECISION, LEAST_RECALL = 0.85, 0.9
KINDS = (EventKind.ENTERED, EventKind.LEFT, EventKind.CROSSED)


@dataclass(frozen=True)
class Actor:
    """Cut-out that moves: RGBA pixels, class name, and (time in seconds, x, y of its foot as shares) on its way."""

    pixels: np.ndarray
    label: str
    way: tuple[tuple[float, float, float], ...]

    def foot(self, time: float) -> tuple[float, float] | None:
        """Position at a time, as shares of the frame; None before and after."""
        times, x, y = zip(*self.way, strict=True)
        return (
            (float(np.interp(time, times, x)), float(np.interp(time, times, y)))
            if times[0] <= time <= times[-1]
            else None
        )

    def draw(self, image: np.ndarray, time: float) -> None:
        """Blend it into a frame, as far as it is inside."""
        if (foot := self.foot(time)) is None:
            return
        height, width = self.pixels.shape[:2]
        left, top = round(foot[0] * WIDTH - width / 2), round(foot[1] * HEIGHT - height)
        x1, y1, x2, y2 = max(0, left), max(0, top), min(WIDTH, left + width), min(HEIGHT, top + height)
        if x1 < x2 and y1 < y2:
            part = self.pixels[y1 - top : y2 - top, x1 - left : x2 - left]
            alpha = part[..., 3:].astype(np.float32) / 255
            image[y1:y2, x1:x2] = (alpha * part[..., :3] + (1 - alpha) * image[y1:y2, x1:x2]).astype(np.uint8)


@dataclass(frozen=True)
class Truth:
    """What must be found: kind, class name, direction of a crossing, seconds from the begin of the film."""

    kind: EventKind
    label: str
    direction: str | None
    time: float


def scripts(begin: float, kind: int) -> tuple[tuple[float, float, float], ...]:
    """Way of an episode: 0 through all, 1 back, 2 into the zone and back, 3 along the border of the zone, 4 past it."""
    foot = 0.92
    if kind == 0:
        return ((begin, -0.1, foot), (begin + EPISODE, 1.1, foot))
    if kind == 1:
        return ((begin, 1.1, foot), (begin + EPISODE, -0.1, foot))
    if kind == 2:
        return (
            (begin, -0.1, foot), (begin + 3, 0.75, foot), (begin + 6, 0.75, foot), (begin + EPISODE, -0.1, foot)
        )  # fmt: skip
    if kind == 3:
        steps = [(begin + 3 + 0.3 * index, ZONE_LEFT - 0.08 + 0.012 * (index % 2), foot) for index in range(10)]
        return ((begin, -0.1, foot), *steps, (begin + EPISODE, -0.1, foot))
    return ((begin, -0.1, foot), (begin + 3, 0.25, foot), (begin + 6, 0.25, foot), (begin + EPISODE, -0.1, foot))


def truth_of(actor: Actor) -> list[Truth]:
    """Events of an actor, from its foot; none for other classes. What leaves the frame leaves the zone."""
    if actor.label not in LABELS:
        return []
    half = actor.pixels.shape[1] / 2 / WIDTH
    found: list[Truth] = []
    before: tuple[bool, bool] | None = None
    for time in np.arange(actor.way[0][0], actor.way[-1][0] + 1, 0.02).tolist():
        foot = actor.foot(time)
        visible = foot is not None and -half * 0.5 < foot[0] < 1 + half * 0.5
        if foot is None or not visible:
            if before is not None and before[0]:
                found.append(Truth(EventKind.LEFT, actor.label, None, time))
            before = None
            continue
        now = (foot[0] > ZONE_LEFT, foot[0] > LINE_X)
        if now[0] and (before is None or not before[0]):
            found.append(Truth(EventKind.ENTERED, actor.label, None, time))
        if before is not None and before[0] and not now[0]:
            found.append(Truth(EventKind.LEFT, actor.label, None, time))
        if before is not None and before[1] != now[1]:
            found.append(Truth(EventKind.CROSSED, actor.label, "in" if now[1] else "out", time))
        before = now
    return found


def watch_of(tiles: str = "auto") -> WatchSettings:
    """Settings of the film's camera."""
    zone = ZoneSettings(((ZONE_LEFT, 0.3), (1.0, 0.3), (1.0, 1.0), (ZONE_LEFT, 1.0)))
    camera = CameraSettings(
        "test",
        rate=float(RATE),
        tiles=tiles,
        zones={"zone": zone},
        lines={"line": LineSettings(((LINE_X, 0.0), (LINE_X, 1.0)))},
    )
    return WatchSettings(
        {"film": camera}, {"rule": RuleSettings(labels=LABELS, kinds=KINDS, min_score=LEAST_SCORE, min_seconds=0.3)}
    )


def write_film(path: Path, actors: Sequence[Actor], background: np.ndarray) -> None:
    """Write the film, until 4 s after the last actor."""
    end = max(actor.way[-1][0] for actor in actors) + PAUSE
    with video_writer(path, (WIDTH, HEIGHT), Fraction(RATE)) as writer:
        for index in range(round(end * RATE)):
            image = background.copy()
            for actor in actors:
                actor.draw(image, index / RATE)
            writer.write(image)


def compare(events: Sequence[Event], truths: Sequence[Truth]) -> dict[str, tuple[int, int, int]]:
    """Found, wrong and missed by kind: each truth takes the nearest event of its kind, label and direction."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    left = list(events)
    for truth in truths:
        near = [
            (abs((event.start - EPOCH).total_seconds() - truth.time), index)
            for index, event in enumerate(left)
            if (event.kind, event.label, event.direction) == (truth.kind, truth.label, truth.direction)
        ]
        found = bool(near) and min(near)[0] <= TOLERANCE
        if found:
            del left[min(near)[1]]
        counts[str(truth.kind)][0 if found else 2] += 1
    for event in left:
        counts[str(event.kind)][1] += 1
    return {kind: (found, wrong, missed) for kind, (found, wrong, missed) in sorted(counts.items())}


def shares(counts: dict[str, tuple[int, int, int]]) -> tuple[float, float]:
    """Precision and recall over all kinds."""
    found, wrong, missed = (sum(column) for column in zip(*counts.values(), strict=True))
    return found / max(1, found + wrong), found / max(1, found + missed)


def cut_out(record: Record, index: int, height: int) -> np.ndarray | None:
    """RGBA of an object of a photo, by GrabCut from its box; None where that finds too little."""
    image = read_image(record.image)
    x1, y1, x2, y2 = record.boxes[index].round().astype(int).tolist()
    if y2 - y1 < 120 or x1 < 2 or y1 < 2 or x2 > image.shape[1] - 2 or y2 > image.shape[0] - 2:
        return None
    mask = np.zeros(image.shape[:2], np.uint8)
    work = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(image, mask, (x1, y1, x2 - x1, y2 - y1), *work, 4, cv2.GC_INIT_WITH_RECT)
    alpha = (((mask & 1) * 255)[y1:y2, x1:x2]).astype(np.uint8)
    if not 0.35 < alpha.mean() / 255 < 0.95:
        return None
    alpha = cv2.GaussianBlur(alpha, (5, 5), 0)
    cut = np.dstack([image[y1:y2, x1:x2], alpha])
    scale = height / cut.shape[0]
    return cv2.resize(cut, (max(1, round(cut.shape[1] * scale)), height), interpolation=cv2.INTER_AREA)


def cast(
    records: Sequence[Record], names: Sequence[str], episodes: int, seed: int = 0
) -> tuple[list[Actor], np.ndarray]:
    """Actors of the episodes, every fifth of another class, and the background."""
    random = np.random.default_rng(seed)
    order = [records[index] for index in random.permutation(len(records))]
    others = [names.index(name) for name in ("dog", "cat", "horse", "sheep", "cow")]
    wanted = [names.index(name) for name in LABELS]
    free = [one for one in order if len(one.labels) and not set(one.labels.tolist()) & {*wanted, names.index("bus")}]
    background = cv2.resize(read_image(free[0].image), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    actors: list[Actor] = []
    for record in order:
        if len(actors) == episodes:
            break
        number = len(actors)
        labels = others if number % 5 == 4 else [wanted[number % 2]]
        for index in np.flatnonzero(np.isin(record.labels, labels) & ~record.difficult & ~record.crowd):
            height = 320 if names[record.labels[index]] == "person" else 240
            if len(record.labels) <= 2 and (pixels := cut_out(record, int(index), height)) is not None:
                way = scripts(1 + number * (EPISODE + PAUSE), number % 5 if number % 5 != 4 else 0)
                actors.append(Actor(pixels, names[record.labels[index]], way))
                break
    return actors, background


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="VOCdevkit")
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--model", default="pelee-voc")
    parser.add_argument("--film", type=Path, help="keep the film there")
    args = parser.parse_args()
    dataset = open_dataset("voc", args.root, "2007-minival")
    actors, background = cast(dataset.records, dataset.class_names, args.episodes)
    truths = [truth for actor in actors for truth in truth_of(actor)]
    with tempfile.TemporaryDirectory() as folder:
        film = args.film or Path(folder) / "film.mp4"
        write_film(film, actors, background)
        events = list(replay(film, "film", watch_of(), Detector.load(args.model)))
    counts = compare(events, truths)
    print(f"{len(actors)} episodes, {len(truths)} events\n\n| Kind | Found | Wrong | Missed |\n|---|---|---|---|")
    for kind, row in counts.items():
        print(f"| `{kind}` | {' | '.join(map(str, row))} |")
    precision, recall = shares(counts)
    print(f"\nprecision {precision:.3f} (limit {LEAST_PRECISION}), recall {recall:.3f} (limit {LEAST_RECALL})")
    return 0 if precision >= LEAST_PRECISION and recall >= LEAST_RECALL else 1


if __name__ == "__main__":
    sys.exit(main())
