"""`pelee-batch`: detection over archives on Ray Data; writes Parquet or JSON Lines, and resumes."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.command_line import new_parser, positive_float, positive_int, run
from data.cpu_cores import usable_cores
from detection.commands.options import add_detection_options, add_tiles_options, parse_tiles
from pelee.commands.options import add_inference_options

if TYPE_CHECKING:
    from detection.batch.batch_job import BatchJob
    from detection.batch.output_folder import OutputFolder
    from detection.batch.ray_run import PoolOptions

EPILOG = """\
examples:
  pelee-batch photos/ --output found/
  pelee-batch 'shards/train-*.tar' --output found/ --json-lines
  pelee-batch s3://bucket/archive --output s3://bucket/found --address auto --workers 32 --cores 4
  pelee-batch archive.parquet --column image --output found/

inputs: images, folders, patterns, tar shards (WebDataset), Parquet files with a column of image bytes, paths or
addresses, and text files with one path or address a line (.txt, .lst); local, or at s3://, gs:// and http:// addresses

Run the same command again after an interruption: it does the parts that are missing. Images that were added since are
added. To do a part again, delete its file.

exit codes:
  0    every image has its row
  1    some images could not be read (their rows have the error), or some inputs or parts not (one line each on stderr)
  2    there is nothing to read, or an error ended the run: one line on stderr
  130  ctrl-C, 143 SIGTERM, 129 a closed terminal: finished parts are complete
"""
CORES = 4  # of a worker, where there are as many: more of one process wait for each other
IMAGES_PER_PART = 1000


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = new_parser(
        prog="pelee-batch",
        description="Detect objects in archives of images, on one machine or a Ray cluster.",
        epilog=EPILOG,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images to detect in, see below")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of the parts; a path, or an s3:// or gs:// address"
    )
    parser.add_argument("--json-lines", action="store_true", help="write JSON Lines instead of Parquet")
    parser.add_argument(
        "--images-per-part",
        type=positive_int,
        default=IMAGES_PER_PART,
        metavar="N",
        help="images of an output file (%(default)s); a tar shard and a row group of a Parquet file are a part each",
    )
    parser.add_argument("--column", metavar="NAME", help="column of Parquet inputs with the images (found by its type)")
    add_detection_options(parser)
    pool = parser.add_argument_group("workers")
    pool.add_argument(
        "--workers", type=positive_int, metavar="N", help="worker processes (as many as the cores of this machine take)"
    )
    pool.add_argument(
        "--cores", type=positive_int, metavar="N", help=f"cores of a worker ({CORES}, or all where there are fewer)"
    )
    pool.add_argument(
        "--gpu-share",
        type=positive_float,
        default=0.0,
        metavar="GPUS",
        help="GPUs of a worker; 0.25 puts four workers on one, and --device is then cuda (none)",
    )
    pool.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="join a Ray cluster; auto for the one that runs on this machine (Ray is started on this machine alone)",
    )
    pool.add_argument(
        "--store-mb", type=positive_int, default=80, metavar="MB", help="size of Ray's object store here (%(default)s)"
    )
    add_tiles_options(parser)
    add_inference_options(parser, "pelee-voc")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    return run(lambda: _batch(args))


def _batch(args: argparse.Namespace) -> int:
    """Plan, then run what is missing."""
    import pyarrow  # noqa: F401  a missing package is an error before the work
    import ray.data  # noqa: F401

    from data.termination_signals import termination_raises
    from detection.batch.batch_job import check_manifest
    from detection.batch.output_folder import OutputFolder

    job, pool = _settings(args)
    output = OutputFolder(job.output)
    output.create()
    problems: list[str] = []
    with output.lock():
        check_manifest(job, output)
        try:
            with termination_raises():
                return _run(args, job, pool, output, problems)
        except KeyboardInterrupt as error:
            print("interrupted; run the command again: it goes on with the parts that are missing", file=sys.stderr)
            return getattr(error, "exit_code", 130)


def _run(
    args: argparse.Namespace, job: "BatchJob", pool: "PoolOptions", output: "OutputFolder", problems: list[str]
) -> int:
    """Write the plan of new inputs, and all parts that are missing."""
    from data.termination_signals import termination_raises
    from detection.batch.batch_inputs import find_entries
    from detection.batch.batch_progress import BatchProgress, duration
    from detection.batch.part_detector import DONE, ENDED
    from detection.batch.ray_run import BatchError, ray_session, run_parts
    from detection.batch.work_plan import WorkPlan

    plan = WorkPlan(output)
    plan.append(
        find_entries(args.inputs, output.place, args.column, problems.append), args.images_per_part, pool.workers
    )
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    planned, written = list(plan.parts()), output.names()
    parts = [part for part in planned if part.file_name(job.suffix) not in written]
    if not planned:
        return 2
    if len(parts) < len(planned):
        print(f"{len(planned) - len(parts):,} of {len(planned):,} parts are there", file=sys.stderr)
    if not parts:
        return 1 if problems else 0
    missed = 0
    images = None if any(part.images < 0 for part in parts) else sum(part.images for part in parts)
    # Ray replaces the handlers of signals when it starts.
    with ray_session(pool, job.cores), termination_raises(), BatchProgress(len(parts), images) as progress:
        for report in run_parts(job, parts, pool):
            if report["outcome"] == ENDED:
                raise BatchError(report["message"])
            if report["outcome"] != DONE:
                missed += 1
                progress.note(f"error: {report['message']}")
            progress.part(report["images"], report["failed"])
    rate = progress.images / progress.seconds
    unread = f", {progress.failed:,} of them could not be read" if progress.failed else ""
    print(
        f"{progress.images:,} images in {duration(progress.seconds)}, {rate:,.0f} images/s{unread}: {output}",
        file=sys.stderr,
    )
    return 1 if problems or missed or progress.failed else 0


def _settings(args: argparse.Namespace) -> "tuple[BatchJob, PoolOptions]":
    """Return the settings of the workers and of their pool; all checks that need no Ray are made here."""
    from pathlib import Path

    from data.errors import WeightsError
    from detection.batch.batch_job import BatchJob
    from detection.batch.output_folder import OutputFolder
    from detection.batch.part_files import JSON_LINES, PARQUET
    from detection.batch.ray_run import PoolOptions
    from detection.inference.options import class_ids, model_options
    from weights.store import resolve

    card = resolve(args.weights).card
    if card.task != "detection":
        raise WeightsError(f"{args.weights}: a model for {card.task}, expected one for detection; see pelee-models")
    cores = args.cores or min(CORES, usable_cores())
    workers = args.workers or (int(1 / args.gpu_share) if 0 < args.gpu_share <= 1 else usable_cores() // cores) or 1
    job = BatchJob(
        output=OutputFolder(args.output).place,
        weights=args.weights if args.weights == card.name else str(Path(args.weights).absolute()),
        model=card.name,
        sha256=card.sha256,
        options=model_options(
            card, args.conf, args.iou, args.max_detections, class_ids(args.classes, card.class_names)
        ),
        runtime=args.runtime,
        device="cuda" if args.gpu_share and args.device == "auto" else args.device,
        precision=args.precision,
        input_size=args.input_size,
        tiling=parse_tiles(args),
        suffix=JSON_LINES if args.json_lines else PARQUET,
        cores=cores,
    )
    return job, PoolOptions(
        workers=workers, gpu_share=args.gpu_share, address=args.address, store_bytes=args.store_mb << 20
    )


if __name__ == "__main__":
    sys.exit(main())
