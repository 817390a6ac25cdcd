"""Access units: assembly of RTP packets, prediction of the end, damage."""

import random

import pytest

from detection.video.capture.access_units import LEARN, AccessUnits, without_messages
from detection.video.capture.rtp_gaps import GAP_MARKS

FULL = 1386  # bytes of a full fragment


def slice_packets(size: int, first: bool, codec: str = "h264") -> list[bytes]:
    """One slice of a P frame as FFmpeg passes it on: a start code and a header, then full fragments and the rest."""
    header = b"\x00\x00\x00\x01" + (b"\x41" if codec == "h264" else b"\x02\x01")
    body = bytes([0x9A if first else 0x42]) + b"\xaa" * (size - 1)
    parts = [body[start : start + FULL] for start in range(0, size, FULL)]
    return [header + parts[0], *parts[1:]]


def frame_packets(sizes: list[int], codec: str = "h264") -> list[bytes]:
    return [packet for index, size in enumerate(sizes) for packet in slice_packets(size, index == 0, codec)]


def feed(units: AccessUnits, frames: list[list[bytes]]) -> list[tuple[int, bytes, bool, bool]]:
    """Push all packets; return (pts, data, damaged, whether it came with its own last packet) of each unit."""
    found = []
    for pts, packets in enumerate(frames):
        for index, packet in enumerate(packets):
            for unit in units.push(packet, pts):
                found.append((unit.pts, unit.data, unit.damaged, unit.pts == pts and index == len(packets) - 1))
    return found + [(unit.pts, unit.data, unit.damaged, False) for unit in units.flush()]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("slices", [1, 2, 4])
def test_a_frame_is_whole_and_after_some_frames_comes_with_its_last_packet(codec: str, slices: int) -> None:
    rng = random.Random(slices)
    frames = [frame_packets([rng.randint(50, 5000) for _ in range(slices)], codec) for _ in range(80)]
    found = feed(AccessUnits(codec), frames)
    assert [(pts, data) for pts, data, _, _ in found] == [(pts, b"".join(parts)) for pts, parts in enumerate(frames)]
    assert not any(damaged for _, _, damaged, _ in found)
    at_once = [early for _, _, _, early in found]
    assert not any(at_once[:LEARN])
    # Only where the last packet happens to be a full one must the next frame be waited for.
    late = [pts for pts in range(LEARN + 10, 80) if not at_once[pts]]
    assert all(len(frames[pts][-1]) > FULL - 30 for pts in late) and len(late) < 20


def test_a_wrong_prediction_is_damage_and_is_not_repeated() -> None:
    """A camera that begins to send two slices a frame."""
    frames = [frame_packets([5000]), *[frame_packets([300])] * 39, *[frame_packets([300, 300])] * 40]
    found = feed(AccessUnits("h264"), frames)
    damaged = [pts for pts, _, damage, _ in found if damage]
    assert damaged == [40]
    assert [pts for pts, data, damage, _ in found if data == b"".join(frames[-1])] == list(range(41, 80))


def test_slices_that_vary_in_number_are_never_cut() -> None:
    rng = random.Random(1)
    frames = [frame_packets([rng.randint(50, 5000) for _ in range(rng.randint(1, 6))]) for _ in range(400)]
    found = feed(AccessUnits("h264"), frames)
    whole = [data for _, data, damaged, _ in found if not damaged]
    assert len(whole) >= 399 and set(whole) <= {b"".join(parts) for parts in frames}


def test_an_even_split_is_not_taken_for_an_end() -> None:
    """Fragments of equal size, none of them full: as some servers split a frame."""
    packets = [b"\x00\x00\x00\x01\x41\x9a" + b"\xaa" * 900, b"\xaa" * 900, b"\xaa" * 899]
    frames = [frame_packets([1380]), *[packets] * 200]
    found = feed(AccessUnits("h264"), frames)
    assert [data for _, data, _, _ in found] == [b"".join(parts) for parts in frames]


def test_parameter_sets_and_messages_belong_to_the_frame_behind_them() -> None:
    units = AccessUnits("h264")
    sps, sei = b"\x00\x00\x00\x01\x67\x42\x00\x1e", b"\x00\x00\x00\x01\x06\x05" + b"\xaa" * 1380
    found = [*units.push(sps, 1), *units.push(sei, 2), *units.push(b"\xbb" * 700, 2)]
    for packet in frame_packets([3000]):
        found += units.push(packet, 2)
    found += units.push(slice_packets(100, first=True)[0], 3)
    (unit,) = found
    assert unit.data == sps + b"\x00" + b"".join(frame_packets([3000]))[1:]  # without the message
    assert unit.pts == 2 and not unit.damaged


def test_a_lost_first_slice_or_fragment_is_damage() -> None:
    for packets in (slice_packets(100, first=False), slice_packets(3000, first=True)[1:]):
        units = AccessUnits("h264")
        assert [unit for packet in packets for unit in units.push(packet, 1)] == []
        assert [unit.damaged for unit in units.push(slice_packets(100, first=True)[0], 2)] == [True]


def test_a_timestamp_that_changes_within_a_slice_does_not_cut_it() -> None:
    units = AccessUnits("h264")
    first, *rest = slice_packets(3000, first=True)
    found = [*units.push(first, 1), *(unit for packet in rest for unit in units.push(packet, 77)), *units.flush()]
    assert [(unit.data, unit.damaged) for unit in found] == [(first + b"".join(rest), False)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_gap_damages_the_frame_before_it_and_is_told_with_the_one_behind_it(codec: str) -> None:
    """Whatever the mark's timestamp is: it may be that of the packet behind it."""
    mark = GAP_MARKS[codec]
    head, middle, last = frame_packets([3000], codec)
    cases = {
        "within": [[head, mark, last], [head, middle, last], [head, middle, last]],
        "tail": [[head, middle], [mark, head, middle, last], [head, middle, last]],
        "between": [[head, middle, last, mark], [head, middle, last], [head, middle, last]],
    }
    for name, frames in cases.items():
        units = AccessUnits(codec)
        found = [unit for pts, packets in enumerate(frames) for packet in packets for unit in units.push(packet, pts)]
        found += units.flush()
        assert [(unit.damaged, unit.after_gap) for unit in found] == [(True, False), (False, True), (False, False)], (
            name
        )
        assert not any(mark in unit.data for unit in found)


def test_a_gap_behind_a_frame_that_was_passed_on_is_told_with_the_next() -> None:
    frames = [frame_packets([3000])] * 40
    units = AccessUnits("h264")
    found = []
    for pts, packets in enumerate(frames):
        marked = [GAP_MARKS["h264"], *packets] if pts == 30 else packets
        found += [unit for packet in marked for unit in units.push(packet, pts)]
    assert [unit.pts for unit in found] == list(range(40))
    assert not any(unit.damaged for unit in found)
    assert [unit.pts for unit in found if unit.after_gap] == [30]


RECOVERY = b"\x00\x00\x01\x06\x06\x01\xc4\x80"
USER_DATA = b"\x00\x00\x01\x06\x05\x60\x01\x80"  # of 96 bytes, it says, and has one
BOTH = b"\x00\x00\x01\x06\x01\x01\x10\x06\x01\xc4\x80"


def test_messages_are_left_out_but_for_recovery_points() -> None:
    frame = b"\x00\x00\x01\x41\x9a\xaa"
    for message, kept in ((RECOVERY, True), (USER_DATA, False), (BOTH, True), (b"\x00\x00\x01\x06", False)):
        assert without_messages(message + frame, "h264") == message * kept + frame
    hevc = b"\x00\x00\x01\x02\x01\xaa"
    assert without_messages(b"\x00\x00\x01\x4e\x01\x05\x60" + hevc, "hevc") == hevc
    assert without_messages(USER_DATA + frame, "mpeg4") == USER_DATA + frame
    for rest in (b"", b"\x00\x00\x01", b"\xaa" * 9):
        assert without_messages(rest, "h264") == rest
