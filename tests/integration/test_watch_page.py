"""Page of a watch in a real browser: cameras, events, filters, details, keyboard, keys, a lost server."""

import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from data.images.image_io import write_image
from detection.watch.event import EventKind
from tests.support.watch_events import ended, make_event, write_files
from tests.support.watch_server import WatchApi, running_api

pytest.importorskip("playwright.sync_api", reason="playwright is not here; it is in the extra dev")
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import needs_chromium, scene

pytest_plugins = ["tests.support.page_fixtures"]
pytestmark = [pytest.mark.browser, needs_chromium]

KEY = "a-key-of-20-letters!"


def add_events(api: WatchApi) -> None:
    """Event 1 lasts, 2 is of another camera and without a clip, 3 is a car."""
    for number, values in ((1, {}), (2, {"camera": "road"}), (3, {"kind": EventKind.APPEARED, "label": "car"})):
        event = make_event(number, seconds=60.0 * number, **values)
        files = write_files(api.folder, event)
        write_image(files.snapshot, scene())
        write_image(files.boxed_snapshot, scene())
        if number == 2:
            files.clip.unlink()
        api.store.begin(event)
        if number > 1:
            api.store.finish(ended(event))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[WatchApi]:
    with running_api(tmp_path) as running:
        add_events(running)
        yield running


@pytest.fixture
def watch(browser: Browser, api: WatchApi) -> Iterator[Page]:
    """The page, at three events."""
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        page = context.new_page()
        page.goto(api.address)
        expect(page.locator(".event")).to_have_count(3)
        yield page


def titles(page: Page) -> list[str]:
    return [text.splitlines()[0] for text in page.locator(".event .what").all_inner_texts()]


def test_cameras_and_events_are_shown_newest_first(watch: Page) -> None:
    assert titles(watch) == ["car appeared", "person entered gate", "person entered gate"]
    expect(watch.locator(".cameras b")).to_have_text(["yard"])
    expect(watch.locator(".cameras img")).to_have_attribute("src", re.compile("^blob:"))
    expect(watch.locator(".lasting")).to_have_count(1)
    expect(watch.locator("#connection-text")).to_have_text("Live")


def test_an_event_that_begins_and_ends_appears_without_a_reload(watch: Page, api: WatchApi) -> None:
    event = make_event(4, seconds=300.0, label="dog")
    write_image(write_files(api.folder, event).snapshot, scene())
    api.store.begin(event)
    expect(watch.locator(".event").first).to_contain_text("dog entered gate")
    expect(watch.locator(".lasting")).to_have_count(2)
    api.store.finish(ended(event))
    expect(watch.locator(".lasting")).to_have_count(1)


def test_filters_choose_events_and_stand_in_the_address(watch: Page, api: WatchApi) -> None:
    watch.locator("select[name=camera]").select_option("road")
    expect(watch.locator(".event")).to_have_count(1)
    assert watch.url.endswith("?camera=road")
    api.store.begin(make_event(5, seconds=400.0))  # of the other camera
    watch.reload()
    expect(watch.locator(".event")).to_have_count(1)
    expect(watch.locator("select[name=camera]")).to_have_value("road")
    watch.get_by_role("button", name="Show all").click()
    expect(watch.locator(".event")).to_have_count(4)
    watch.locator("select[name=kind]").select_option("crossed")
    expect(watch.locator("#nothing")).to_have_text("No event passes these filters.")


def test_an_event_is_opened_and_left_by_keyboard(watch: Page) -> None:
    watch.locator(".event button").first.focus()
    watch.keyboard.press("ArrowDown")
    watch.keyboard.press("Enter")
    expect(watch.locator("#detail-title")).to_have_text("person entered gate")
    expect(watch.locator("#detail-snapshot")).to_be_visible()
    watch.locator("[data-show=clip]").click()
    expect(watch.locator("#detail-missing")).to_have_text(re.compile("no longer in the folder|no clip of this event"))
    watch.keyboard.press("ArrowLeft")
    expect(watch.locator("#detail-title")).to_have_text("car appeared")
    watch.locator("[data-show=clip]").click()  # its content is no video
    expect(watch.locator("#detail-missing")).to_contain_text("cannot play the clip")
    expect(watch.locator("#detail-download")).to_be_visible()
    watch.keyboard.press("Escape")
    expect(watch.locator("#detail")).to_be_hidden()
    # The dialog's close event, in which the focus goes back, comes after it is hidden.
    watch.wait_for_function("document.activeElement.closest('.event') === document.querySelector('.event')")


def test_selected_events_are_downloaded(watch: Page) -> None:
    watch.locator(".event input").first.check()
    expect(watch.locator("#selected")).to_have_text("1 selected")
    with watch.expect_download() as download:
        watch.get_by_role("link", name="Download selected events").click()
    assert download.value.suggested_filename == "events.zip"
    assert download.value.path().read_bytes()[:2] == b"PK"


def test_a_key_is_asked_for_and_used_for_images_and_the_stream(browser: Browser, tmp_path: Path) -> None:
    with running_api(tmp_path, api_keys=[KEY]) as api, browser.new_context() as context:
        add_events(api)
        page = context.new_page()
        page.goto(api.address)
        expect(page.locator("#key-form")).to_be_visible()
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).to_contain_text("does not know that key")
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".event")).to_have_count(3)
        expect(page.locator("#key-form")).to_be_hidden()
        expect(page.locator("#connection-text")).to_have_text("Live")
        page.wait_for_function("document.querySelector('.event img').naturalWidth > 0")
        assert KEY not in page.url


def test_a_server_that_is_gone_is_said(browser: Browser, tmp_path: Path) -> None:
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        with running_api(tmp_path) as api:
            add_events(api)
            page.goto(api.address)
            expect(page.locator("#connection-text")).to_have_text("Live")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        expect(page.locator("#connection-text")).to_have_text("No server")
        expect(page.locator(".event")).to_have_count(3)


def test_times_are_the_readers(browser: Browser, api: WatchApi) -> None:
    with browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB") as context:
        page = context.new_page()
        page.goto(api.address)
        start = make_event(3, seconds=180.0).start.astimezone(UTC)
        hours = (start.hour + 9) % 24
        expect(page.locator(".event .when").first).to_contain_text(f"{hours:02}:{start.minute:02}:{start.second:02}")
