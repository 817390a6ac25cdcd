import io
from collections.abc import Iterator

import av
import numpy as np
import pytest

from detection.watch.recording.packet_ring import SLACK, PacketRing, StreamFormat

RATE = 10


def film(codec: str = "libx264", form: str = "mp4", frames: int = 200, gop: int = 10, b_frames: int = 0) -> io.BytesIO:
    """Return a film whose gray level is the frame's number, with a key frame every `gop` frames."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if codec == "libx264":
            stream.options = {"sc_threshold": "0", "x264-params": f"keyint={gop}:min-keyint={gop}"}
        for number in range(frames):
            image = np.full((48, 64, 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def packets_of(file: io.BytesIO) -> Iterator[tuple[av.Packet, av.VideoStream]]:
    with av.open(file) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield packet, container.streams.video[0]


def filled(seconds: float, *files: io.BytesIO) -> PacketRing:
    """Return a ring to which packets came at the film's rate, from 0 s on."""
    ring, number = PacketRing(seconds), 0
    for file in files:
        for packet, stream in packets_of(file):
            ring.add(packet, stream, number / RATE)
            number += 1
    return ring


def test_it_keeps_the_last_seconds_from_a_key_frame_on() -> None:
    ring = filled(4, film(frames=200))
    packets = ring.since(0)
    assert packets[0].key and packets[-1].number == 199
    assert 20 - 0.1 - 4 - SLACK - 1 <= packets[0].time <= 20 - 4 - SLACK
    assert ring.size == sum(len(packet.data) for packet in packets)
    assert len(ring.since(195)) == 5 and ring.since(500) == []


def test_a_clip_begins_at_the_key_frame_before() -> None:
    ring = filled(10, film(frames=200))
    assert ring.start(15.55) == 150 and ring.start(15.0) == 150 and ring.start(14.99) == 140
    assert ring.start(0) == ring.since(0)[0].number  # what is left
    assert PacketRing(5).start(3) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection.watch.recording.packet_ring.LARGEST", 3000)
    ring = filled(60, film(frames=200, gop=200))
    assert 0 < ring.size <= 3000
    assert ring.since(0)[-1].number == 199 and ring.start(20) == 200


@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264", "mpegts"), ("libx265", "mpegts"), ("mpeg4", "avi"), ("libx264", "mp4"), ("mjpeg", "avi")],
)
def test_key_frames_are_found_in_the_coded_frames(codec: str, form: str) -> None:
    """Without the demuxer's mark where the format has start codes; with it elsewhere."""
    expected = [packet.is_keyframe for packet, _ in packets_of(film(codec, form, 40))]
    found = []
    for packet, stream in packets_of(film(codec, form, 40)):
        form_ = StreamFormat(stream)
        bare = av.Packet(bytes(packet))
        found.append(form_.is_key(packet if form == "mp4" or codec == "mjpeg" else bare, bytes(packet)))
    assert found == expected and any(expected)
