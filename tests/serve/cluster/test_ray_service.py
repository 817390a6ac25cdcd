"""Service behind Ray Serve: the same answers, refusals, replicas that are killed and replaced."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec

import httpx
import pytest
import yaml
from websockets.sync.client import connect

from data.errors import SettingsError
from detection.detector import Detector
from serve.cluster.ray_service import Scale, application
from tests.support.paths import ROOT
from tests.support.ports import free_port

# Importing it takes seconds, for which every process of the tests would wait.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not here; it is in the extra ray")

IMAGE = ROOT / "data" / "samples" / "chelsea.jpg"
KEY = "a-key-of-the-tests-only"
HEADERS = {"X-API-Key": KEY}


class RayServer:
    """Process of `pelee-serve --ray`."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "serve.commands.serve", "--ray", "--replicas", "2", "--model", "pelee-voc"]
        command += ["--port", str(port), "--queue-size", "8", "--max-body-mb", "1"]
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PELEE_API_KEYS": KEY, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()

    def detect(self, content: bytes, **parameters: str) -> httpx.Response:
        return httpx.post(f"{self.address}/detect", content=content, params=parameters, headers=HEADERS, timeout=60)

    def replicas(self) -> list[int]:
        """Process ids of the replicas that have answered."""
        found = subprocess.run(["pgrep", "-f", "^ray::ServeReplica:pelee"], capture_output=True, text=True, check=False)
        return [int(line) for line in found.stdout.split()]


@pytest.fixture(scope="module")
def server() -> Iterator[RayServer]:
    running = RayServer(free_port())
    try:
        if not running.first.startswith("Pelee serves"):
            pytest.fail(f"it did not start: {running.process.communicate()}")
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


@pytest.mark.slow
def test_the_answers_are_those_of_the_detector(server: RayServer) -> None:
    assert server.first == f"Pelee serves pelee-voc at {server.address} on Ray. ctrl-C ends it.\n"
    answer = server.detect(IMAGE.read_bytes())
    assert answer.status_code == 200
    expected = Detector.load("pelee-voc")(IMAGE)
    assert [one["label"] for one in answer.json()["detections"]] == list(expected.data["class_name"])
    with connect(f"{server.address.replace('http', 'ws')}/ws?key={KEY}") as socket:
        socket.send(IMAGE.read_bytes())
        assert '"detections"' in socket.recv(timeout=60)


@pytest.mark.slow
def test_the_errors_are_those_of_the_service(server: RayServer) -> None:
    for path, method, content, headers, status, code in (
        ("/detect", "POST", b"x", {}, 401, "unauthorized"),
        ("/detect", "POST", b"x", HEADERS, 415, "unsupported_picture"),
        ("/detect?conf=2", "POST", b"x", HEADERS, 422, "invalid_parameter"),
        ("/detect", "POST", b"x" * 1_100_000, HEADERS, 413, "body_too_large"),
        ("/nothing", "GET", b"", HEADERS, 404, "not_found"),
    ):
        answer = httpx.request(method, server.address + path, content=content, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert httpx.get(f"{server.address}/readyz").status_code == 200
    assert "text/html" in httpx.get(server.address).headers["content-type"]
    assert "pelee_requests_total" in httpx.get(f"{server.address}/metrics", headers=HEADERS).text


@pytest.mark.slow
def test_a_response_has_one_request_id(server: RayServer) -> None:
    for given in ({}, {"X-Request-ID": "a-given-id"}):
        answer = httpx.get(f"{server.address}/nothing", headers=HEADERS | given, timeout=60)
        (identity,) = answer.headers.get_list("x-request-id")
        assert identity == answer.json()["request_id"] and identity == given.get("X-Request-ID", identity)
    assert httpx.get(f"{server.address}/-/healthz", timeout=60).text == "success"  # for probes


@pytest.mark.slow
def test_overload_is_refused_and_not_delayed(server: RayServer) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.append(server.detect(IMAGE.read_bytes(), tiles="2").status_code)

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 429, 503} and 200 in answers and len(set(answers)) > 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_replica_fails_no_request_that_is_repeated(server: RayServer) -> None:
    content = IMAGE.read_bytes()
    ends = threading.Event()
    failures: list[str] = []
    served: list[int] = []

    def ask() -> None:
        while not ends.is_set():
            for _ in range(5):
                answer = server.detect(content)
                if answer.status_code == 200:
                    served.append(1)
                    break
                time.sleep(0.2)
            else:
                failures.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    before = server.replicas()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    until = time.monotonic() + 120
    while len(set(server.replicas()) - {before[0]}) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    after = server.replicas()
    ends.set()
    for thread in threads:
        thread.join()
    assert failures == [] and served
    assert len(after) == 2 and before[0] not in after


@pytest.mark.slow
def test_arguments_of_the_application() -> None:
    manifest = yaml.safe_load((ROOT / "deploy" / "kuberay.yaml").read_text(encoding="utf-8"))
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (one,) = config.applications
    assert one.import_path == f"{application.__module__}:{application.__name__}"
    assert application(one.args) is not None
    version = next(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if re.match(r"ray(\[.*\])?==", line)
    )
    assert manifest["spec"]["rayClusterConfig"]["rayVersion"] == version.partition("==")[2]
    cluster = manifest["spec"]["rayClusterConfig"]
    # KubeRay sends the configuration to the dashboard, and its own probe of workers needs wget.
    assert "include-dashboard" not in cluster["headGroupSpec"]["rayStartParams"]
    (worker,) = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": config.http_options.port}
    for arguments, message in (
        ({"most": "many"}, "is no number"),
        ({"replicas": "2"}, "unknown argument 'replicas'; expected least"),
        ({"least": "3", "most": "2"}, "3 to 2 replicas"),
    ):
        with pytest.raises(SettingsError, match=message):
            application(arguments)


@pytest.mark.slow
def test_scale_is_checked() -> None:
    for wrong in ({"queue": 0.0}, {"cores": 0}, {"gpu_share": -1.0}, {"least": 0}):
        with pytest.raises(SettingsError):
            Scale(**wrong)  # type: ignore[arg-type]
