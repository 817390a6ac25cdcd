"""Benchmark run: all cases, alone and side by side."""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from pelee.training.allocator import tune_allocator

START_RUNS = 5
VIDEO_ROUNDS = 3
VIDEO_SECONDS = 3.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what the options ask for.

    Returns:
        Plain values: "machine", "settings", "networks" (a row for each case, fastest first, see
        `bench_speed.BenchmarkCase.row`), "absent", "postprocess_ms", "start", and "video" and "training" where wanted.
    """
    import cv2

    from data.images.image_io import find_images, read_image
    from detection.benchmark import latency as bench_speed
    from detection.benchmark.report import describe_machine

    machine = describe_machine()  # before this run makes it busy
    paths = find_images(options.pictures)
    cv2.setNumThreads(1)  # as pelee-detect has it
    images = [read_image(path) for path in paths[:64]]  # what is in memory at once
    cases, absent = bench_speed.own_cases(
        options.weights, options.runtime, options.precision, options.device, options.batch
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
            "warm_up": bench_speed.WARMUP_CALLS,
            "rounds": bench_speed.ROUNDS,
        },
        "absent": absent,
    }
    bench_speed.time_calls(cases, images, options.repeats)
    bench_speed.time_in_flight(ours, bench_speed.SECONDS)
    cases.sort(key=lambda one: sum(one.times) / one.batch)
    rows = {id(one): one.row() for one in cases}
    result["networks"] = list(rows.values())
    _measure_alone(options, cases, rows, str(paths[0]))
    if ours and ours[0].detector is not None:
        result["postprocess_ms"] = bench_speed.time_nms(ours[0].detector, images, 20)
    _measure_runs(options, result, str(paths[0]))
    return result


def _against(options: argparse.Namespace) -> list[Any]:
    from data.errors import SettingsError
    from detection.benchmark.baselines import AGAINST, cases

    for name in options.against:
        if name not in AGAINST:
            raise SettingsError(f"--against {name} is unknown, expected one of {', '.join(AGAINST)}")
    return cases(options.against, options.weights[0])


def _measure_alone(
    options: argparse.Namespace, cases: Sequence[Any], rows: dict[int, dict[str, Any]], picture: str
) -> None:
    """Add each runtime's memory and mAP to its rows of batch 1."""
    from data.datasets.registry import find_format
    from detection.benchmark.end_to_end import run_command
    from detection.benchmark.latency import measure_map

    for one in cases:
        if one.choice is None or one.batch != min(options.batch):
            continue
        row = rows[id(one)]
        row["memory_mb"] = round(run_command([picture, *one.flags(), "--json", "-"])["memory_mb"], 1)
        if options.dataset is not None:
            split = options.split or find_format(options.dataset).val_split
            row |= measure_map(one.detector, options.dataset, options.root, split)


def _measure_runs(options: argparse.Namespace, result: dict[str, Any], picture: str) -> None:
    """Add what whole runs cost."""
    from detection.benchmark.end_to_end import time_help, time_start, time_training, time_video

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
