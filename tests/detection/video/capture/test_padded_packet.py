"""Padding of packets."""

import ctypes

import pytest

from detection.video.capture.padded_packet import padded_packet

PADDING = 64  # bytes, AV_INPUT_BUFFER_PADDING_SIZE


@pytest.mark.parametrize("size", [1, 63, 64, 1357, 100_000])
def test_zeros_follow_the_data(size: int) -> None:
    data = b"\xff" * size
    packet = padded_packet(data)
    assert bytes(packet) == data
    assert ctypes.string_at(packet.buffer_ptr + size, PADDING) == bytes(PADDING)


def test_an_empty_packet_ends_a_stream() -> None:
    assert padded_packet(b"").size == 0
