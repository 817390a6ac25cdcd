"""Names of video sources: classification, display without passwords, errors in words."""

import re
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

#: Recordings at http addresses.
RECORDINGS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
#: Live streams have these suffixes, too; at an http address the server's statement of a length decides.
# fmt: off
STREAMED = frozenset(
    {
        ".3g2", ".3gp", ".264", ".265", ".asf", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265",
        ".hevc", ".ivf", ".m2ts", ".m2v", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob",
        ".wmv", ".y4m",
    }
)
# fmt: on
VIDEO_SUFFIXES = RECORDINGS | STREAMED | {".m3u8", ".mjpeg", ".mjpg"}
LENGTH_TIMEOUT = 3.0  # seconds
STDIN = "-"
DEVICE = re.compile(r"cam\d+|/dev/video\d+")
ADDRESS = re.compile(r"(rtsps?|rtmp[est]{0,2}|https?|tcp|udp|rtp|srt|rist|mms[ht])://.+", re.IGNORECASE)
PATTERN = re.compile(r"test(?::(\d{1,5})x(\d{1,5})(?:@(\d{1,4}))?)?")


def is_live(text: str) -> bool:
    """Whether `text` names a live source: a camera, a stream, the test pattern.

    A recording at an http:// address, by its suffix, is a file.
    """
    return DEVICE.fullmatch(text) is not None or is_pattern(text) or (is_address(text) and not _is_recording(text))


def is_pattern(text: str) -> bool:
    """Whether `text` names the test pattern: test, test:1280x720 or test:1280x720@60."""
    return PATTERN.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Whether `text` is a network address, live or not."""
    return ADDRESS.fullmatch(text) is not None


def display_name(text: str) -> str:
    """Return an address without user, password and query, which may hold a key; anything else as it is.

    A password may contain any character, so everything up to the last @ is left out.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    _, at, place = rest.rpartition("@")
    return f"{scheme}://{re.split('[?#&;=]' if at else '[?#]', place)[0]}"


def stream_address(address: str) -> str:
    """Return an address as FFmpeg takes it: scheme in lower case, user and password percent-encoded.

    RTSP passwords are often written as they are, with any characters; there everything up to the last @ is user and
    password. Elsewhere a query may hold an @, and user and password end at the first slash. `%41` counts as encoded.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, place = rest.rpartition("@") if scheme.lower() in ("rtsp", "rtsps") else authority.rpartition("@")
    if not at or ("@" not in authority and re.fullmatch(r"[^:]*(:\d+)?", authority)):
        return f"{scheme.lower()}://{rest}"
    place = rest[len(user) + 1 :]
    name, colon, password = user.partition(":")
    quoted = [re.sub("%(?![0-9A-Fa-f]{2})", "%25", quote(part, safe="%")) for part in (name, password)]
    return f"{scheme.lower()}://{colon.join(quoted)}@{place}"


def reason_of(error: Exception) -> str:
    """Return FFmpeg's error message without its number, file and address."""
    import av

    if isinstance(error, (av.ExitError, TimeoutError)):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def local_path(text: str) -> str:
    """Return the path of a file:// address; anything else as it is."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() != "file":
        return text
    from urllib.request import url2pathname  # imports http and email

    return url2pathname(rest.removeprefix("localhost"))


def _is_recording(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    suffix = PurePosixPath(parts.path).suffix.lower()
    if parts.scheme.lower() not in ("http", "https"):
        return False
    return suffix in RECORDINGS or (suffix in STREAMED and _has_length(address))


@lru_cache(maxsize=256)
def _has_length(address: str) -> bool:
    """Whether an http server states the length of what lies at an address, as of a file, and unlike of a stream."""
    import av

    try:
        with av.open(stream_address(address), timeout=LENGTH_TIMEOUT, options={"analyzeduration": "0"}) as container:
            return container.size > 0
    except (av.FFmpegError, OSError, ValueError):
        return False  # whatever opens it says why it cannot
