"""Fixtures of the live page's tests: a stub server, and its page in a browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.support.browser import OpenPage, launch, scene, write_camera
from tests.support.service_stub import ServiceStub, running


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a camera, before which the red rectangle moves right and back by 60 pixels in a second."""
    shifts = [*range(0, 60, 4), *range(60, 0, -4)]
    camera = write_camera(tmp_path_factory.mktemp("camera") / "camera.mjpeg", map(scene, shifts))
    launched = launch(playwright, camera)
    yield launched
    launched.close()


@pytest.fixture
def stand() -> ServiceStub:
    return ServiceStub()


@pytest.fixture
def server(stand: ServiceStub) -> Iterator[str]:
    with running(stand.app) as address:
        yield address


@pytest.fixture
def open_page() -> Iterator[OpenPage]:
    """Loads the page; whatever the browser says against it, a violation of its policy above all, fails the test."""
    said: list[str] = []

    def load(context: BrowserContext, address: str) -> Page:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield load
    # That a request failed, the browser reports by itself: tests of errors ask for it.
    assert not [text for text in said if not re.search("Failed to load resource|WebSocket connection to", text)]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 800}, permissions=["camera"])
    yield made
    made.close()


@pytest.fixture
def page(open_page: OpenPage, context: BrowserContext, server: str) -> Page:
    opened = open_page(context, server)
    expect(opened.get_by_role("button", name="dog")).to_be_visible()
    return opened
