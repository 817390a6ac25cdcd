"""The description: its examples run, its answers are as it says, and a fuzzer that reads it finds no 5xx."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema_rs
import numpy as np
import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks

from data.images.image_io import read_image
from detection.inference.prediction import Prediction
from detection.inference.result_formats import to_dict
from pelee.classification.results import Classification
from pelee.classification.results import to_dict as classes_to_dict
from serve.web import schemas
from tests.support.fake_server import CLASSES, FakeNetwork, RunningServer, encoded, image, running
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def live() -> Iterator[RunningServer]:
    sources = {"fake": FakeNetwork().source()}
    sources["classes"] = FakeNetwork(classification=True).source("classes")
    with running(sources, deadline_s=60, queue_size=1000) as server:
        yield server


@pytest.fixture(scope="module")
def description(live: RunningServer) -> dict[str, Any]:
    return live.client.get("/openapi.json").json()


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validate(description: dict[str, Any], operation: dict[str, Any], response: Any) -> None:
    """The answer is one that the description has."""
    described = operation["responses"][str(response.status_code)]
    if response.headers["content-type"] == "application/json":
        schema = described["content"]["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": description["components"]}, response.json())


@pytest.mark.slow
def test_every_endpoint_is_described(description: dict[str, Any]) -> None:
    found = {f"{method} {path}" for method, path, _ in operations(description)}
    assert found == {
        "post /detect", "post /detect/batch", "post /classify", "get /models", "post /models/{name}/reload",
        "get /metrics", "get /healthz", "get /readyz",
    }  # fmt: skip
    for _, path, operation in operations(description):
        assert operation["summary"] and operation["description"], path
        assert "HTTPValidationError" not in str(operation["responses"]), path


def test_every_response_has_a_type_and_the_key_is_described(description: dict[str, Any]) -> None:
    """Without a schema, generated clients have a response of type `unknown`."""
    media = [
        (path, kind, content["schema"])
        for _, path, operation in operations(description)
        for response in operation["responses"].values()
        for kind, content in response.get("content", {}).items()
    ]
    assert all(schema for _, _, schema in media) and len(media) > 20
    assert ("/detect", "image/jpeg", {"type": "string", "format": "binary"}) in media
    assert [(path, kind) for path, kind, _ in media if kind == "text/plain"] == [("/metrics", "text/plain")]
    ((name, scheme),) = description["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["in"], scheme["name"].lower()) == ("apiKey", "header", "x-api-key")
    for _, path, operation in operations(description):
        assert operation.get("security") == (None if path in ("/healthz", "/readyz") else [{name: []}]), path


@pytest.mark.slow
def test_the_examples_of_parameters_run(live: RunningServer, description: dict[str, Any]) -> None:
    ran = 0
    for method, path, operation in operations(description):
        for parameter in operation.get("parameters", []):
            for value in parameter.get("schema", {}).get("examples", parameter.get("examples", [])):
                if parameter["name"] == "classes":  # the examples name classes of the shipped model
                    value = [
                        {"dog": CLASSES[0], "cat": CLASSES[1], "dog,cat": ",".join(CLASSES[:2])}[one] for one in value
                    ]
                response = live.client.request(method, path, params={parameter["name"]: value}, content=encoded())
                if path == "/detect/batch":
                    response = live.client.post(path, params={parameter["name"]: value}, files={"file": encoded()})
                assert response.status_code == 200, (path, parameter["name"], response.text)
                validate(description, operation, response)
                ran += 1
    assert ran >= 9


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_commands_run(live: RunningServer, description: dict[str, Any], tmp_path: Path) -> None:
    example = tmp_path / "data" / "samples" / "chelsea.jpg"
    example.parent.mkdir(parents=True)
    example.write_bytes(encoded(image(200, 100)))
    assert read_image(ROOT / "data/samples/chelsea.jpg").size  # the one that the commands name
    ran = 0
    for _, path, operation in operations(description):
        for sample in operation.get("x-codeSamples", []):
            words = shlex.split(sample["source"].replace("http://127.0.0.1:8000", live.address))
            words[1:1] = ["--silent", "--show-error", "--fail", "--max-time", "30"]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (path, done.stderr, done.stdout)
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema_rs.validate({**schema, "components": description["components"]}, json.loads(done.stdout))
            ran += 1
    assert ran == 4


def test_errors_are_as_described(live: RunningServer, description: dict[str, Any]) -> None:
    operation = description["paths"]["/detect"]["post"]
    for options in ({"content": b""}, {"content": b"x"}, {"content": bytes(11_000_000)}, {"params": {"conf": 7}}):
        validate(description, operation, live.client.post("/detect", **options))
    described = set(operation["responses"])
    assert described >= {"200", "400", "401", "404", "408", "413", "415", "422", "429", "500", "503", "504"}


@pytest.mark.slow
def test_the_fuzzer_finds_no_5xx(live: RunningServer) -> None:
    """Whatever the description allows, and what it does not: no 5xx, and no answer that it does not know."""
    load_all_checks()
    checks = CHECKS.get_by_names(
        ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    )
    schema = schemathesis.openapi.from_url(f"{live.address}/openapi.json")
    count = 0

    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=35,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def fuzz(case: Any) -> None:
            nonlocal count
            count += 1
            case.call_and_validate(base_url=live.address, checks=checks, timeout=30)

        fuzz()
    assert count > 50
    assert not re.search(r'pelee_requests_total\{[^}]*status="5', live.client.get("/metrics").text)
    assert live.client.post("/detect", content=encoded()).status_code == 200


def test_the_schemas_have_the_fields_of_the_results() -> None:
    """Field by field, as `result_formats` builds them, in the same order."""
    prediction = Prediction(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    detected = to_dict("upload", 0, 2, 1, prediction, ["dog"])
    assert list(schemas.Detections.model_fields) == list(detected)
    assert list(schemas.Detection.model_fields) == list(detected["detections"][0])
    classified = classes_to_dict("upload", 2, 1, Classification(np.ones(1, np.float32), ("dog",)))
    assert list(schemas.Classes.model_fields) == list(classified)
    assert list(schemas.ScoredClass.model_fields) == list(classified["classes"][0])
    schemas.Detections.model_validate(detected, strict=True)
    schemas.Classes.model_validate(classified, strict=True)
