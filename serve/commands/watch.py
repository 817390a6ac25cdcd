"""`pelee-watch`: watches cameras and tells of events: who enters, leaves, crosses, stays, appears, vanishes."""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from data.command_line import new_parser, run
from data.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from detection.watch.event import Event, EventSink
    from detection.watch.settings import WatchSettings
    from detection.watch.watcher import Watcher
    from detection.watch.yaml_document import YamlDocument
    from serve.settings import ServeSettings
    from serve.watch.settings import StoreSettings
    from serve.watch.watch_store import WatchStore

PARTS = ("serve", "track", "train")  # extras of which "watch" has the modules that are used here
EPILOG = """\
examples:
  pelee-watch --check watch.yaml                          all faults of the settings, a line each
  pelee-watch watch.yaml --dry-run yard.mp4               events of a recording by the rules, as JSON Lines
  pelee-watch watch.yaml --dry-run yard.mp4 --camera yard
  pelee-watch watch.yaml

signals:
  SIGTERM, ctrl-C   finish open events and their clips, exit; a second one: exit at once

exit codes:
  0    stopped by a signal, or all cameras were recordings and are over; with --check: no fault
  2    could not start, or a fault: one line each on stderr
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command."""
    parser = new_parser(
        prog="pelee-watch",
        description="Watch cameras and tell of events by rules: snapshots, clips, MQTT, webhooks, a page.",
        epilog=EPILOG,
    )
    parser.add_argument("settings", type=Path, metavar="FILE", help="settings, a YAML file")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--check", action="store_true", help="check the settings, open nothing")
    modes.add_argument(
        "--dry-run", metavar="VIDEO", help="print the events of a video file as JSON Lines, store nothing"
    )
    parser.add_argument("--camera", metavar="NAME", help="camera whose rules --dry-run uses (that of a single camera)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.camera is not None and args.dry_run is None:
        parser.error("--camera: only with --dry-run")
    return run(lambda: _main(args), "watch", in_place_of=PARTS)


def _main(args: argparse.Namespace) -> int:
    if args.check:
        return _check(args.settings)
    if args.dry_run is not None:
        return _dry_run(args.settings, args.dry_run, args.camera)
    return _watch(args.settings)


def _read(path: Path) -> "tuple[YamlDocument, WatchSettings | None, StoreSettings | None]":
    """Read all sections; their faults are in the document."""
    from detection.watch.settings import WatchSettings
    from detection.watch.yaml_document import YamlDocument
    from serve.watch.settings import SECTIONS, read_store_settings

    try:
        import yaml  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError(
            "yaml is not installed, and this needs it; it comes with: pip install 'pelee[watch]'"
        ) from None
    document = YamlDocument.read(path)
    document.check_keys((*WatchSettings.keys(), *SECTIONS))
    settings = WatchSettings.of(document)
    return document, settings, read_store_settings(document, document.get("rules", default={}) or ())


def _report(document: "YamlDocument") -> int:
    for fault in document.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if document.faults else 0


def _check(path: Path) -> int:
    document, settings, _ = _read(path)
    if settings is not None and not document.faults:
        cameras, rules = len(settings.cameras), len(settings.rules)
        print(f"{path}: no fault; cameras: {cameras}, rules: {rules}")
    return _report(document)


def _dry_run(path: Path, video: str, camera: str | None) -> int:
    from data.json_lines import json_lines
    from data.termination_signals import termination_raises
    from detection.detector import Detector
    from detection.watch.replay import replay

    document, settings, _ = _read(path)
    if settings is None or document.faults:
        return _report(document)
    if camera is None:
        if len(settings.cameras) > 1:
            raise SettingsError(f"--dry-run: {path} has {len(settings.cameras)} cameras; choose one with --camera")
        camera = next(iter(settings.cameras))
    if camera not in settings.cameras:
        hint = did_you_mean(camera, settings.cameras) or f"known: {', '.join(settings.cameras)}"
        raise SettingsError(f"--camera {camera!r}: {path} has no such camera; {hint}")
    detector = Detector.load(settings.model)
    with termination_raises(), json_lines("-") as write_line:
        assert write_line is not None
        for event in replay(video, camera, settings, detector):
            write_line(json.dumps(event.to_json(), allow_nan=False))
    return 0


def _watch(path: Path) -> int:
    document, settings, store_settings = _read(path)
    if settings is None or store_settings is None or document.faults:
        return _report(document)
    from detection.detector import Detector
    from detection.watch.watcher import Watcher
    from serve.observability.json_logging import log, set_up_logging
    from serve.watch.watch_store import open_watch_store

    server = store_settings.server.serve_settings() if store_settings.server.enabled else None
    set_up_logging("info")
    detector = Detector.load(settings.model)
    rules = {camera: list(settings.rules_of(camera)) for camera in settings.cameras}
    with closing(open_watch_store(store_settings, rules)) as store:
        watcher = Watcher(
            settings, detector, _Announced(store), store_settings.folder, lambda line: log(logging.WARNING, line)
        )
        with _stopping(watcher), _serving(server, store, watcher):
            log(logging.INFO, "watching", cameras=list(settings.cameras), folder=str(store_settings.folder))
            watcher.run()
    log(logging.INFO, "stopped")
    return 0


@contextmanager
def _serving(settings: "ServeSettings | None", store: "WatchStore", watcher: "Watcher") -> Iterator[None]:
    """Serve the API for the duration of the block, where there are settings for it."""
    if settings is None:
        yield
        return
    from serve.watch.api.watch_server import running_server

    with running_server(settings, store, watcher) as address:
        print(f"events, clips and cameras: {address}/events; ctrl-C ends it", flush=True)
        yield


class _Announced:
    """Sink that logs the begin of each event, and passes all on."""

    def __init__(self, sink: "EventSink") -> None:
        self._sink = sink

    def begin(self, event: "Event") -> None:
        from serve.observability.json_logging import log

        fields = {name: value for name, value in event.to_json().items() if name != "boxes" and value is not None}
        log(logging.INFO, "event", **fields)
        self._sink.begin(event)

    def update(self, event: "Event") -> None:
        self._sink.update(event)

    def finish(self, event: "Event") -> None:
        self._sink.finish(event)

    def close(self) -> None:
        self._sink.close()


@contextmanager
def _stopping(watcher: "Watcher") -> Iterator[None]:
    """SIGTERM and ctrl-C stop the watcher; a second one acts as usual."""

    def stop(number: int, _: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        watcher.stop()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
