"""Display, camera devices, and the video codecs of PyAV."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

CAMERAS = Path("/dev")
CAMERA_NAMES = Path("/sys/class/video4linux")
# Codecs of common video files and cameras, and those that annotated videos and streams are written in.
DECODERS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
ENCODERS = ("libx264", "mpeg4", "mjpeg")


def display() -> tuple[str, dict[str, Any]]:
    """Return the display that `pelee-detect --show` would use; it is not opened."""
    if not sys.platform.startswith("linux"):
        return f"the desktop of {sys.platform}", {"display": sys.platform}
    for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
        if value := os.environ.get(variable):
            return f"{variable}={value}", {"display": value, "variable": variable}
    return "none: DISPLAY is not set", {"display": None, "variable": None}


def cameras() -> tuple[str, dict[str, Any]]:
    """Return the camera devices of Linux with their names, and whether this user may read them."""
    if not sys.platform.startswith("linux"):
        return "not listed on this system; try: pelee-detect cam0", {"devices": None}
    devices = sorted(CAMERAS.glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
    found = [
        {"device": str(device), "name": _camera_name(device), "readable": os.access(device, os.R_OK | os.W_OK)}
        for device in devices
    ]
    words = [f"{one['device']} ({one['name']}{'' if one['readable'] else ', no permission'})" for one in found]
    return ", ".join(words) or f"none: no {CAMERAS}/video*", {"devices": found}


def codecs() -> tuple[str, dict[str, Any]]:
    """Return which of `DECODERS` and `ENCODERS` PyAV has, and its FFmpeg library."""
    if importlib.util.find_spec("av") is None:
        return "not installed: av", {"decoders": None, "encoders": None}
    import av

    decoders = {name: _has(av, name, "r") for name in DECODERS}
    encoders = {name: _has(av, name, "w") for name in ENCODERS}
    library = ".".join(map(str, av.library_versions.get("libavcodec", ())))
    text = f"reads {_list(decoders)}; writes {_list(encoders)}; libavcodec {library}"
    return text, {"decoders": decoders, "encoders": encoders, "libavcodec": library}


def _has(av: Any, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)
    except ValueError:  # UnknownCodecError
        return False
    return True


def _list(found: dict[str, bool]) -> str:
    missing = [name for name, there in found.items() if not there]
    return " ".join(name for name, there in found.items() if there) + (f" (not {' '.join(missing)})" if missing else "")


def _camera_name(device: Path) -> str:
    try:
        return (CAMERA_NAMES / device.name / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "unknown"
