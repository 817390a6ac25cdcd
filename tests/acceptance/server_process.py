"""Server process of the acceptance programs."""

import asyncio
import contextlib
import io
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.errors import SettingsError
from tests.acceptance.http_client import Connection, get

if TYPE_CHECKING:
    from serve.settings import ServeSettings


@contextmanager
def inside(settings: "ServeSettings") -> Iterator[int]:
    """Serve in a thread of this process until the block ends, and give the port; the log is written, to nowhere."""
    from serve.observability.json_logging import set_up_logging
    from serve.web.app import create_app
    from serve.web.server import Server, bind

    class Nowhere(io.TextIOBase):
        def write(self, text: str) -> int:
            return len(text)

    with contextlib.redirect_stderr(Nowhere()):
        set_up_logging(settings.log_level)
    with bind("127.0.0.1", 0) as listener:
        server = Server(create_app(settings), settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.service.ready:
                if server.app.state.failure is not None:
                    raise server.app.state.failure
                time.sleep(0.05)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def started(flags: Sequence[str], leak: bool = False) -> Iterator[int]:
    """Run a server as a process until the block ends, and give its port once it is ready."""
    module = ["-m", "tests.acceptance.service_load", "leaking-server", "--"] if leak else ["-m", "serve.commands.serve"]
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, *module, "--port", "0", *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            address = re.search(r"http://[^ ;]+:(\d+)", process.stdout.readline())
            if address is None or not asyncio.run(_ready(int(address[1]), process)):
                process.wait(60)
                log.seek(0)
                raise SettingsError(f"the server did not start: {log.read().strip().splitlines()[-1]}")
            yield int(address[1])
        finally:
            process.terminate()
            process.wait(60)


async def _ready(port: int, process: "subprocess.Popen[str]") -> bool:
    """Wait until it is, or has ended."""
    async with Connection(port) as connection:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                if (await connection.ask(get("/readyz"))).status == 200:
                    return True
            await asyncio.sleep(0.1)
    return False
