"""`pelee-bench`: how fast detection is here, side by side, and what a whole run costs."""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.command_line import run
from pelee.training.allocator import tune_allocator

EPILOG = """\
Everything is measured in this one run, in turns, so that only the ratios between its rows should be trusted across
machines. What is not installed, or has no export, is named as absent.

examples:
  pelee-bench photos/
  pelee-bench photos/ --batch 1,8 --weights pelee-voc --weights my-openvino-f32/ --against eager,torchvision
  pelee-bench photos/ --video clip.mp4 --json bench.json --readme README.md
  pelee-bench photos/ --dataset voc --root VOCdevkit --split 2007-test
  pelee-bench photos/ --training --root VOCdevkit
"""
START_RUNS = 5
VIDEO_ROUNDS = 3
VIDEO_SECONDS = 3.0


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
        prog="pelee-bench",
        description="Measure detection: runtimes, precisions and batches side by side, start-up, memory, whole runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture or a folder of pictures to detect in")
    parser.add_argument(
        "--weights",
        action="append",
        metavar="MODEL",
        help="model or export to run; several times for several (pelee-voc)",
    )
    parser.add_argument("--runtime", type=_words, default=["openvino", "onnxruntime", "torch"], metavar="A,B")
    parser.add_argument("--precision", type=_words, default=["int8", "f32", "bf16"], metavar="A,B")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, ... (%(default)s)")
    parser.add_argument("--batch", type=_counts, default=[1], metavar="N,N", help="pictures a call (1)")
    parser.add_argument("--repeats", type=_count, default=50, metavar="N", help="calls to time each (%(default)s)")
    parser.add_argument("--against", type=_words, default=[], metavar="A,B", help="also time: eager, torchvision")
    parser.add_argument("--video", metavar="FILE", help="also measure whole runs of pelee-detect on it")
    parser.add_argument("--dataset", choices=("voc", "coco", "yolo"), help="also measure mAP: layout of the data")
    parser.add_argument("--root", type=Path, help="the data's folder")
    parser.add_argument("--split", help="of --dataset (its usual one); of --training (2007-trainval)")
    parser.add_argument("--training", action="store_true", help="also time training, on the VOCdevkit under --root")
    parser.add_argument("--steps", type=_count, default=12, help="training steps to time (%(default)s)")
    parser.add_argument("--batch-size", type=_count, default=24, help="pictures a training step (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write every number; - for stdout in place of the tables")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="write the tables between its lines bench:start and bench:end, too"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-bench`; returns its exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if (options.dataset is not None or options.training) != (options.root is not None):
        parser.error("--root goes with --dataset or --training, and they with it")
    options.weights = options.weights or ["pelee-voc"]
    return run(lambda: _main(options))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what the options ask for.

    Returns:
        Plain values: "machine", "settings", "networks" (a row for each contender, fastest first, see
        `bench_speed.Contender.row`), "absent", "postprocess_ms", "start", and "video" and "training" where wanted.
    """
    import cv2

    from data.images.image_io import find_pictures, read_image
    from detection import bench_speed
    from detection.bench_report import describe_machine

    machine = describe_machine()  # before this run makes it busy
    paths = find_pictures(options.pictures)
    cv2.setNumThreads(1)  # as pelee-detect has it
    images = [read_image(path) for path in paths[:64]]  # what is in memory at once
    contenders, absent = bench_speed.our_contenders(
        options.weights, options.runtime, options.precision, options.device, options.batch
    )
    ours = list(contenders)
    if options.against:
        contenders += _against(options)
    result: dict[str, Any] = {
        "machine": machine,
        "settings": {
            "weights": options.weights,
            "pictures": len(images),
            "repeats": options.repeats,
            "warm_up": bench_speed.WARM_UP,
            "rounds": bench_speed.ROUNDS,
        },
        "absent": absent,
    }
    bench_speed.time_calls(contenders, images, options.repeats)
    bench_speed.time_in_flight(ours, bench_speed.SECONDS)
    contenders.sort(key=lambda one: sum(one.times) / one.batch)
    rows = {id(one): one.row() for one in contenders}
    result["networks"] = list(rows.values())
    _measure_alone(options, contenders, rows, str(paths[0]))
    if ours and ours[0].detector is not None:
        result["postprocess_ms"] = bench_speed.time_suppression(ours[0].detector, images, 20)
    _measure_runs(options, result, str(paths[0]))
    return result


def _against(options: argparse.Namespace) -> list[Any]:
    from data.errors import SettingsError
    from detection.bench_against import AGAINST, contenders

    for name in options.against:
        if name not in AGAINST:
            raise SettingsError(f"--against {name} is unknown, expected one of {', '.join(AGAINST)}")
    return contenders(options.against, options.weights[0])


def _measure_alone(
    options: argparse.Namespace, contenders: Sequence[Any], rows: dict[int, dict[str, Any]], picture: str
) -> None:
    """Add each runtime's memory and mAP to its rows of batch 1."""
    from data.datasets.registry import USUAL_SPLITS
    from detection.bench_runs import run_command
    from detection.bench_speed import measure_map

    for one in contenders:
        if one.choice is None or one.batch != min(options.batch):
            continue
        row = rows[id(one)]
        row["memory_mb"] = round(run_command([picture, *one.flags(), "--json", "-"])["memory_mb"], 1)
        if options.dataset is not None:
            split = options.split or USUAL_SPLITS[options.dataset][1]
            row |= measure_map(one.detector, options.dataset, options.root, split)


def _measure_runs(options: argparse.Namespace, result: dict[str, Any], picture: str) -> None:
    """Add what whole runs cost."""
    from detection.bench_runs import time_help, time_start, time_training, time_video

    weights = options.weights[0]
    result["start"] = time_start(picture, ["--weights", weights], START_RUNS) | {"help_s": time_help(START_RUNS)}
    if options.video is not None:
        result["video"] = time_video(options.video, weights, VIDEO_ROUNDS, VIDEO_SECONDS)
    if options.training:
        split = options.split or "2007-trainval"
        result["training"] = []
        for precision in ("bf16", "fp32"):
            work = (options.root, split, precision, options.steps, options.batch_size)
            # In a process of its own, as pelee-train is: torch is to be imported after its allocator is tuned.
            with ProcessPoolExecutor(1, get_context("spawn"), tune_allocator) as process:
                rate = process.submit(time_training, *work).result()
            result["training"].append(
                {"precision": precision, "batch_size": options.batch_size, "pictures_per_s": rate}
            )


def _main(options: argparse.Namespace) -> int:
    from detection.bench_report import split_at_marks, to_markdown, write_between

    if options.readme is not None:
        split_at_marks(options.readme)  # before the minutes of work, not after them
    result = measure(options)
    text = to_markdown(result)
    if options.json == "-":
        print(json.dumps(result, allow_nan=False))
    else:
        print(text, end="")
    if options.json not in (None, "-"):
        with atomic_path(options.json) as aside:
            aside.write_text(json.dumps(result, allow_nan=False, indent=1) + "\n", encoding="utf-8")
    if options.readme is not None:
        write_between(options.readme, text)
    return 0


def _words(text: str) -> list[str]:
    """Parse names with commas between."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _counts(text: str) -> list[int]:
    """Parse whole numbers from 1 with commas between."""
    return [_count(word) for word in _words(text)]


def _count(text: str) -> int:
    """Parse a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
