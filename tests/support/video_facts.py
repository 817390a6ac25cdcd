"""Facts of a video file, as PyAV reads them."""

from fractions import Fraction
from pathlib import Path

import av


def facts(path: Path) -> tuple[int, int, int, Fraction | None, str, str | None]:
    """(decoded frames, width, height, rate, codec, pixel format), told by FFmpeg."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return count, context.width, context.height, stream.average_rate, context.name, context.pix_fmt
