"""Packets for FFmpeg's decoders and muxers from bytes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av


def padded_packet(data: bytes) -> "av.Packet":
    """Return a packet with a copy of `data`, followed by the zeros that FFmpeg requires (AV_INPUT_BUFFER_PADDING_SIZE).

    `av.Packet(data)` refers to the bytes themselves. Decoders and parsers read past their end, and take what lies there
    in memory for a part of the frame.
    """
    import av

    packet = av.Packet(len(data))
    if data:
        packet.update(data)
    return packet
