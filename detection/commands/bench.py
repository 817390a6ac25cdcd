"""`pelee-bench`: benchmark of runtimes, start-up, memory, video and training."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, positive_int, positive_int_list, run, word_list
from data.commands.options import add_dataset_options
from data.json_output import check_json_target, is_stdout, write_json
from detection.benchmark.measure import BenchmarkSettings, measure

EPILOG = """\
All cases are measured in one run, in interleaved rounds. Across machines, compare only the ratios between rows.
Runtimes that are not installed, and precisions without an export, are listed as absent.

examples:
  pelee-bench photos/
  pelee-bench photos/ --batch 1,8 --weights pelee-voc --weights my-openvino-f32/ --against eager,torchvision
  pelee-bench photos/ --video clip.mp4 --json bench.json --markdown docs/benchmarks/speed.md
  pelee-bench photos/ --dataset voc --root VOCdevkit --split 2007-test
  pelee-bench photos/ --training --root VOCdevkit
  pelee-bench photos/ --check bench.json

exit codes: 0 done, 1 something is slower than in the run of --check, 2 an error, in one line; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Argument parser of the command."""
    parser = new_parser(
        prog="pelee-bench",
        description="Measure detection: runtimes, precisions and batches side by side, start-up, memory, whole runs.",
        epilog=EPILOG,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="an image or a folder of images to detect in")
    parser.add_argument(
        "--weights",
        action="append",
        metavar="MODEL",
        help="model or export to run; several times for several (pelee-voc)",
    )
    parser.add_argument("--runtime", type=word_list, default=["openvino", "onnxruntime", "torch"], metavar="A,B")
    parser.add_argument("--precision", type=word_list, default=["int8", "f32", "bf16"], metavar="A,B")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, ... (%(default)s)")
    parser.add_argument("--batch", type=positive_int_list, default=[1], metavar="N,N", help="images per call (1)")
    parser.add_argument(
        "--repeats", type=positive_int, default=50, metavar="N", help="timed calls per case (%(default)s)"
    )
    parser.add_argument("--against", type=word_list, default=[], metavar="A,B", help="also time: eager, torchvision")
    parser.add_argument("--video", metavar="FILE", help="also measure whole runs of pelee-detect on it")
    add_dataset_options(parser, required=False, purpose="also measure mAP; ")
    parser.add_argument("--split", help="of --dataset (its usual one); of --training (2007-trainval)")
    parser.add_argument("--training", action="store_true", help="also time training, on the VOCdevkit under --root")
    parser.add_argument("--steps", type=positive_int, default=12, help="training steps to time (%(default)s)")
    parser.add_argument("--batch-size", type=positive_int, default=24, help="images per training step (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write every number; - for stdout in place of the tables")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="compare with a run that --json wrote, by ratios within each, and print what became slower by a fifth",
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="write the tables into this file, between its lines bench:start and bench:end",
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


def _main(options: argparse.Namespace) -> int:
    from detection.benchmark.comparison import TOLERANCE, read_stored, slower
    from detection.benchmark.report import split_at_marks, to_markdown, write_between

    check_json_target(options.json)
    stored = None if options.check is None else read_stored(options.check)
    if options.markdown is not None:
        split_at_marks(options.markdown)  # fail before the benchmark, not after it
    settings = BenchmarkSettings(
        images=options.images,
        weights=options.weights,
        runtimes=options.runtime,
        precisions=options.precision,
        device=options.device,
        batches=options.batch,
        repeats=options.repeats,
        against=options.against,
        video=options.video,
        dataset=options.dataset,
        root=options.root,
        split=options.split,
        training=options.training,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    result = measure(settings)
    text = to_markdown(result)
    if not is_stdout(options.json):
        print(text, end="")
    write_json(options.json, result, indent=None if is_stdout(options.json) else 1)
    if options.markdown is not None:
        write_between(options.markdown, text)
    if stored is None:
        return 0
    found = slower(result, stored)
    for line in found or [f"nothing is slower than in {options.check} by more than {100 * TOLERANCE:.0f} %"]:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
