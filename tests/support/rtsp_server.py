"""RTSP server for tests: GStreamer's, which serves a film at its own pace to each client from the first frame.

`/usr/bin/python3 tests/support/rtsp_server.py FILM CODEC [options]` prints its port. FILM is a Matroska file, CODEC one
of h264, h265, jpeg, mpeg4; the mount point is /film. It needs the Debian packages python3-gi,
gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-good, and runs with Debian's own Python: it imports nothing of the
project. `RtspServer` runs it in another process; `missing_gstreamer` returns the reason for which it cannot run.
"""

import argparse
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

DEBIAN_PYTHON = "/usr/bin/python3"
IMPORTS = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')"


@lru_cache(maxsize=1)
def missing_gstreamer() -> str:
    """Return the reason for which the server cannot run; empty where it can."""
    try:
        found = subprocess.run([DEBIAN_PYTHON, "-c", IMPORTS], capture_output=True, timeout=60).returncode == 0
    except OSError:
        found = False
    return "" if found else "GStreamer's RTSP server is not installed (docs/contributing.md)"


class RtspServer:
    """The server in another process.

    Attributes:
        port: TCP port on 127.0.0.1.
    """

    def __init__(self, film: Path, codec: str, *options: str) -> None:
        command = [DEBIAN_PYTHON, __file__, str(film), codec, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def address(self, user: str = "") -> str:
        """Return the film's address; `user` is user:password@, or empty."""
        return f"rtsp://{user}127.0.0.1:{self.port}/film"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    import gi  # type: ignore[import-not-found]

    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]

    Gst.init(None)
    pay = {
        "h264": "rtph264pay config-interval=-1",
        "h265": "rtph265pay config-interval=-1",
        "jpeg": "rtpjpegpay",
        "mpeg4": "rtpmp4vpay config-interval=1",
    }
    audio = " audiotestsrc num-buffers=500 ! mulawenc ! rtppcmupay name=pay1 pt=0" if options.audio else ""
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( filesrc location={options.film} ! matroskademux ! queue ! {pay[options.codec]} pt=96 mtu={options.mtu} "
        f"! identity name=pay0{audio} )"
    )
    if options.udp:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)

    def drop(factory: Any, media: Any) -> None:
        numbers = iter(range(10**9))
        frames: list[bytes] = []  # RTP timestamps
        part = 0  # number of the packet in its frame

        def probe(pad: Any, info: Any) -> Any:
            nonlocal part
            buffer = info.get_buffer()
            head = buffer.extract_dup(0, 8)
            part += 1
            if head[4:] not in frames[-1:]:
                frames.append(head[4:])
                part = 0
            place = "first" if part == 0 else "last" if head[1] & 0x80 else "middle"
            lost = next(numbers) in options.lose or (str(len(frames) - 1), place) == tuple(options.lose_part)
            return Gst.PadProbeReturn.DROP if lost else Gst.PadProbeReturn.OK

        pad = media.get_element().get_by_name("pay0").get_static_pad("src")
        pad.add_probe(Gst.PadProbeType.BUFFER, probe)

    factory.connect("media-configure", drop)
    server = GstRtspServer.RTSPServer()
    server.set_service("0")
    server.set_address("127.0.0.1")
    server.get_mount_points().add_factory("/film", factory)
    if options.user:
        user, _, password = options.user.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        if options.digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def main() -> None:
    """Parse the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("film")
    parser.add_argument("codec", choices=("h264", "h265", "jpeg", "mpeg4"))
    parser.add_argument("--audio", action="store_true", help="a second stream, PCM")
    parser.add_argument("--udp", action="store_true", help="over UDP only")
    parser.add_argument("--user", default="", help="USER:PASSWORD, basic unless --digest")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--mtu", type=int, default=1400)
    parser.add_argument("--lose", type=int, nargs="*", default=(), help="numbers of RTP packets that are dropped")
    parser.add_argument(
        "--lose-part",
        nargs=2,
        default=(),
        metavar=("FRAME", "PART"),
        help="drop the first or last packet of a frame, or all between them (middle)",
    )
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
