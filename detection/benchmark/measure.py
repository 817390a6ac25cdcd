"""Benchmark run: latency of all cases, memory, accuracy, start-up, video and training."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pelee.training.allocator import tune_allocator

START_RUNS = 5
VIDEO_ROUNDS = 3
VIDEO_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """Settings of a benchmark run.

    Attributes:
        images: images or folders of images.
        weights: models or exports; the first is also used for start-up, video and `against`.
        runtimes, precisions, batches: the cases are all combinations that are available.
        device: as in `Detector.load`.
        repeats: timed calls per case.
        against: baselines, of `baselines.AGAINST`.
        video: file for the video benchmark; None for none.
        dataset, root, split: dataset to measure mAP on; no mAP for `dataset` None, the default split for `split` None.
        training: also time training on the VOCdevkit under `root`.
        steps, batch_size: training steps to time, and images per step.
    """

    images: list[str]
    weights: list[str]
    runtimes: list[str]
    precisions: list[str]
    device: str
    batches: list[int]
    repeats: int
    against: list[str]
    video: str | None = None
    dataset: str | None = None
    root: Path | None = None
    split: str | None = None
    training: bool = False
    steps: int = 12
    batch_size: int = 24


def measure(options: BenchmarkSettings) -> dict[str, Any]:
    """Run the benchmark.

    Returns:
        Plain values: "machine", "settings", "networks" (a row per case, fastest first, see `BenchmarkCase.row`),
        "absent", "postprocess_ms", "start", and "video" and "training" if requested.
    """
    import cv2

    from data.images.image_io import find_images, read_image
    from detection.benchmark import latency
    from detection.benchmark.bench_machine import describe_machine

    machine = describe_machine()  # before the run loads the machine
    paths = find_images(options.images)
    cv2.setNumThreads(1)  # as in pelee-detect
    images = [read_image(path) for path in paths[:64]]  # held in memory
    cases, absent = latency.own_cases(
        options.weights, options.runtimes, options.precisions, options.device, options.batches
    )
    ours = list(cases)
    if options.against:
        cases += _against(options)
    result: dict[str, Any] = {
        "machine": machine,
        "settings": {
            "weights": options.weights,
            "pictures": len(images),
            "repeats": options.repeats,
            "warm_up": latency.WARMUP_CALLS,
            "rounds": latency.ROUNDS,
        },
        "absent": absent,
    }
    latency.time_calls(cases, images, options.repeats)
    latency.time_in_flight(ours, latency.SECONDS)
    cases.sort(key=lambda one: sum(one.times) / one.batch)
    rows = {id(one): one.row() for one in cases}
    result["networks"] = list(rows.values())
    _measure_alone(options, cases, rows, str(paths[0]))
    if ours and ours[0].detector is not None:
        result["postprocess_ms"] = latency.time_nms(ours[0].detector, images, 20)
    _measure_runs(options, result, str(paths[0]))
    return result


def _against(options: BenchmarkSettings) -> list[Any]:
    from data.errors import SettingsError
    from detection.benchmark.baselines import AGAINST, baseline_cases

    for name in options.against:
        if name not in AGAINST:
            raise SettingsError(f"--against {name} is unknown, expected one of {', '.join(AGAINST)}")
    return baseline_cases(options.against, options.weights[0])


def _measure_alone(
    options: BenchmarkSettings, cases: Sequence[Any], rows: dict[int, dict[str, Any]], image: str
) -> None:
    """Add memory and mAP to the rows of the smallest batch."""
    from data.datasets.registry import find_format
    from detection.benchmark.end_to_end import run_command
    from detection.benchmark.latency import measure_map

    for one in cases:
        if one.choice is None or one.batch != min(options.batches):
            continue
        row = rows[id(one)]
        row["memory_mb"] = round(run_command([image, *one.flags(), "--json", "-"])["memory_mb"], 1)
        if options.dataset is not None and options.root is not None:
            split = options.split or find_format(options.dataset).val_split
            row |= measure_map(one.detector, options.dataset, options.root, split)


def _measure_runs(options: BenchmarkSettings, result: dict[str, Any], image: str) -> None:
    """Add start-up, video and training benchmarks to the result."""
    from detection.benchmark.end_to_end import time_help, time_start, time_training, time_video

    weights = options.weights[0]
    result["start"] = time_start(image, ["--weights", weights], START_RUNS) | {"help_s": time_help(START_RUNS)}
    if options.video is not None:
        result["video"] = time_video(options.video, weights, VIDEO_ROUNDS, VIDEO_SECONDS)
    if options.training and options.root is not None:
        split = options.split or "2007-trainval"
        result["training"] = []
        for precision in ("bf16", "fp32"):
            work = (options.root, split, precision, options.steps, options.batch_size)
            # In a separate process, as in pelee-train: the allocator must be tuned before torch is imported.
            with ProcessPoolExecutor(1, get_context("spawn"), tune_allocator) as process:
                rate = process.submit(time_training, *work).result()
            result["training"].append(
                {"precision": precision, "batch_size": options.batch_size, "pictures_per_s": rate}
            )
