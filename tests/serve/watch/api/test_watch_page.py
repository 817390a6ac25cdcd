"""Page of a watch: its files and policy."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serve.watch.api.watch_page import STATIC, WATCH_PAGE, add_watch_page
from tests.support.page_files import assert_self_contained


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    add_watch_page(app)
    return TestClient(app)


def test_all_files_that_the_page_names_are_served_and_clips_of_this_server_may_play(client: TestClient) -> None:
    page = client.get("/")
    assert "Events of cameras" in page.text
    assert "media-src 'self'" in page.headers["content-security-policy"]
    named = set(re.findall(r'(?:src|href)="(static/[^"]+)"', page.text))
    for path in WATCH_PAGE:
        if path.suffix == ".js":
            named |= {f"static/{name}" for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))}
    assert len(named) > 6
    for name in named:
        assert client.get(f"/{name}").status_code == 200, name
    assert client.get("/static/app.js").status_code == 404  # of the other page


def test_the_page_has_no_outside_address_and_no_inline_code() -> None:
    assert_self_contained(STATIC)
