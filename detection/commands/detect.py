"""`pelee-detect`: pictures, videos, cameras and streams in; annotated copies, JSON Lines, a window and a table out."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.command_line import fraction, new_parser, non_negative_int, positive_float, positive_int, run
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
  q or Esc quit, space pauses, s saves a picture, + and - raise and lower the threshold

files wait, streams do not: of a file every frame is looked at; of cameras, streams and the test pattern always the
newest. One that stalls is told, marked on the picture and tried again; one that is not there at the start, and one
that does not come back, is given up.

pictures on stdin (-): JPEGs one after the other; or each picture, of any kind, after 4 bytes of its length, the
highest first. Each has its line before the next must come.

exit codes:
  0    everything was read
  1    some inputs could not be read, or not to their end: each is a line on stderr, the others are done
  2    nothing could be read, or an error ended the run: a line on stderr
  3    a camera or stream was not there (absent, busy, a wrong address: within 10 s), or did not come back
  130  ctrl-C, 143 SIGTERM: videos and JSON are complete as far as they got
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    parser = new_parser(
        prog="pelee-detect",
        description="Find objects in pictures, folders of pictures, videos, cameras and streams.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="a picture, a folder (with its subfolders), a pattern such as 'photos/*.jpg', a video file, or - for "
        "pictures on stdin",
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
        "--conf", type=fraction, metavar="SCORE", help="show what scores above it, 0 to 1 (the model's own default)"
    )
    parser.add_argument(
        "--iou",
        type=fraction,
        default=0.45,
        metavar="IOU",
        help="boxes of a class that overlap more are one (%(default)s)",
    )
    parser.add_argument("--classes", metavar="A,B", help="look only for these: names or ids, with commas between")
    parser.add_argument(
        "--max-detections", type=positive_int, default=200, metavar="N", help="most objects a picture (%(default)s)"
    )
    parser.add_argument(
        "--every", type=positive_int, default=1, metavar="N", help="look only at every Nth frame (%(default)s)"
    )
    parser.add_argument(
        "--retry",
        type=non_negative_int,
        default=30,
        metavar="N",
        help="tries to connect again, in a row, to a stream that was lost, up to 2 s apart (%(default)s)",
    )
    out = parser.add_argument_group("outputs")
    out.add_argument("--output", type=Path, metavar="DIR", help="write annotated copies: .jpg and .mp4")
    out.add_argument(
        "--snapshot-every",
        type=positive_float,
        metavar="SECONDS",
        help="with --output: a picture of each video that often",
    )
    add_json_lines_option(out)
    out.add_argument("--show", action="store_true", help="show results in a window")
    out.add_argument(
        "--web",
        nargs="?",
        type=_place,
        const=("127.0.0.1", 8080),
        metavar="HOST:PORT",
        help="show results on a page in the browser (127.0.0.1:8080 unless told otherwise)",
    )
    out.add_argument(
        "--no-numbers", action="store_true", help="leave rates, ages and losses out of pictures of cameras and streams"
    )
    tracks = parser.add_argument_group("tracking")
    tracks.add_argument("--track", action="store_true", help="give objects in videos ids that last, and count them")
    tracks.add_argument(
        "--line",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2",
        help="count what crosses it, in pixels or in shares of the picture from 0 to 1; implies --track",
    )
    tracks.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="X1,Y1,X2,Y2,X3,Y3,...",
        help="count what is in it; implies --track",
    )
    add_inference_options(parser, "pelee-voc")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.inputs and not args.video:
        parser.error("nothing to look at; name a picture, a folder or a video, or give --video cam0")
    if args.show and args.web is not None:
        parser.error("--show and --web: results are shown in one place")
    if args.snapshot_every is not None and args.output is None:
        parser.error("--snapshot-every needs --output DIR, where its pictures go")
    return run(lambda: _detect(args))


def _detect(args: argparse.Namespace) -> int:
    """Do what the arguments say; everything that can be wrong with them is found before the work begins."""
    import cv2

    from data.json_lines import json_lines
    from detection.detector import Detector
    from detection.inference.options import DetectionOptions
    from detection.pipeline.file_pipeline import Pipeline, prepare_output
    from detection.pipeline.inputs import check_targets, collect
    from detection.pipeline.progress_bars import Bars
    from detection.pipeline.run_config import RunConfig, RunState
    from detection.pipeline.sinks import ImageCopies, JsonLines, VideoCopies
    from detection.pipeline.summary_table import print_report

    cv2.setNumThreads(1)  # the cores are the network's; OpenCV's share of a picture is too small to split
    items, problems = collect(args.inputs, args.video, args.output)
    counting = None
    if args.track or args.line or args.zone:
        import trackers  # noqa: F401  where it is missing, that is told before the work begins

        from detection.tracking.counting import Counting

        counting = Counting.parse(args.line, args.zone)
    if items and args.output is not None:
        check_targets(items, args.output)
        prepare_output(args.output)
    interrupted: KeyboardInterrupt | None = None
    to_stdout = args.json == "-"
    with ExitStack() as stack:
        window: View | None = None
        if args.show and items:
            from detection.display.window import Window

            window = stack.enter_context(Window("pelee-detect"))
        detector = None
        if items:
            detector = Detector.load(
                args.weights,
                runtime=args.runtime,
                device=args.device,
                precision=args.precision,
                size=args.input_size,
                mode="latency" if _soon(items) else "throughput",
            )
        bars = Bars(shown=not (to_stdout and sys.stdout.isatty()))
        for line in problems:
            bars.problem(line)
        if detector is None:
            return 2
        if args.web is not None:
            from detection.display.mjpeg_server import WebView

            page = stack.enter_context(WebView(*args.web))
            bars.note(f"results are shown at {page.address}")
            window = page
        classes = None if args.classes is None else [name.strip() for name in args.classes.split(",") if name.strip()]
        options = DetectionOptions(
            confidence=detector.card.default_confidence if args.conf is None else args.conf,
            iou=args.iou,
            max_detections=args.max_detections,
            classes=detector.class_ids(classes),
        )
        state = RunState(options, failed=len(problems))
        config = RunConfig(detector, args.every, counting, not args.no_numbers, args.retry)
        try:
            with _terminable(), json_lines(args.json) as write_line, bars:
                sinks: list[Sink] = []
                if args.output is not None:
                    sinks.append(ImageCopies(args.output, detector.timer))
                if write_line is not None:
                    sinks.append(JsonLines(write_line, detector.class_names))
                if args.output is not None:
                    sinks.append(VideoCopies(args.output, detector.timer, args.snapshot_every))
                if window is not None:
                    from detection.pipeline.view_sink import ViewSink

                    sinks.append(ViewSink(window, state, bars, args.output))
                Pipeline(config, state, sinks, bars).run(items)
        except KeyboardInterrupt as error:
            interrupted = error
    if state.summaries:
        print_report(state.summaries, detector.timer, state.seconds, detector.runtime.name, to_stderr=to_stdout)
        if args.output is not None:
            names = ", ".join(str(args.output / summary.item.target) for summary in state.summaries[:4])
            more = f" and {len(state.summaries) - 4} more" if len(state.summaries) > 4 else ""
            print(f"annotated copies: {names}{more}", file=sys.stderr if to_stdout else sys.stdout)
    return _exit_code(state, interrupted)


def _soon(items: "Sequence[InputSource]") -> bool:
    """Whether each picture is to be ready soon, and not as many as possible: one of them, one live source, a pipe."""
    from detection.video.source_names import STDIN

    return len(items) == 1 and (not items[0].video or items[0].live or items[0].source == STDIN)


def _exit_code(state: "RunState", interrupted: KeyboardInterrupt | None) -> int:
    if interrupted is not None:
        print("interrupted; what was written is complete as far as it got", file=sys.stderr)
        return 143 if isinstance(interrupted, _Terminated) else 130
    if state.lost:
        return 3
    if state.failed:
        return 1 if state.summaries else 2
    return 0


class _Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as ctrl-C does, so that files are finished; where signals come to this thread."""

    def terminate(*_: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # another thread than the main one
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _place(text: str) -> tuple[str, int]:
    """Parse HOST:PORT, or a port of this machine's own."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


if __name__ == "__main__":
    sys.exit(main())
