"""Sound of a video file in its copy: packets as they are, or AAC; in time with the frames, and no longer than they."""

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from detection.video.video_file import VideoFile
from detection.video.video_writer import video_writer
from tests.support.rectangle_session import picture

# container, codec, sample rate, channels -> codec in the copy
KINDS = {
    ("mp4", "aac", 44100, "stereo"): "aac",
    ("mpegts", "aac", 48000, "mono"): "aac",
    ("mpegts", "ac3", 48000, "stereo"): "ac3",
    ("matroska", "flac", 44100, "stereo"): "flac",
    ("avi", "pcm_s16le", 22050, "mono"): "aac",
    ("mov", "pcm_mulaw", 8000, "mono"): "aac",
    ("avi", "adpcm_ima_wav", 44100, "stereo"): "aac",
}
BEEP = 0.5  # seconds from the first frame to the begin of the tone


def film(path: Path, form: str, codec: str, rate: int, layout: str, frames: int = 50) -> Path:
    """Write a video of 25 frames a second with silence, and a tone from `BEEP` on."""
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(128, 96))
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        times = np.arange(rate * frames // 25) / rate
        tone = np.where(times < BEEP, 0, 12_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        channels = 1 if layout == "mono" else 2
        block = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None], format="s16", layout=layout)
        block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def copy_of(source: Path, target: Path, frames: int | None = None) -> Path:
    """Copy `frames` frames as a run does."""
    with (
        VideoFile(source) as video,
        video_writer(target, video.size, video.rate, video.time_base, sound=video.sound) as writer,
    ):
        for frame in islice(video, frames):
            writer.write(frame.image, frame.time)
    return target


def heard(path: Path) -> tuple[str, float, float]:
    """Return the codec, the begin of the tone and the end of the sound, in seconds from the first frame."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        begin, end = None, 0.0
        for frame in container.decode(stream):
            if frame.sample_rate == 0 or frame.pts is None:
                continue
            samples = frame.to_ndarray().reshape(-1).astype(float)
            loud = np.abs(samples) > (0.1 if frame.format.name.startswith("flt") else 3000)
            start = float(frame.pts * frame.time_base)
            if begin is None and loud.any():
                begin = start + int(np.argmax(loud)) / len(samples) * frame.samples / frame.sample_rate
            end = start + frame.samples / frame.sample_rate
        assert begin is not None
        return stream.codec_context.name, begin, end


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_the_sound_in_time(tmp_path: Path, kind: tuple[str, str, int, str]) -> None:
    source = film(tmp_path / "film", *kind)
    codec, begin, end = heard(copy_of(source, tmp_path / "copy.mp4"))
    assert codec == KINDS[kind]
    assert begin == pytest.approx(BEEP, abs=0.08) and end == pytest.approx(2.0, abs=0.15)


def test_the_sound_ends_with_the_frames(tmp_path: Path) -> None:
    source = film(tmp_path / "film.mp4", "mp4", "aac", 44100, "stereo")
    _, begin, end = heard(copy_of(source, tmp_path / "copy.mp4", frames=20))
    assert begin == pytest.approx(BEEP, abs=0.08) and end == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_timestamps_that_restart_go_on(tmp_path: Path) -> None:
    once = film(tmp_path / "film.ts", "mpegts", "aac", 48000, "stereo").read_bytes()
    (tmp_path / "twice.ts").write_bytes(2 * once)
    _, begin, end = heard(copy_of(tmp_path / "twice.ts", tmp_path / "copy.mp4"))
    assert begin == pytest.approx(BEEP, abs=0.08) and end == pytest.approx(4.0, abs=0.25)


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    with video_writer(tmp_path / "mute.mp4", (64, 48), Fraction(25)) as writer:
        writer.write(picture(64, 48, (8, 8, 30, 30)))
    with VideoFile(tmp_path / "mute.mp4") as video:
        assert video.sound is None


@pytest.mark.slow
def test_a_damaged_sound_track_costs_no_frame(tmp_path: Path) -> None:
    content = bytearray(film(tmp_path / "film.ts", "mpegts", "aac", 48000, "stereo").read_bytes())
    packets = [
        i for i in range(0, len(content), 188) if int.from_bytes(content[i + 1 : i + 3], "big") & 0x1FFF == 0x101
    ]
    for place in packets[3:]:
        content[place + 30 : place + 180] = bytes(150)
    (tmp_path / "damaged.ts").write_bytes(bytes(content))
    with VideoFile(copy_of(tmp_path / "damaged.ts", tmp_path / "copy.mp4")) as video:
        assert len(list(video)) == 50
