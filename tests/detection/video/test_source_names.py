"""Names of video sources: live or not, passwords left out."""

import pytest

from detection.video.source_names import display_name, is_address, is_live, local_path, stream_address


@pytest.mark.parametrize(
    ("text", "live", "address"),
    [
        ("cam0", True, False),
        ("cam12", True, False),
        ("/dev/video3", True, False),
        ("test", True, False),
        ("test:1280x720@60", True, False),
        ("rtsp://host/x", True, True),
        ("rtsps://h/x", True, True),
        ("rtmp://h/x", True, True),
        ("tcp://h:1", True, True),
        ("udp://@:1234", True, True),
        ("http://host/x.mjpg", True, True),
        ("HTTPS://host/live/index.m3u8?key=a.mp4", True, True),
        ("http://host/clip.MP4?key=1", False, True),
        ("rtsp://host/clip.mp4", True, True),
        *(
            (text, False, False)
            for text in ("cam", "cam0.mp4", "webcam0", "clip.mp4", "/cam0", "rtsp:/x", "-", "tests")
        ),
    ],
)
def test_what_waits_is_told_from_what_does_not(text: str, live: bool, address: bool) -> None:
    assert (is_live(text), is_address(text)) == (live, address)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://user:secret@host:554/live?key=abc#x", "rtsp://host:554/live"),
        ("rtsp://host/live/1?user=a&password=secret", "rtsp://host/live/1"),
        ("rtsp://user:p@ss/w?rd#@host:8554/live", "rtsp://host:8554/live"),
        ("http://user:secret@host/x?mail=a@b&key=secret", "http://b"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("photos/a@b?c.jpg", "photos/a@b?c.jpg"),
    ],
)
def test_passwords_stay_out_of_names(address: str, name: str) -> None:
    assert display_name(address) == name


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("rtsp://host:554/live?key=abc", "rtsp://host:554/live?key=abc"),
        ("RTSP://host/Live", "rtsp://host/Live"),
        ("rtsp://user:secret@host/live", "rtsp://user:secret@host/live"),
        ("rtsp://user:p@ss/w?rd#1@host:8554/live", "rtsp://user:p%40ss%2Fw%3Frd%231@host:8554/live"),
        ("rtsp://user:50%@host/live", "rtsp://user:50%25@host/live"),
        ("rtsp://user:p%40ss@host/live", "rtsp://user:p%40ss@host/live"),
        ("rtsp://host:554/live?mail=a@b", "rtsp://host:554/live?mail=a@b"),
        ("rtsp://user@host/live", "rtsp://user@host/live"),
        ("http://user:p@ss@host/x?mail=a@b", "http://user:p%40ss@host/x?mail=a@b"),
        ("http://host/x?mail=a@b", "http://host/x?mail=a@b"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
    ],
)
def test_an_address_as_ffmpeg_takes_it(given: str, address: str) -> None:
    assert stream_address(given) == address


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a/b%20c.mp4", "/a/b c.mp4"),
        ("FILE://localhost/a.mp4", "/a.mp4"),
        ("a/b.mp4", "a/b.mp4"),
        ("http://host/a%20b", "http://host/a%20b"),
    ],
)
def test_the_path_of_a_file_address(text: str, path: str) -> None:
    assert local_path(text) == path
