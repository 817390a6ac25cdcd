"""`pelee-detect`: detection in images, videos, cameras and streams; writes annotated copies, JSON Lines, a table."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from data.command_line import fraction, new_parser, non_negative_int, positive_float, positive_int, run
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD
from pelee.commands.options import add_inference_options, add_json_lines_option

if TYPE_CHECKING:
    from detection.display.view import View
    from detection.pipeline.inputs import InputSource
    from detection.pipeline.run_config import RunState
    from detection.pipeline.sinks import Sink


EPILOG = """\
examples:
  pelee-detect street.jpg photos/ --output out/
  pelee-detect clip.mp4 --classes person,dog --output out/ --json out/clip.jsonl
  pelee-detect --video cam0 --show
  pelee-detect --video rtsp://camera.local/stream --video cam0 --json -
  pelee-detect --video clip.mp4 --track --line 0,0.5,1,0.5 --output out/
  some-program | pelee-detect - --json -

keys in the window:
  q or Esc quit, space pauses, s saves an image, + and - raise and lower the threshold

files and live sources: every frame of a file is processed; of cameras, streams and the test pattern always the latest.
A stream that stalls is reported, marked on its frames and reconnected; one that does not open at the start, or does
not come back, is given up.

images on stdin (-): JPEGs one after the other; or each image, of any format, after its length as 4 bytes, big-endian.
The line of each image is written before the next one is needed.

exit codes:
  0    everything was read and written
  1    some inputs could not be read to their end, or some outputs not written: one line each on stderr; the others
       are complete
  2    nothing could be read, or an error ended the run: one line on stderr
  3    a camera or stream did not open (absent, busy, a wrong address: within 10 s), or did not come back
  130  ctrl-C, 143 SIGTERM, 129 a closed terminal: videos and JSON are complete up to there
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    parser = new_parser(
        prog="pelee-detect",
        description="Detect objects in images, folders of images, videos, cameras and streams.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="an image, a folder (with its subfolders), a pattern such as 'photos/*.jpg', a video file, or - for "
        "images on stdin",
    )
    parser.add_argument(
        "--video",
        action="append",
        default=[],
        metavar="SRC",
        help="cam0, cam1, ... or /dev/video0; an rtsp://, rtmp://, http://, tcp:// or udp:// address; test or "
        "test:1280x720@30, a test pattern; or anything that INPUT may be; several times for several at once",
    )
    parser.add_argument(
        "--conf", type=fraction, metavar="SCORE", help="minimum score of a detection, 0 to 1 (the model's own default)"
    )
    parser.add_argument(
        "--iou",
        type=fraction,
        default=NMS_THRESHOLD,
        metavar="IOU",
        help="IoU threshold of non-maximum suppression within a class (%(default)s)",
    )
    parser.add_argument("--classes", metavar="A,B", help="detect only these classes: names or ids, separated by commas")
    parser.add_argument(
        "--max-detections",
        type=positive_int,
        default=DETECTIONS_PER_IMAGE,
        metavar="N",
        help="maximum number of detections per image (%(default)s)",
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=1,
        metavar="N",
        help="process only every Nth frame of a video (%(default)s)",
    )
    parser.add_argument(
        "--retry",
        type=non_negative_int,
        default=30,
        metavar="N",
        help="attempts in a row to reconnect a lost stream, up to 2 s apart (%(default)s)",
    )
    out = parser.add_argument_group("outputs")
    out.add_argument("--output", type=Path, metavar="DIR", help="write annotated copies: .jpg and .mp4")
    out.add_argument(
        "--snapshot-every",
        type=positive_float,
        metavar="SECONDS",
        help="with --output: also an image of each video in this interval",
    )
    add_json_lines_option(out)
    out.add_argument("--show", action="store_true", help="show results in a window")
    out.add_argument(
        "--web",
        nargs="?",
        type=_host_port,
        const=("127.0.0.1", 8080),
        metavar="HOST:PORT",
        help="show results on a web page (default address 127.0.0.1:8080)",
    )
    out.add_argument(
        "--no-numbers", action="store_true", help="draw no rates, ages and losses on frames of cameras and streams"
    )
    tracks = parser.add_argument_group("tracking")
    tracks.add_argument(
        "--track", action="store_true", help="track objects in videos: ids from frame to frame, and counts"
    )
    tracks.add_argument(
        "--line",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2",
        help="count crossings of a line, in pixels or in shares of the frame from 0 to 1; implies --track",
    )
    tracks.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2,X3,Y3,...",
        help="count objects in a polygon; implies --track",
    )
    add_inference_options(parser, "pelee-voc")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.inputs and not args.video:
        parser.error("no input; name an image, a folder or a video, or give --video cam0")
    if args.show and args.web is not None:
        parser.error("--show and --web exclude each other")
    if args.snapshot_every is not None and args.output is None:
        parser.error("--snapshot-every needs --output DIR, the folder of its images")
    return run(lambda: _detect(args))


def _detect(args: argparse.Namespace) -> int:
    """Run the pipeline; all checks of the arguments come before the work."""
    import cv2

    from data.json_lines import json_lines
    from data.json_output import check_json_target, is_stdout
    from data.termination_signals import termination_raises
    from detection.detector import Detector
    from detection.inference.options import DetectionOptions
    from detection.pipeline.annotated_copies import ImageCopies, VideoCopies, WrittenCopies
    from detection.pipeline.file_pipeline import Pipeline, prepare_output
    from detection.pipeline.inputs import check_targets, collect
    from detection.pipeline.run_config import RunConfig, RunState
    from detection.pipeline.run_progress import ProgressBars
    from detection.pipeline.sinks import JsonLines
    from detection.pipeline.summary_table import print_report

    cv2.setNumThreads(1)  # the network uses the cores; OpenCV's operations on one image are too short to split
    items, problems = collect(args.inputs, args.video, args.output)
    counting = None
    if args.track or args.line or args.zone:
        import trackers  # noqa: F401  a missing package is an error before the work begins

        from detection.tracking.counting import Counting

        counting = Counting.parse(args.line, args.zone)
    check_json_target(args.json)
    protected = check_targets(items, args.output, None if is_stdout(args.json) else args.json)
    if items and args.output is not None:
        prepare_output(args.output)
    interrupted: KeyboardInterrupt | None = None
    to_stdout = is_stdout(args.json)
    with ExitStack() as stack:
        view: View | None = None
        if args.show and items:
            from detection.display.window import Window

            view = stack.enter_context(Window("pelee-detect"))
        detector = None
        if items:
            detector = Detector.load(
                args.weights,
                runtime=args.runtime,
                device=args.device,
                precision=args.precision,
                size=args.input_size,
                mode="latency" if _wants_latency(items) else "throughput",
            )
        bars = ProgressBars(shown=not (to_stdout and sys.stdout.isatty()))
        for line in problems:
            bars.problem(line)
        if detector is None:
            return 2
        if args.web is not None:
            from detection.display.mjpeg_server import WebView

            page = stack.enter_context(WebView(*args.web))
            bars.note(f"results are shown at {page.address}")
            view = page
        classes = None if args.classes is None else [name.strip() for name in args.classes.split(",") if name.strip()]
        options = DetectionOptions(
            confidence=detector.card.default_confidence if args.conf is None else args.conf,
            iou=args.iou,
            max_detections=args.max_detections,
            classes=detector.class_ids(classes),
        )
        written = WrittenCopies()
        state = RunState(options, failed=len(problems))
        config = RunConfig(detector, args.every, counting, not args.no_numbers, args.retry)
        try:
            with termination_raises(), json_lines(args.json) as write_line, bars:
                sinks: list[Sink] = []
                if args.output is not None:
                    sinks.append(ImageCopies(args.output, detector.timer, written, protected))
                if write_line is not None:
                    sinks.append(JsonLines(write_line, detector.class_names))
                if view is not None:
                    from detection.pipeline.view_sink import ViewSink

                    sinks.append(ViewSink(view, state, bars, args.output, [item for item in items if item.live]))
                if args.output is not None:  # after the view: encoding delays no shown frame
                    sinks.append(VideoCopies(args.output, detector.timer, args.snapshot_every, written, protected))
                Pipeline(config, state, sinks, bars).run(items)
        except KeyboardInterrupt as error:
            interrupted = error
    if state.summaries:
        print_report(state.summaries, detector.timer, state.seconds, detector.runtime.name, to_stderr=to_stdout)
        if written.count:
            names = ", ".join(str(path) for path in written.first)
            more = f" and {written.count - len(written.first)} more" if written.count > len(written.first) else ""
            print(f"annotated copies: {names}{more}", file=sys.stderr if to_stdout else sys.stdout)
    return _exit_code(state, interrupted)


def _wants_latency(items: "Sequence[InputSource]") -> bool:
    """Whether latency matters more than throughput: a single image, a single live source, images on stdin."""
    from detection.video.source_names import STDIN

    return len(items) == 1 and (not items[0].video or items[0].live or items[0].source == STDIN)


def _exit_code(state: "RunState", interrupted: KeyboardInterrupt | None) -> int:
    if interrupted is not None:
        print("interrupted; what was written is complete as far as it got", file=sys.stderr)
        return getattr(interrupted, "exit_code", 130)
    if state.lost:
        return 3
    if state.failed:
        return 1 if state.summaries else 2
    return 0


def _host_port(text: str) -> tuple[str, int]:
    """Parse HOST:PORT, or the port of a loopback address."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


if __name__ == "__main__":
    sys.exit(main())
