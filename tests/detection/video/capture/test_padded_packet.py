"""Padding of packets."""

import ctypes

import pytest

from detection.video.capture.padded_packet import padded_packet
from tests.support.paths import ROOT

PADDING = 64  # bytes, AV_INPUT_BUFFER_PADDING_SIZE


@pytest.mark.parametrize("size", [1, 63, 64, 1357, 100_000])
def test_zeros_follow_the_data(size: int) -> None:
    data = b"\xff" * size
    packet = padded_packet(data)
    assert bytes(packet) == data
    assert ctypes.string_at(packet.buffer_ptr + size, PADDING) == bytes(PADDING)


def test_an_empty_packet_ends_a_stream() -> None:
    assert padded_packet(b"").size == 0


def test_packets_are_made_here_only() -> None:
    files = [
        path
        for package in ("data", "detection", "pelee", "serve", "weights")
        for path in (ROOT / package).rglob("*.py")
    ]
    found = [path.name for path in files if "= av.Packet(" in path.read_text(encoding="utf-8")]
    assert found == ["padded_packet.py"]
