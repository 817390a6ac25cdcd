"""Sound track of a video file, kept in its annotated copy."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from detection.video.source_names import is_address, stream_address

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer

COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})  # codecs that an mp4 and its players take
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
TIMEOUTS = (6.0, 20.0)  # seconds: opening of an address, and one read from it
JUMP = 10  # seconds; a larger step of the timestamps is a restart, as where recordings were concatenated


@dataclass(frozen=True, slots=True)
class Sound:
    """Reference to the sound of a video.

    Attributes:
        source: path or address.
        start: time of the first video frame in the file, in seconds.
    """

    source: str
    start: Fraction


def open_recording(source: str) -> "InputContainer":
    """Open a file or the address of a recording with FFmpeg."""
    import av

    if is_address(source):
        return av.open(stream_address(source), timeout=TIMEOUTS)
    return av.open(f"file:{source}")


class SoundTrack:
    """Copy of a sound track into an mp4: packet by packet where players take the codec, else encoded as AAC.

    A damaged packet is left out. The sound ends where the frames end.
    """

    def __init__(self, sound: Sound, output: "OutputContainer") -> None:
        """Open the source again, and add a stream to the output; without sound in the source nothing is added."""
        import av

        self._output = output
        self._input = open_recording(sound.source)
        self._start = sound.start
        self._offset, self._end = Fraction(0), Fraction(0)
        best = self._input.streams.best("audio")
        self._source = best if isinstance(best, av.AudioStream) else None
        if self._source is None:
            return
        self._encodes = self._source.codec_context.name not in COPIED
        if not self._encodes:
            self._stream = output.add_stream_from_template(self._source)
        else:
            context = self._source.codec_context
            rate = min(AAC_RATES, key=lambda rate: (rate < context.sample_rate, abs(rate - context.sample_rate)))
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def write_until(self, time: Fraction) -> None:
        """Write the sound that begins before `time`, in seconds from the first frame."""
        if self._source is None:
            return
        while self._next is not None and self._next[0] < time:
            moment, packet = self._next
            if moment >= 0:
                self._write(moment, packet)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Write the sound held in the encoder, and close the source."""
        if self._source is not None and self._encodes:
            self._output.mux(self._stream.encode(None))
        self.close()

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def _read(self) -> "Iterator[tuple[Fraction, av.Packet]]":
        """Yield packets with their times in seconds from the first frame, which grow."""
        import av

        assert self._source is not None
        last = None
        with suppress(av.FFmpegError, OSError):  # the frames' reader says that the file is damaged
            for packet in self._input.demux(self._source):
                if packet.pts is None or packet.time_base is None or packet.is_corrupt:
                    continue
                stamp = packet.pts * packet.time_base - self._start + self._offset
                if last is not None and not -1 <= stamp - last <= JUMP:
                    self._offset += self._end - stamp
                    stamp = self._end
                if last is not None and stamp <= last:
                    continue
                last, self._end = stamp, stamp + Fraction(packet.duration or 0) * packet.time_base
                yield stamp, packet

    def _write(self, moment: Fraction, packet: "av.Packet") -> None:
        import av

        assert self._source is not None
        if not self._encodes:
            packet.pts = packet.dts = round(moment / packet.time_base)
            packet.stream = self._stream
            self._output.mux(packet)
            return
        with suppress(av.FFmpegError):
            for frame in self._source.decode(packet):
                frame.time_base = Fraction(1, frame.sample_rate)
                frame.pts = round(moment * frame.sample_rate)
                moment += Fraction(frame.samples, frame.sample_rate)
                self._output.mux(self._stream.encode(frame))
