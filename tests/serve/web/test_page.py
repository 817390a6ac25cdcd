"""The live page's files: what is served, and under which policy."""

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from detection.drawing import COLORS
from serve.web.page import STATIC, add_page, load_assets
from tests.support.page_files import assert_self_contained


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    add_page(app)
    return TestClient(app)


def test_the_page_and_its_files_are_served_with_their_types_under_a_strict_policy(client: TestClient) -> None:
    names = load_assets()
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert {"index.html", "style.css", "app.js", "colors.js"} <= names.keys()
    for path in ("", *(f"static/{name}" for name in names)):
        answer = client.get(f"/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(types[path.rpartition(".")[2] or "html"])
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]


def test_a_cached_file_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/static/app.js").headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = client.get("/static/app.js", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get("/static/app.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/").content == b""


@pytest.mark.parametrize("name", ["none.js", "../page.py", "%2e%2e/page.py", "..%2fpage.py", "sub/app.js"])
def test_other_files_are_not_found(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_page_has_no_outside_address_and_no_inline_code() -> None:
    words = "https:// and localhost pages"  # of a message
    assert_self_contained(STATIC, known=('xmlns="http://www.w3.org/2000/svg"', words))


def test_boxes_have_the_colors_of_annotated_images() -> None:
    content = load_assets()["colors.js"].content.decode()
    assert tuple(json.loads(content.removeprefix("export default ").rstrip(";\n"))) == COLORS
