"""HTTP server of a watch, in a thread beside the cameras."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from data.errors import PeleeError
from serve.observability.json_logging import log
from serve.settings import ServeSettings
from serve.watch.api.event_routes import DESCRIPTION, WatchCameras, add_watch
from serve.watch.api.watch_page import add_watch_page
from serve.watch.watch_store import WatchStore
from serve.web.app import create_app
from serve.web.server import Server, bind


@contextlib.contextmanager
def running_server(settings: ServeSettings, store: WatchStore, cameras: WatchCameras) -> Iterator[str]:
    """Serve API and page of a watch for the duration of the block; yields the address, such as http://127.0.0.1:8000.

    Signals are left to the caller. At the end running requests finish within `grace_s`, and streams end at once.

    Args:
        settings: of the server.
        store: of the events; closed after the block.
        cameras: of the watch.

    Raises:
        SettingsError: the address is in use or not permitted.
    """
    with bind(settings.host, settings.port, "`port` of the section `server`") as listener:
        app = create_app(settings, {}, (add_watch(store, cameras), add_watch_page), DESCRIPTION)
        server = Server(app, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        started = threading.Event()
        while not server.started:
            started.wait(0.01)
            if not thread.is_alive():
                raise PeleeError("the HTTP server could not start; the log has more")
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log(logging.INFO, "start", address=address, settings=settings.redacted())
        if not settings.api_keys and host not in ("127.0.0.1", "::1"):
            log(logging.WARNING, "no API keys are set: everyone who can reach this port sees events and clips")
        try:
            yield address
        finally:
            server.stop()
            thread.join(settings.grace_s + 5.0)
