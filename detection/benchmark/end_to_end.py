"""End-to-end benchmarks of `pelee-bench`: a command from start to exit, a video through the pipeline, training."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from detection.benchmark.latency import async_throughput, openvino_model, raw_throughput
from detection.detector import Detector
from detection.inference.options import model_options
from detection.inference.stage_timer import StageTimer
from detection.pipeline.annotated_copies import VideoCopies
from detection.pipeline.file_pipeline import Pipeline
from detection.pipeline.inputs import InputSource, collect
from detection.pipeline.run_config import RunConfig, RunState
from detection.pipeline.sinks import JsonLines, Sink
from detection.video.video_file import VideoFile
from pelee.runtime.backends import BACKENDS, session_backend
from weights.store import ModelFile

# pelee-detect, with its peak memory in KiB as the last line on stderr. On Linux, VmHWM is read: the values of
# `getrusage` and `wait4` include the memory of the parent before exec.
COMMAND = """
import resource, sys
from detection.commands.detect import main
try:
    sys.exit(main())
finally:
    try:
        lines = open("/proc/self/status").read().splitlines()
        peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    print(peak, file=sys.stderr)
"""
WARMUP_STEPS = 3  # of training


class SilentProgress:
    """Progress without output, as `detection.pipeline.file_pipeline` takes it; collects the problems."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def start(self, name: str, total: int | None) -> None:
        """Print nothing."""

    def advance(self) -> None:
        """Print nothing."""

    def problem(self, line: str) -> None:
        """Collect a problem."""
        self.problems.append(line)

    def note(self, line: str) -> None:
        """Print nothing."""


def run_command(arguments: Sequence[str]) -> dict[str, float]:
    """Run `pelee-detect` in a new process: seconds to the first line and to the exit, and peak memory.

    Returns:
        "first_line_s" on stdout, "seconds", and "memory_mb", the largest resident set (2**20 bytes).

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
            first = time.perf_counter() - start
            process.stdout.read()
        code = process.wait()
        seconds = time.perf_counter() - start
        errors.seek(0)
        said = errors.read()
    if code:
        raise subprocess.CalledProcessError(code, process.args, stderr=said)
    return {"first_line_s": first, "seconds": seconds, "memory_mb": int(said.split()[-1]) / 1024}


def time_start(image: str, options: Sequence[str], repeats: int) -> dict[str, float]:
    """Median of `repeats` runs of `pelee-detect IMAGE --json -`."""
    runs = [run_command([image, *options, "--json", "-"]) for _ in range(repeats)]
    return {key: round(median(run[key] for run in runs), 3) for key in runs[0]}


def time_help(repeats: int) -> float:
    """Median seconds of `pelee-detect --help`."""
    return median(run_command(["--help"])["seconds"] for _ in range(repeats))


def time_video(video: str, weights: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Throughput of `pelee-detect` on a video, compared with the network alone and the decoder alone, in rounds.

    Args:
        video: a file.
        weights: the model, in the default runtime of `pelee-detect`.
        rounds: number of measurements; medians are returned.
        seconds: duration of the network measurement in a round.

    Returns:
        "frames"; "rates" in frames per second: "decoder" (decoding to RGB alone), "network" (alone, as OpenVINO's
        benchmark_app), "pipeline" and "pipeline drawn" (with everything loaded), "command" and "command drawn" (a new
        process, from start to exit); "stages_ms" of the drawing pipeline, which overlap; "runtime".
    """
    detector = Detector.load(weights, mode="throughput")
    model = openvino_model(weights) if session_backend(detector.runtime.name) is BACKENDS["openvino"] else None
    (item,), _ = collect([video], [], None)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        output, json = Path(folder), str(Path(folder) / "found.jsonl")
        frames = decode(item)[0]
        commands = {"command": ["--json", json], "command drawn": ["--json", json, "--output", folder]}
        measures: dict[str, Callable[[], float]] = {
            "decoder": lambda: frames / decode(item)[1],
            "network": lambda: network_rate(model, detector, seconds),
            "pipeline": lambda: frames / run_pipeline(detector, item, None),
            "pipeline drawn": lambda: frames / run_pipeline(detector, item, output),
            **{
                name: lambda flags=flags: frames / run_command([video, "--weights", weights, *flags])["seconds"]  # type: ignore[misc]
                for name, flags in commands.items()
            },
        }
        for number in range(rounds + 1):  # the first is the warm-up
            for name, measure in measures.items():
                if name == "pipeline drawn":
                    detector.timer = StageTimer()
                rate = measure()
                if name == "pipeline drawn":
                    stages = detector.timer.medians()
                if number:
                    rates.setdefault(name, []).append(rate)
    return {
        "frames": frames,
        "runtime": detector.runtime.name,
        "rates": {name: round(median(values), 2) for name, values in rates.items()},
        "stages_ms": {name: round(value, 3) for name, value in stages.items()},
    }


def network_rate(model: ModelFile | None, detector: Detector, seconds: float) -> float:
    """Images per second of the network alone, by OpenVINO's own queue if `model` is given."""
    return raw_throughput(model, seconds) if model is not None else async_throughput(detector, seconds)


def decode(item: InputSource) -> tuple[int, float]:
    """Number of frames of a video, and the seconds to decode them to RGB."""
    start = time.perf_counter()
    with VideoFile(item.source) as source:
        frames = sum(1 for _ in source)
    return frames, time.perf_counter() - start


def run_pipeline(detector: Detector, item: InputSource, output: Path | None) -> float:
    """Seconds of a video through the pipeline, with JSON Lines to a file and annotated copies to `output`, if any."""
    with tempfile.TemporaryFile("w") as file:
        options = model_options(detector.card)
        progress = SilentProgress()
        sinks: list[Sink] = [JsonLines(lambda line: print(line, file=file), detector.class_names)]
        if output is not None:
            sinks.append(VideoCopies(output, detector.timer))
        pipeline = Pipeline(RunConfig(detector), RunState(options), sinks, progress)
        pipeline.run([item])
    return pipeline.state.seconds


def time_training(root: Path, split: str, precision: str, steps: int, batch_size: int) -> float:
    """Training throughput in images per second, data loading included, after a warm-up."""
    from pytorch_lightning.callbacks import Callback

    from data.datasets.registry import open_dataset
    from detection.models.registry import build
    from detection.training.settings import resolve_settings
    from detection.training.train import train

    class StepTimer(Callback):
        """Records the times of the end of the warm-up and of the last step."""

        def __init__(self) -> None:
            self.begin = self.end = 0.0

        def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
            if trainer.global_step == WARMUP_STEPS:
                self.begin = time.perf_counter()
            self.end = time.perf_counter()

    overrides = {"precision": precision, "max_steps": WARMUP_STEPS + steps, "batch_size": batch_size}
    settings = resolve_settings("quick", {**overrides, "size_phases": []})
    dataset = open_dataset("voc", root, split)
    held_out = replace(dataset, records=dataset.records[:batch_size])  # training ends with a validation, untimed
    clock = StepTimer()
    with tempfile.TemporaryDirectory() as output:
        network = build(settings.network(len(dataset.class_names)))
        train(network, settings, dataset, held_out, Path(output), progress=False, callbacks=[clock])
    return steps * batch_size / (clock.end - clock.begin)
