"""`pelee-detect`: pictures, folders, videos and cameras in; annotated copies, JSON Lines and a table out."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from data.command import run
from pelee.options import add_runtime_options

EPILOG = """\
examples:
  pelee-detect street.jpg photos/ --output out/
  pelee-detect clip.mp4 --classes person,dog --output out/ --json out/clip.jsonl
  pelee-detect --video cam0 --show
  pelee-detect --video rtsp://camera.local/stream --json -

exit codes:
  0    everything was read
  1    some inputs could not be read, or not to their end: each is a line on stderr, the others are done
  2    nothing could be read, or an error ended the run: a line on stderr
  130  ctrl-C: videos and JSON are complete as far as they got
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    parser = argparse.ArgumentParser(
        prog="pelee-detect",
        description="Find objects in pictures, folders of pictures, videos and cameras.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="a picture, a folder (with its subfolders), a pattern such as 'photos/*.jpg', or a video file",
    )
    parser.add_argument(
        "--video", metavar="SRC", help="cam0, cam1, ...; an rtsp:// or http:// address; or a video file"
    )
    parser.add_argument(
        "--weights",
        default="pelee-voc",
        metavar="MODEL",
        help="a shipped model's name, or a folder or file (%(default)s)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write annotated copies: .jpg and .mp4")
    parser.add_argument("--json", metavar="FILE", help="write JSON Lines; - for stdout, the table then goes to stderr")
    parser.add_argument("--show", action="store_true", help="show results in a window; q or Esc ends the run")
    parser.add_argument(
        "--conf", type=_share, metavar="SCORE", help="show what scores above it, 0 to 1 (the model's own default)"
    )
    parser.add_argument(
        "--iou",
        type=_share,
        default=0.45,
        metavar="IOU",
        help="boxes of a class that overlap more are one (%(default)s)",
    )
    parser.add_argument("--classes", metavar="A,B", help="look only for these: names or ids, with commas between")
    parser.add_argument(
        "--max-detections", type=_positive, default=200, metavar="N", help="most objects a picture (%(default)s)"
    )
    add_runtime_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.inputs and args.video is None:
        parser.error("nothing to look at; name a picture, a folder or a video, or give --video cam0")
    return run(lambda: _detect(args))


def _detect(args: argparse.Namespace) -> int:
    """Do what the arguments say; everything that can be wrong with them is found before the work begins."""
    import cv2

    from data.json_lines import json_lines
    from detection.detector import Detector, Search
    from detection.inputs import check_targets, collect
    from detection.pipeline import Pipeline, prepare_output
    from detection.report import Bars, print_report
    from detection.video.sources import is_camera
    from detection.video.window import Window

    cv2.setNumThreads(1)  # the cores are the network's; OpenCV's share of a picture is too small to split
    items, problems = collect(args.inputs, args.video, args.output)
    if items and args.output is not None:
        check_targets(items, args.output)
        prepare_output(args.output)
    # One picture, and each of a camera's, is to be ready soon; of all others as many as possible.
    soon = len(items) == 1 and (not items[0].video or is_camera(items[0].source))
    interrupted = False
    to_stdout = args.json == "-"
    with ExitStack() as stack:
        window = stack.enter_context(Window("pelee-detect")) if args.show and items else None
        detector = None
        if items:
            detector = Detector.load(
                args.weights,
                runtime=args.runtime,
                device=args.device,
                precision=args.precision,
                mode="latency" if soon else "throughput",
            )
        bars = Bars(shown=not (to_stdout and sys.stdout.isatty()))
        for line in problems:
            bars.problem(line)
        if detector is None:
            return 2
        classes = None if args.classes is None else [name.strip() for name in args.classes.split(",") if name.strip()]
        pipeline = Pipeline(
            detector=detector,
            search=Search(
                confidence=detector.card.default_confidence if args.conf is None else args.conf,
                iou=args.iou,
                max_detections=args.max_detections,
                classes=detector.class_ids(classes),
            ),
            output=args.output,
            write_line=None,
            window=window,
            progress=bars,
            failed=len(problems),
        )
        try:
            with json_lines(args.json) as pipeline.write_line, bars:
                pipeline.run(items)
        except KeyboardInterrupt:
            interrupted = True
    if pipeline.summaries:
        print_report(pipeline.summaries, detector.timer, pipeline.seconds, detector.runtime.name, to_stderr=to_stdout)
        if args.output is not None:
            names = ", ".join(str(args.output / summary.item.target) for summary in pipeline.summaries[:4])
            more = f" and {len(pipeline.summaries) - 4} more" if len(pipeline.summaries) > 4 else ""
            print(f"annotated copies: {names}{more}", file=sys.stderr if to_stdout else sys.stdout)
    if interrupted:
        print("interrupted; what was written is complete as far as it got", file=sys.stderr)
        return 130
    if pipeline.failed:
        return 1 if pipeline.summaries else 2
    return 0


def _share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def _positive(text: str) -> int:
    """Parse a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
