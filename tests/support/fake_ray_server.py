"""Server with fake networks behind Ray Serve: `python -m tests.support.fake_ray_server PORT`, until SIGTERM."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from fastapi import FastAPI

from serve.cluster.ray_service import Scale, serve_on_ray
from serve.settings import ServeSettings
from serve.web.app import create_app
from tests.support.fake_server import AnyServer, FakeNetwork, fake_sources, settings
from tests.support.paths import ROOT
from tests.support.ports import free_port

ROUTE_SETTINGS = {"max_body_mb": 1.0, "max_files": 3, "deadline_s": 60}


def fake_app(chosen: ServeSettings) -> FastAPI:
    """Application of a replica."""
    return create_app(chosen, fake_sources(FakeNetwork()), wait_for_models=True)


@contextlib.contextmanager
def running_on_ray() -> Iterator[AnyServer]:
    """Serve by one replica, in processes of its own, until the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_ray_server", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Pelee serves"), process.communicate()
        server = AnyServer(f"http://127.0.0.1:{port}")
        yield server
        server.client.close()
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    import tests.support.fake_ray_server as module  # whose functions Ray finds by name in other processes

    sys.exit(serve_on_ray(settings(port=int(sys.argv[1]), **ROUTE_SETTINGS), Scale(), module.fake_app))
