"""Camera source (V4L2 and others, through OpenCV)."""

import os
import re
import time
from fractions import Fraction

from data.errors import ImageError
from detection.video.frames import CapturedFrame, Reception
from detection.video.source_names import display_name


class Camera:
    """Camera by number (`cam0`) or device path; a `Capture`, opened by OpenCV."""

    recording = False

    def __init__(self, address: str) -> None:
        """Open the camera.

        Args:
            address: `camN`, or a device path such as `/dev/video0`.

        Raises:
            ImageError: the camera is absent, busy or forbidden.
        """
        # OpenCV and its FFmpeg would print on stderr what becomes a one-line error here.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._name = display_name(address)
        number = re.fullmatch(r"cam(\d+)", address)
        self._capture = cv2.VideoCapture(int(number[1])) if number else cv2.VideoCapture(address, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            raise ImageError(
                f"{self._name}: the camera does not open; is it plugged in, free, and are you allowed to use it? "
                "cam0 is the first camera"
            )
        self.reception = Reception(time.monotonic())
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        claimed = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(claimed).limit_denominator(1001) if 1 <= claimed <= 240 else None

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame."""
        import cv2

        grabbed = self._capture.grab()
        captured = self.reception.received = time.monotonic()
        grabbed, image = self._capture.retrieve() if grabbed else (False, None)
        if not grabbed or image is None or image.size == 0:
            raise ImageError(f"{self._name}: the camera gives no images; is another program using it?")
        return CapturedFrame(captured, lambda: cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()
