"""FastAPI application: routes, error format, failed models."""

import asyncio

import pytest
from fastapi.testclient import TestClient

from data.errors import WeightsError
from serve.inference.model_pool import ModelSource
from serve.web.app import create_app
from tests.support.fake_server import FakeNetwork, settings, wait_until


def test_every_endpoint_is_described() -> None:
    paths = create_app(settings(), {"fake": FakeNetwork().source()}).openapi()["paths"]
    expected = {"/detect", "/detect/batch", "/classify", "/models", "/models/{name}/reload", "/metrics"}
    assert set(paths) == expected | {"/healthz", "/readyz"}


def test_errors_of_validation_and_of_starlette_have_one_format() -> None:
    with TestClient(create_app(settings(), {"fake": FakeNetwork().source()})) as client:
        for response, code in (
            (client.post("/detect?conf=7", content=b"x"), "invalid_parameter"),
            (client.get("/nowhere"), "not_found"),
            (client.get("/detect"), "method_not_allowed"),
        ):
            assert response.json().keys() == {"code", "message", "request_id"} and response.json()["code"] == code


def test_the_root_path_may_come_with_a_request_or_be_left_out_by_the_proxy() -> None:
    with TestClient(create_app(settings(root_path="/pelee"), {"fake": FakeNetwork().source()})) as client:
        for prefix in ("", "/pelee"):
            assert client.get(f"{prefix}/models").status_code == client.get(f"{prefix}/").status_code == 200
            assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/pelee"}]


def test_a_model_that_cannot_be_loaded_is_the_failure() -> None:
    def load() -> None:
        raise WeightsError("damaged")

    app = create_app(settings(), {"fake": ModelSource(FakeNetwork().source().card, load)})  # type: ignore[arg-type]
    with TestClient(app) as client:
        wait_until(lambda: app.state.failure is not None)
        assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
    assert isinstance(app.state.failure, WeightsError)


def test_the_application_names_unknown_models_before_it_starts() -> None:
    with pytest.raises(WeightsError, match="ghost"):
        asyncio.run(asyncio.to_thread(create_app, settings(models=["ghost"])))
