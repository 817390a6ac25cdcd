"""Live page in a real browser: photo, camera, settings, errors."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, features

from data.images.image_io import read_image
from detection.drawing import COLORS
from serve.settings import ServeSettings
from serve.web.app import create_app
from tests.support.paths import SAMPLES
from tests.support.service_stub import CLASS_NAMES, ServiceStub, running

pytest.importorskip("playwright.sync_api", reason="playwright is not here; it is in the extra dev")
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.support.browser import (
    CAT,
    DOG,
    PHOTO,
    OpenPage,
    boxes,
    encode,
    launch,
    needs_chromium,
    overlay_colour,
    rgb,
    scene,
    shown,
    start_camera,
    wait_until,
    write_camera,
)

LARGE_PHOTO: Any = {  # 3200 × 2400 pixels
    "name": "large.jpg",
    "mimeType": "image/jpeg",
    "buffer": encode(np.kron(scene(), np.ones((10, 10, 1), np.uint8)), ".jpg"),
}

pytest_plugins = ["tests.support.page_fixtures"]
pytestmark = [pytest.mark.browser, needs_chromium]


def test_an_uploaded_photo_gets_its_boxes(page: Page, stand: ServiceStub) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    edge = 0.4  # inside a line of 2 CSS pixels, which the picture is shown larger than
    dog, cat = (rgb(COLORS[CLASS_NAMES.index(name)]) for name in ("dog", "cat"))
    assert overlay_colour(page, DOG[0] + edge, 150) == (*dog, 255)
    assert overlay_colour(page, 90, DOG[3] - edge) == (*dog, 255)
    assert overlay_colour(page, CAT[2] - edge, 100) == (*cat, 255)
    assert overlay_colour(page, 90, 120)[3] == overlay_colour(page, 10, 10)[3] == 0  # inside a box, and outside
    assert [row.split() for row in page.locator("#list li").all_inner_texts()] == [["dog", "0.90"], ["cat", "0.40"]]
    expect(page.locator("#summary")).to_have_text("dog, cat")
    expect(page.get_by_text("Round trip")).to_be_visible()
    expect(page.get_by_text("scene.png, 320 × 240")).to_be_visible()
    assert stand.asked == [{"model": "pelee-voc", "conf": "0.25"}]
    assert shown(page)["source"] == "scene.png"
    assert [found["box"] for found in shown(page)["detections"]] == [list(DOG), list(CAT)]


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_photo_is_pasted_or_dropped(page: Page, way: str) -> None:
    send = """([way, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], 'scene.png', {type: 'image/png'}));
        const event = way === 'paste' ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true})
            : new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true});
        document.getElementById('stage').dispatchEvent(event);
    }"""
    page.evaluate(send, [way, list(PHOTO["buffer"])])
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    assert boxes(page) == 2 and len(shown(page)["detections"]) == 2


def test_the_threshold_filters_at_once_and_asks_the_server_only_for_more(page: Page, stand: ServiceStub) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    slider = page.get_by_role("slider", name="Score at least")
    slider.fill("0.5")
    assert boxes(page) == 1 and [found["label"] for found in shown(page)["detections"]] == ["dog"]
    slider.fill("0.95")
    expect(page.get_by_text("All boxes are filtered out.")).to_be_visible()
    slider.fill("0.3")
    assert boxes(page) == 2
    # Timers fire in the order of their times: the page's own, of 150 ms, has fired after this one.
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))")
    slider.fill("0.1")
    wait_until(page, lambda: len(stand.asked) == 2)
    assert [asked["conf"] for asked in stand.asked] == ["0.25", "0.10"]


def test_thresholds_by_class_hold_until_the_slider_is_moved(page: Page, stand: ServiceStub) -> None:
    """The cat of score 0.4 is below the threshold of cats, 0.5; the server is asked with the lowest of all classes."""
    stand.class_confidence = dict.fromkeys(CLASS_NAMES, 0.3) | {"cat": 0.5}
    page.reload()
    expect(page.locator("#threshold-value")).to_have_text("by class")
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "1")
    assert [found["label"] for found in shown(page)["detections"]] == ["dog"]
    assert stand.asked == [{"model": "pelee-voc", "conf": "0.30"}]
    page.get_by_role("slider", name="Score at least").fill("0.35")
    expect(page.locator("#threshold-value")).to_have_text("0.35")
    assert boxes(page) == 2 and len(stand.asked) == 1


def test_classes_are_chosen_and_the_json_is_what_is_shown(context: BrowserContext, page: Page) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    cat = page.get_by_role("button", name="cat")
    cat.click()
    expect(cat).to_have_attribute("aria-pressed", "true")
    assert boxes(page) == 1
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied.keys() == {"source", "frame", "width", "height", "detections"}
    assert [found["label"] for found in copied["detections"]] == ["cat"]
    page.get_by_role("button", name="Show all").click()
    assert boxes(page) == 2


def test_another_model_is_asked_about_the_same_photo(page: Page, stand: ServiceStub) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    page.get_by_label("Model").select_option("pelee-two")
    wait_until(page, lambda: len(stand.asked) == 2)
    assert [asked["model"] for asked in stand.asked] == ["pelee-voc", "pelee-two"]


def test_tiles_are_asked_for_of_a_larger_photo(page: Page, stand: ServiceStub) -> None:
    page.locator("#file").set_input_files(LARGE_PHOTO)
    wait_until(page, lambda: len(stand.sizes) == 1)
    page.get_by_label("Small objects").select_option("auto")
    wait_until(page, lambda: len(stand.sizes) == 2)
    assert [asked.get("tiles") for asked in stand.asked] == [None, "auto"]
    assert max(stand.sizes[1]) == 2 * max(stand.sizes[0])
    expect(page.locator("#caption")).to_contain_text(f"sent as {max(stand.sizes[1])}")  # else the first answer is kept
    page.get_by_label("Small objects").select_option("off")
    wait_until(page, lambda: len(stand.sizes) == 3)
    assert "tiles" not in stand.asked[2] and stand.sizes[2] == stand.sizes[0]


def test_the_camera_gets_boxes_that_follow_it(page: Page, stand: ServiceStub) -> None:
    start_camera(page)
    assert boxes(page) == 2
    lefts: set[float] = set()
    wait_until(page, lambda: lefts.add(shown(page)["detections"][0]["box"][0]) or len(lefts) > 2)
    assert shown(page)["source"] == "camera" and min(lefts) >= DOG[0] - 3 and max(lefts) <= DOG[0] + 63
    for figure in ("Frame to box", "Rate", "Round trip", "Skipped"):
        expect(page.locator("#figures").get_by_text(figure)).to_be_visible()
    assert stand.settings == [{"type": "settings", "model": "pelee-voc", "conf": 0.25, "classes": None}]

    page.get_by_role("slider", name="Score at least").fill("0.6")
    assert boxes(page) == 1
    wait_until(page, lambda: len(stand.settings) == 2)
    page.get_by_label("Small objects").select_option("2")
    wait_until(page, lambda: len(stand.settings) == 3)
    assert stand.settings[2]["tiles"] == "2"
    assert stand.settings[1]["conf"] == 0.6

    page.get_by_role("button", name="Stop the camera").click()
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()
    expect(page.locator("#video")).to_be_hidden()
    assert boxes(page) == 0 and page.evaluate("document.getElementById('video').srcObject") is None


def test_the_page_comes_back_when_the_server_does(
    open_page: OpenPage, context: BrowserContext, stand: ServiceStub
) -> None:
    with running(stand.app) as address:
        page = open_page(context, address)
        start_camera(page)
    expect(page.get_by_role("alert")).to_contain_text("The server is gone. Trying again in")
    assert boxes(page) == 0  # nothing old over the running picture
    frame = int(page.locator("#overlay").get_attribute("data-frame") or 0)
    with running(stand.app, port=int(address.rpartition(":")[2])):
        wait_until(page, lambda: int(page.locator("#overlay").get_attribute("data-frame") or 0) > frame)
        expect(page.get_by_role("alert")).to_be_hidden()
        assert boxes(page) == 2
        page.close()


def test_what_the_server_refuses_is_told(page: Page, stand: ServiceStub) -> None:
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_contain_text("Not a JPEG, PNG, WebP or BMP")
    expect(page.locator("#photo")).to_be_hidden()  # no broken picture
    stand.failures = [(429, "busy", "too many requests"), (413, "body_too_large", "more than 10 MB")]
    page.locator("#file").set_input_files(PHOTO)  # waits as it is told, and shrinks the photo
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    expect(page.get_by_role("alert")).to_be_hidden()
    stand.failures = [(503, "not_ready", "the model is being loaded")]
    page.locator("#file").set_input_files(PHOTO)
    expect(page.get_by_role("alert")).to_contain_text("The model is being loaded")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")


def test_a_photo_is_shrunk_before_it_is_sent(page: Page, stand: ServiceStub) -> None:
    stand.failures = [(429, "busy", "too many requests")]
    page.locator("#file").set_input_files(LARGE_PHOTO)
    expect(page.get_by_text("large.jpg, 3200 × 2400, sent as 608 × 456")).to_be_visible()
    assert stand.sizes == [(608, 456)]
    result = shown(page)
    assert (result["width"], result["height"]) == (3200, 2400)
    assert result["detections"][0]["box"] == pytest.approx([10 * value for value in DOG], abs=15)


def image_in(form: str, frames: list[np.ndarray]) -> bytes:
    file = io.BytesIO()
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(
        file, form, save_all=len(images) > 1, append_images=images[1:], duration=20, lossless=True, quality=90
    )
    return file.getvalue()


@pytest.mark.parametrize("form", ["GIF", "AVIF", "WEBP"])
def test_what_the_browser_shows_is_sent_as_it_shows_it(page: Page, stand: ServiceStub, form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    frames = [scene(), scene(60)] if form == "GIF" else [scene()]
    content = image_in(form, frames)
    kind = f"image/{form.lower()}"
    record = """() => {
        const [make, made] = [URL.createObjectURL, window.made = {}];
        URL.createObjectURL = (blob) => { const address = make(blob); made[address] = blob.type; return address; };
    }"""
    page.evaluate(record)
    page.locator("#file").set_input_files({"name": f"x.{form.lower()}", "mimeType": kind, "buffer": content})
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    assert shown(page)["detections"][0]["box"] == pytest.approx(DOG, abs=3)
    still = page.evaluate("window.made[document.getElementById('photo').src]")
    assert still == "image/jpeg"  # not animated: the boxes belong to the first frame
    assert stand.sizes == [(320, 240)]


def test_several_photos_are_a_list(page: Page, stand: ServiceStub) -> None:
    without_cat = scene()
    without_cat[:, CAT[0] :] = 120
    files = [
        {"name": "one.png", "mimeType": "image/png", "buffer": PHOTO["buffer"]},
        {"name": "two.png", "mimeType": "image/png", "buffer": encode(without_cat)},
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"},
    ]
    page.locator("#file").set_input_files(files)  # type: ignore[arg-type]
    amounts = page.locator("#strip span")
    wait_until(page, lambda: amounts.all_inner_texts() == ["2", "1", "!"])
    expect(page.get_by_role("alert").first).to_contain_text("Left out 1 of 4 files")
    assert boxes(page) == 2
    page.get_by_role("button", name="two.png: dog").click()
    assert boxes(page) == 1
    expect(page.get_by_text("two.png, 320 × 240")).to_be_visible()
    page.get_by_role("button", name="broken.png").click()
    expect(page.get_by_role("alert").first).to_contain_text("Not a JPEG, PNG, WebP or BMP")
    page.get_by_role("button", name="one.png").click()
    expect(page.get_by_role("alert").first).to_be_hidden()
    assert len(stand.asked) == 3  # an answer that is known is not asked for again
    page.get_by_role("slider", name="Score at least").fill("0.5")
    assert amounts.all_inner_texts() == ["1", "1", "!"]
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#strip")).to_be_hidden()
    expect(page.get_by_text("scene.png, 320 × 240")).to_be_visible()


def test_files_that_are_no_images_change_nothing(page: Page) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"})
    expect(page.get_by_role("alert").first).to_contain_text("That was no image")
    assert boxes(page) == 2


@pytest.mark.parametrize("way", ["refused", "silent"])
def test_where_the_socket_does_not_get_through_frames_are_posted(page: Page, stand: ServiceStub, way: str) -> None:
    """Proxies that do not pass `Upgrade` refuse the handshake, or open a socket that nothing passes."""
    stand.socket = way
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert").first).to_contain_text("WebSocket, /ws")
    expect(page.get_by_text("Frame by frame")).to_be_visible()
    wait_until(page, lambda: int(page.locator("#overlay").get_attribute("data-frame") or 0) > 3)
    assert boxes(page) == 2 and stand.asked[-1] == {"model": "pelee-voc", "conf": "0.25"}
    page.get_by_role("slider", name="Score at least").fill("0.6")
    wait_until(page, lambda: stand.asked[-1]["conf"] == "0.60")
    stand.failures = [(429, "busy", "too many requests")]
    asked = len(stand.asked)
    wait_until(page, lambda: len(stand.asked) > asked + 2)
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator("#video")).to_be_hidden()


def test_a_key_is_asked_for_where_there_is_one(
    open_page: OpenPage, context: BrowserContext, stand: ServiceStub, server: str
) -> None:
    stand.key = "secret"
    page = open_page(context, server)
    key = page.get_by_label("This server asks for an API key")
    expect(key).to_be_focused()
    for wrong in ("wrong", "ключ"):  # the second fits into no header
        key.fill(wrong)
        key.press("Enter")
        key = page.get_by_label("This server does not know that key")
        expect(key).to_be_focused()
        expect(key).to_have_value("")
    key.fill(" secret ")
    page.get_by_role("button", name="Use key").click()
    expect(key).to_be_hidden()
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    start_camera(page)
    assert boxes(page) == 2


def test_a_camera_that_is_refused(open_page: OpenPage, browser: Browser, server: str) -> None:
    context = browser.new_context()
    context.grant_permissions([])  # none of them
    page = open_page(context, server)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("The camera was refused. Allow it")
    context.close()


def test_a_machine_without_a_camera(open_page: OpenPage, playwright: Playwright, server: str) -> None:
    browser = launch(playwright)
    context = browser.new_context(permissions=["camera"])
    page = open_page(context, server)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("No camera was found.")
    page.locator("#file").set_input_files(PHOTO)  # and goes on
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    context.close()
    browser.close()


@pytest.mark.slow
def test_the_page_and_the_service_with_the_shipped_model(
    open_page: OpenPage, playwright: Playwright, tmp_path: Path
) -> None:
    photo = read_image(SAMPLES / "chelsea.jpg")
    browser = launch(playwright, write_camera(tmp_path / "camera.mjpeg", [photo[:, :448]]))  # of an even size
    app = create_app(ServeSettings(models=("pelee-voc",)))
    with running(app) as address:
        context = browser.new_context(permissions=["camera"])
        page = open_page(context, address)
        wait_until(page, lambda: httpx.get(f"{address}/readyz").status_code == 200, 60)
        page.locator("#file").set_input_files(SAMPLES / "chelsea.jpg")
        expect(page.locator("#summary")).to_have_text("cat")
        expect(page.locator("#stages").get_by_text("Neural network")).to_be_visible()  # from Server-Timing
        posted = httpx.post(f"{address}/detect?conf=0.25", files={"file": (SAMPLES / "chelsea.jpg").open("rb")})
        assert shown(page) == posted.json()
        expect(page.locator("#threshold-value")).to_have_text("by class")
        start_camera(page)
        wait_until(page, lambda: boxes(page) == 1 and shown(page)["detections"][0]["label"] == "cat")
        context.close()
        browser.close()
