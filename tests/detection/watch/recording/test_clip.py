import ctypes
import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from data.errors import ImageError
from detection.watch.recording.clip import Clip
from detection.watch.recording.packet_ring import PacketRing
from tests.detection.video.capture.test_padded_packet import PADDING
from tests.detection.watch.recording.test_packet_ring import RATE, filled, film, packets_of


def levels(path: Path) -> list[int]:
    """Gray levels of a clip's frames, which are their numbers in the film."""
    with av.open(str(path)) as container:
        return [round(float(frame.to_ndarray(format="gray").mean())) for frame in container.decode(video=0)]


def assert_near(found: list[int], expected: range) -> None:
    assert len(found) == len(expected)
    assert all(abs(one - other) <= 4 for one, other in zip(found, expected, strict=True)), found


@pytest.mark.slow
def test_packets_are_copied_from_the_key_frame_before(tmp_path: Path) -> None:
    source = film(frames=200)
    ring = filled(30, source)
    clip = Clip(tmp_path / "yard" / "a.mp4", ring, 5.55)
    clip.advance(9.0)
    assert not (tmp_path / "yard" / "a.mp4").exists()
    clip.advance(12.0)
    assert clip.close()
    assert_near(levels(tmp_path / "yard" / "a.mp4"), range(50, 121))
    source.seek(0)
    originals = [bytes(packet) for packet, _ in packets_of(source)]
    copied = [bytes(packet) for packet, _ in packets_of(io.BytesIO((tmp_path / "yard" / "a.mp4").read_bytes()))]
    assert copied == originals[50:121]
    assert [path.name for path in (tmp_path / "yard").iterdir()] == ["a.mp4"]


def test_the_muxer_gets_padded_packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paddings: list[bytes] = []
    original = av.open

    class Output:
        def __init__(self, container: av.container.OutputContainer) -> None:
            self._container = container

        def mux(self, packet: av.Packet) -> None:
            paddings.append(ctypes.string_at(packet.buffer_ptr + packet.size, PADDING))
            self._container.mux(packet)

        def __getattr__(self, name: str) -> object:
            return getattr(self._container, name)

    ring = filled(30, film(frames=60))
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: Output(original(*args, **kwargs)))
    clip = Clip(tmp_path / "a.mp4", ring, 0)
    clip.advance()
    assert clip.close()
    assert paddings == [bytes(PADDING)] * 60


def test_a_browser_can_play_it_from_its_first_bytes(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.mp4", filled(30, film(frames=60)), 2)
    clip.advance()
    clip.close()
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"avc1" in data
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert float(container.duration / av.time_base) == pytest.approx(4.0, abs=0.15)
        times = [float(packet.dts * stream.time_base) for packet in container.demux(video=0) if packet.size]
    assert times[0] == 0 and all(b - a == pytest.approx(0.1, abs=0.01) for a, b in pairwise(times))


def test_frames_that_refer_to_later_ones(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.mp4", filled(30, film(frames=60, b_frames=2)), 2)
    clip.advance()
    clip.close()
    found = levels(tmp_path / "a.mp4")
    assert len(found) == 40 and found == sorted(found)


def test_packets_with_start_codes_and_without_decoding_times(tmp_path: Path) -> None:
    """As they come from RTSP."""
    ring = PacketRing(30)
    for number, (packet, stream) in enumerate(packets_of(film(form="mpegts", frames=60))):
        bare = av.Packet(bytes(packet))
        bare.pts = packet.pts
        ring.add(bare, stream, number / RATE)
    clip = Clip(tmp_path / "a.mp4", ring, 1)
    clip.advance()
    assert clip.close()
    assert_near(levels(tmp_path / "a.mp4"), range(10, 60))


@pytest.mark.parametrize("jump", [-1000, 1000])
def test_a_jump_of_the_streams_clock_is_left_out(tmp_path: Path, jump: int) -> None:
    ring = PacketRing(30)
    for number, (packet, stream) in enumerate(packets_of(film(frames=60))):
        moved = av.Packet(bytes(packet))
        shift = round(jump / Fraction(stream.time_base)) if number >= 30 else 0
        moved.pts, moved.dts, moved.is_keyframe = packet.pts + shift, packet.dts + shift, packet.is_keyframe
        ring.add(moved, stream, number / RATE)
    clip = Clip(tmp_path / "a.mp4", ring, 0)
    clip.advance()
    clip.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.duration / av.time_base) == pytest.approx(6.0, abs=0.2)


def test_a_new_connection_ends_the_clip(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.mp4", filled(30, film(frames=40), film(frames=40)), 1)
    clip.advance()
    assert clip.close()
    assert_near(levels(tmp_path / "a.mp4"), range(10, 40))


def test_without_packets_there_is_no_file(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.mp4", PacketRing(5), 3)
    clip.advance()
    assert not clip.close() and list(tmp_path.iterdir()) == []


def test_a_clip_that_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.mp4", filled(30, film(frames=40)), 1)
    clip.advance()
    clip.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "yard").write_text("a file")
    clip = Clip(tmp_path / "yard" / "a.mp4", filled(30, film(frames=40)), 1)
    with pytest.raises(ImageError, match=r"^a.mp4: the clip is not written \([^\n]+\)$"):
        clip.advance()
