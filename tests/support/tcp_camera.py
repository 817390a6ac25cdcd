"""A camera for tests: MPEG-TS over tcp at real pace, each frame with its number drawn as bits.

`python tests/support/tcp_camera.py [--port 0] [--rate 30] [--size 640x480] [--epoch T] [--one]` says its port and its
epoch: frame n is taken at epoch + n / rate of the machine's monotonic clock, so that whoever reads the number of a
frame knows its age. It serves each client from the present frame on; with --one only one at a time, as cameras do.
`TcpCamera` runs it in a process of its own, which can be killed and frozen.
"""

import argparse
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from detection.video.capture.synthetic_pattern import draw_number, read_number

RED, DARK = (230, 20, 20), (40, 40, 40)


class TcpCamera:
    """The camera in another process.

    Attributes:
        address: tcp://127.0.0.1:PORT.
        rate: frames a second.
    """

    def __init__(self, rate: int = 30, size: str = "640x480", one: bool = False) -> None:
        self.rate = rate
        self._options = ["--rate", str(rate), "--size", size, *(["--one"] if one else [])]
        self._port, self._epoch = 0, time.monotonic()
        self.start()

    def start(self) -> None:
        """Start it, again on the same port and with the same epoch after it was killed."""
        command = [sys.executable, __file__, "--port", str(self._port), "--epoch", repr(self._epoch), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self.address = f"tcp://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """As by a pulled plug."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def freeze(self) -> None:
        """Keep connections open, and send nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._process.send_signal(signal.SIGCONT)

    def age(self, image: np.ndarray) -> float:
        """Seconds since a frame was taken."""
        return time.monotonic() - self._epoch - read_number(image) / self.rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


class _Socket:
    """What PyAV writes to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        return len(data)


def frame_at(number: int, width: int, height: int) -> np.ndarray:
    """Dark, with a red square that wanders, and its number at the bottom."""
    image = np.full((height, width, 3), DARK, np.uint8)
    side = height // 4
    x = 4 * number % (width - side)
    image[side : 2 * side, x : x + side] = RED
    draw_number(image, number)
    return image


def serve(connection: socket.socket, options: argparse.Namespace, size: tuple[int, int]) -> None:
    """Send frames to one client until it leaves."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    number = int((time.monotonic() - options.epoch) * options.rate) + 1
    first = number
    try:
        # With their lengths, so that who reads them need not wait for the next one to know where one ends.
        muxer = {"flush_packets": "1", "omit_video_pes_length": "0"}
        with av.open(_Socket(connection), "w", format="mpegts", options=muxer) as container:
            x264 = {"preset": "ultrafast", "tune": "zerolatency", "g": str(options.rate // 2)}
            stream = container.add_stream("libx264", rate=options.rate, options=x264)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            while True:
                time.sleep(max(0.0, options.epoch + number / options.rate - time.monotonic()))
                frame = av.VideoFrame.from_ndarray(frame_at(number, *size))
                frame.pts, frame.time_base = number - first, Fraction(1, options.rate)
                container.mux(stream.encode(frame))
                number = max(number + 1, int((time.monotonic() - options.epoch) * options.rate))
    except (OSError, av.FFmpegError):  # it has left; in C the error of a callback is FFmpeg's own
        pass
    finally:
        connection.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--epoch", type=float, default=time.monotonic())
    parser.add_argument("--one", action="store_true")
    options = parser.parse_args()
    width, height = (int(part) for part in options.size.split("x"))
    server = socket.create_server(("127.0.0.1", options.port))
    print(server.getsockname()[1], flush=True)
    client: threading.Thread | None = None
    while True:
        connection, _ = server.accept()
        if options.one and client is not None and client.is_alive():
            connection.close()
            continue
        client = threading.Thread(target=serve, args=(connection, options, (width, height)), daemon=True)
        client.start()


if __name__ == "__main__":
    main()
