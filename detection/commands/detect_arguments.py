"""Arguments of `pelee-detect`: the parser, and the checks that need no model."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.command_line import new_parser, non_negative_int, positive_float, positive_int
from data.label_formats.label_registry import LABEL_FORMATS
from detection.commands.options import add_detection_options, add_tiles_options
from pelee.commands.options import add_inference_options, add_json_lines_option

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
WEB_ADDRESS = "127.0.0.1:8080"


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
    add_detection_options(parser)
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
    out.add_argument(
        "--save-labels",
        choices=tuple(LABEL_FORMATS),
        metavar="FORMAT",
        help=f"write a dataset of the images with what was found, to correct and to train on: "
        f"{', '.join(LABEL_FORMATS)}; images only, no videos",
    )
    out.add_argument(
        "--labels", type=Path, metavar="DIR", help="with --save-labels: the new folder of the dataset and its images"
    )
    out.add_argument("--show", action="store_true", help="show results in a window")
    out.add_argument(
        "--web",
        nargs="?",
        const=WEB_ADDRESS,
        metavar="HOST:PORT",
        help=f"show results on a web page (default address {WEB_ADDRESS})",
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
    add_tiles_options(parser)
    add_inference_options(parser, "pelee-voc")
    return parser


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the arguments; `web` is (host, port) or None. A usage error exits with code 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.web is not None:
        address = _host_port(args.web)
        if address is None and Path(args.web).exists():  # `--web clip.mp4` is the page, and an input
            args.inputs.insert(0, args.web)
            address = _host_port(WEB_ADDRESS)
        if address is None:
            parser.error(f"--web {args.web!r}: expected HOST:PORT, and there is no such file")
        args.web = address
    if args.output is not None and not args.output.exists() and _is_name_of_file(args.output):
        parser.error(f"--output {args.output} looks like a file; name a folder, copies keep the names of their inputs")
    if not args.inputs and not args.video:
        parser.error("no input; name an image, a folder or a video, or give --video cam0")
    if args.show and args.web is not None:
        parser.error("--show and --web exclude each other")
    if args.snapshot_every is not None and args.output is None:
        parser.error("--snapshot-every needs --output DIR, the folder of its images")
    if (args.save_labels is None) != (args.labels is None):
        given, other = ("--labels", "--save-labels") if args.save_labels is None else ("--save-labels", "--labels")
        parser.error(f"{given} needs {other}: --save-labels {'|'.join(LABEL_FORMATS)} --labels DIR, a new folder")
    return args


def _is_name_of_file(path: Path) -> bool:
    """Whether a path has the suffix of an image, a video or JSON."""
    from data.images.image_io import IMAGE_SUFFIXES
    from data.json_output import JSON_SUFFIXES
    from detection.video.source_names import VIDEO_SUFFIXES

    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES | JSON_SUFFIXES


def _host_port(text: str) -> tuple[str, int] | None:
    """Parse HOST:PORT, or the port of a loopback address; None for anything else."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        return None
    return host.strip("[]") or "127.0.0.1", int(port)
