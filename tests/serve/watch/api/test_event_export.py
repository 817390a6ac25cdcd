import io
import json
import zipfile
from pathlib import Path

from serve.watch.api import event_export as module
from serve.watch.api.event_export import zip_of_events
from tests.support.watch_events import make_event, write_files


def test_files_come_in_pieces_and_unchanged(tmp_path: Path) -> None:
    event = make_event(1)
    files = write_files(tmp_path, event, clip=3 * module.CHUNK + 17)
    pieces = list(zip_of_events(tmp_path, [event.to_json()]))
    assert max(map(len, pieces)) < 1.1 * module.CHUNK
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("events.jsonl")) == event.to_json()
        for path in (files.snapshot, files.boxed_snapshot, files.clip):
            assert archive.read(path.relative_to(tmp_path).as_posix()) == path.read_bytes()


def test_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    events = [make_event(1), make_event(2)]
    write_files(tmp_path, events[0]).clip.unlink()
    content = b"".join(zip_of_events(tmp_path, [event.to_json() for event in events]))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 3


def test_nothing_is_read_ahead(tmp_path: Path) -> None:
    """An export that the client gives up reads no further file."""
    for number in (1, 2):
        write_files(tmp_path, make_event(number))
    pieces = zip_of_events(tmp_path, [make_event(number).to_json() for number in (1, 2)])
    assert b"events.jsonl" in next(pieces)
    pieces.close()
