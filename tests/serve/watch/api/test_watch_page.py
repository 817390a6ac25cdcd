"""Page of a watch: its files and policy."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serve.watch.api.watch_page import STATIC, WATCH_PAGE, add_watch_page


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
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text), path.name
        assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", text), path.name
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
