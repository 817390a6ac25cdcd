"""`pelee-detect`: detection in images, videos, cameras and streams; writes annotated copies, JSON Lines, a table."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from data.command_line import idle_blas_threads, run
from detection.commands.detect_arguments import parse_arguments
from detection.commands.options import parse_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from data.label_formats.label_writer import LabelWriter
    from detection.detector import Detector
    from detection.display.view import View
    from detection.pipeline.annotated_copies import WrittenCopies
    from detection.pipeline.inputs import InputSource
    from detection.pipeline.run_config import RunState
    from detection.pipeline.run_progress import Progress
    from detection.pipeline.sinks import Sink
    from detection.tracking.counting import Counting


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parse_arguments(argv)
    return run(lambda: _detect(args))


def _detect(args: argparse.Namespace) -> int:
    """Run the pipeline; all checks of the arguments come before the work."""
    with idle_blas_threads():
        import cv2

    from data.json_output import check_json_target, is_stdout
    from detection.pipeline.inputs import check_targets, collect, prepare_output

    cv2.setNumThreads(1)  # the network uses the cores; OpenCV's operations on one image are too short to split
    items, problems = collect(args.inputs, args.video, args.output)
    counting = _parse_counting(args)
    tiling = parse_tiles(args)
    check_json_target(args.json)
    _check_labels(args, items)
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
        latency = tiling is None and _wants_latency(items)
        detector = _load_detector(args, items, "latency" if latency else "throughput") if items else None

        from data.json_lines import json_lines
        from data.termination_signals import termination_raises
        from detection.inference.options import model_options
        from detection.pipeline.annotated_copies import WrittenCopies
        from detection.pipeline.file_pipeline import Pipeline
        from detection.pipeline.run_config import RunConfig, RunState
        from detection.pipeline.run_progress import ProgressBars
        from detection.pipeline.summary_table import print_report

        bars = ProgressBars(shown=not (to_stdout and sys.stdout.isatty()))
        for line in problems:
            bars.problem(line)
        if counting is not None and not all(item.moving for item in items):
            bars.note("only videos are tracked, not images: their results have no tracks and counts")
        if detector is None:
            return 2
        if hint := _slow_way(args, detector):
            bars.note(hint)
        if args.web is not None:
            from detection.display.mjpeg_server import WebView

            page = stack.enter_context(WebView(*args.web))
            bars.note(f"results are shown at {page.address}")
            view = page
        options = model_options(
            detector.card, args.conf, args.iou, args.max_detections, detector.class_ids(args.classes)
        )
        labels: LabelWriter | None = None
        if args.save_labels is not None:
            from data.label_formats.label_registry import open_label_writer

            labels = stack.enter_context(open_label_writer(args.save_labels, args.labels, detector.class_names))
        written = WrittenCopies()
        state = RunState(options, failed=len(problems))
        config = RunConfig(detector, args.every, counting, not args.no_numbers, args.retry, tiling)
        try:
            with termination_raises(), json_lines(args.json) as write_line, bars:
                sinks = _make_sinks(args, items, detector, state, bars, view, write_line, labels, written, protected)
                Pipeline(config, state, sinks, bars).run(items)
        except KeyboardInterrupt as error:
            interrupted = error
    if state.summaries:
        print_report(state.summaries, detector.timer, state.seconds, detector.runtime.name, to_stderr=to_stdout)
        if written.count:
            names = ", ".join(str(path) for path in written.first)
            more = f" and {written.count - len(written.first)} more" if written.count > len(written.first) else ""
            print(f"annotated copies: {names}{more}", file=sys.stderr if to_stdout else sys.stdout)
    if labels is not None and labels.images:
        number = f"{labels.images:,} image{'s' * (labels.images > 1)}"
        print(f"labels ({args.save_labels}): {number} in {args.labels}", file=sys.stderr if to_stdout else sys.stdout)
    return _exit_code(state, interrupted)


def _load_detector(args: argparse.Namespace, items: "Sequence[InputSource]", mode: str) -> "Detector":
    """Load the model in a thread, and import meanwhile what the run needs: OpenVINO loads without Python's lock."""
    from detection.detector import Detector

    with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
        loading = pool.submit(
            Detector.load,
            args.weights,
            runtime=args.runtime,
            device=args.device,
            precision=args.precision,
            size=args.input_size,
            mode=mode,
        )
        import detection.pipeline.annotated_copies
        import detection.pipeline.file_pipeline  # noqa: F401

        if any(item.video for item in items):
            import av  # noqa: F401
        if not all(item.video for item in items):
            from PIL import Image

            Image.preinit()  # the common decoders
        return loading.result()


def _check_labels(args: argparse.Namespace, items: "Sequence[InputSource]") -> None:
    """Raise `SettingsError` where `--save-labels` has an input other than images of files; prepare its folder."""
    from data.errors import SettingsError
    from data.label_formats.label_writer import prepare_label_folder

    if args.save_labels is None:
        return
    other = next((item for item in items if item.video), None)
    if other is not None:
        raise SettingsError(
            f"--save-labels takes files of images only, not {other.name}; write a video's frames as images first"
        )
    if items:
        prepare_label_folder(args.labels)


def _parse_counting(args: argparse.Namespace) -> "Counting | None":
    """Return the lines and zones; None without tracking."""
    if not (args.track or args.line or args.zone):
        return None
    import trackers  # noqa: F401  a missing package is an error before the work begins

    from detection.tracking.counting import Counting

    return Counting.parse(args.line, args.zone)


def _make_sinks(
    args: argparse.Namespace,
    items: "Sequence[InputSource]",
    detector: "Detector",
    state: "RunState",
    progress: "Progress",
    view: "View | None",
    write_line: "Callable[[str], None] | None",
    labels: "LabelWriter | None",
    written: "WrittenCopies",
    protected: "Collection[str]",
) -> "list[Sink]":
    """Return the sinks in their order: each result's copy comes before its line, and the view before the encoding."""
    from detection.pipeline.annotated_copies import ImageCopies, VideoCopies
    from detection.pipeline.sinks import JsonLines, LabelSink

    sinks: list[Sink] = []
    if args.output is not None:
        sinks.append(ImageCopies(args.output, detector.timer, written, protected))
    if write_line is not None:
        sinks.append(JsonLines(write_line, detector.class_names))
    if labels is not None:
        sinks.append(LabelSink(labels))
    if view is not None:
        from detection.pipeline.view_sink import ViewSink

        sinks.append(ViewSink(view, state, progress, args.output, [item for item in items if item.live]))
    if args.output is not None:  # after the view: encoding delays no shown frame
        sinks.append(VideoCopies(args.output, detector.timer, args.snapshot_every, written, protected))
    return sinks


def _slow_way(args: argparse.Namespace, detector: "Detector") -> str | None:
    if not detector.runtime.name.startswith("torch "):  # the usual case, without further imports
        return None
    from pelee.runtime.session import RuntimeOptions
    from pelee.runtime.slow_way import slow_way

    asked = RuntimeOptions(args.runtime, args.device, args.precision, size=args.input_size)
    return slow_way(args.weights, detector.runtime.name, asked)


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


if __name__ == "__main__":
    sys.exit(main())
