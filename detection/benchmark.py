"""`pelee-bench`: what detecting costs on this machine, and training, where a data set is given."""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.command import run

WARM_UP = 3


def build_parser() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
        prog="pelee-bench",
        description="Measure detection by stage, start-up and memory; with --root also training's pictures per second.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture or a folder of pictures to detect in")
    parser.add_argument("--weights", default="pelee-voc", metavar="MODEL", help="model to run (%(default)s)")
    parser.add_argument("--repeats", type=int, default=50, help="pictures to time, one at a time (%(default)s)")
    parser.add_argument("--root", type=Path, help="a VOCdevkit to train on")
    parser.add_argument("--split", default="2007-trainval", help="its split (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="training steps to time (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=24, help="pictures a training step (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pelee-bench`; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run(lambda: _main(options))


def time_detection(weights: str, pictures: Sequence[str | Path], repeats: int) -> dict[str, float]:
    """Median milliseconds a picture by stage, one picture at a time, after a warm-up."""
    from detection.detector import Detector
    from detection.timing import StageTimer

    detector = Detector.load(weights)
    for number in range(WARM_UP + repeats):
        if number == WARM_UP:
            detector.timer = StageTimer()
        detector.predict_batch([detector.read(pictures[number % len(pictures)])], detector.card.default_confidence)
    return detector.timer.medians()


def time_start(weights: str, picture: str) -> tuple[float, float]:
    """Seconds from starting `pelee-detect` in a new process to its end with one picture, and its peak memory in MB."""
    command = [sys.executable, "-c", "import sys; from detection.cli import main; sys.exit(main())"]
    start = time.perf_counter()
    subprocess.run([*command, picture, "--weights", weights, "--json", "-"], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return seconds, peak / (1e6 if sys.platform == "darwin" else 1e3)


def time_training(root: Path, split: str, precision: str, steps: int, batch_size: int) -> float:
    """Training pictures per second of the whole loop, data included, after a warm-up."""
    from pytorch_lightning.callbacks import Callback

    from data.datasets import open_dataset
    from detection.model import Pelee
    from detection.settings import resolve_settings
    from detection.train import train

    class Clock(Callback):
        """Notes when the warm-up is over and when the last step is."""

        def __init__(self) -> None:
            self.begin = self.end = 0.0

        def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
            if trainer.global_step == WARM_UP:
                self.begin = time.perf_counter()
            self.end = time.perf_counter()

    overrides = {"precision": precision, "max_steps": WARM_UP + steps, "batch_size": batch_size}
    settings = resolve_settings("quick", {**overrides, "size_phases": []})
    dataset = open_dataset("voc", root, split)
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        network = Pelee(settings.network(len(dataset.class_names)))
        train(network, settings, dataset, dataset, Path(output), progress=False, callbacks=[clock])
    return steps * batch_size / (clock.end - clock.begin)


def _main(options: argparse.Namespace) -> int:
    import torch

    from data.images import find_pictures

    pictures = find_pictures(options.pictures)
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    stages = time_detection(options.weights, pictures, options.repeats)
    for stage, milliseconds in stages.items():
        print(f"{stage:12} {milliseconds:7.1f} ms")
    print(f"{'together':12} {sum(stages.values()):7.1f} ms a picture, median of {options.repeats}, one at a time")
    seconds, memory = time_start(options.weights, str(pictures[0]))
    print(f"pelee-detect on one picture, from start to end: {seconds:.2f} s, peak memory {memory:.0f} MB")
    if options.root:
        for precision in ("bf16", "fp32"):
            rate = time_training(options.root, options.split, precision, options.steps, options.batch_size)
            print(f"training, {precision}, 304×304, batch {options.batch_size}: {rate:.1f} pictures/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
