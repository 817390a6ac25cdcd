"""The live page: what is served, and what a visitor meets in a real browser."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from stand_in import BLUE, CLASS_NAMES, RED, StandIn, running

from data.images import read_image
from detection.annotate import COLOURS
from serve.app import create_app
from serve.page import STATIC, add_page, load_assets
from serve.settings import ServeSettings

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not here; it is in the extra dev")
from browser import CHROMIUM, MISSING, REQUIRED, launch, wait_until, write_camera  # noqa: E402
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect  # noqa: E402

browser_test = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason=MISSING)
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong
SAMPLES = Path(__file__).parents[2] / "data/samples"
WIDTH, HEIGHT = 320, 240
DOG, CAT = (40, 60, 140, 180), (200, 40, 300, 120)  # where the red and the blue rectangles are


def scene(shift: int = 0) -> np.ndarray:
    """(240, 320, 3) uint8 RGB: a red and a blue rectangle on grey, the red one moved right by `shift`."""
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for (x1, y1, x2, y2), colour in ((DOG, RED), (CAT, BLUE)):
        move = shift if colour == RED else 0
        image[y1:y2, x1 + move : x2 + move] = colour
    return image


def encode(image: np.ndarray, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


PHOTO: Any = {"name": "scene.png", "mimeType": "image/png", "buffer": encode(scene())}


# ---- what is served


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    add_page(app)
    return TestClient(app)


def test_the_page_and_its_files_are_served_with_their_types_under_a_strict_policy(client: TestClient) -> None:
    names = load_assets()
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert {"index.html", "style.css", "app.js", "colours.js"} <= names.keys()
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


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/static/app.js").headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = client.get("/static/app.js", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get("/static/app.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/").content == b""


@pytest.mark.parametrize("name", ["none.js", "../page.py", "%2e%2e/page.py", "..%2fpage.py", "sub/app.js"])
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_page_names_no_other_address_and_holds_no_inline_code() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        text = text.replace("https:// and localhost pages", "")  # words of a message
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text), path.name
        assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", text), path.name
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


def test_boxes_have_the_colours_of_annotated_pictures() -> None:
    content = load_assets()["colours.js"].content.decode()
    assert tuple(json.loads(content.removeprefix("export default ").rstrip(";\n"))) == COLOURS


# ---- in a browser


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with playwright_api.sync_playwright() as started:
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
def stand() -> StandIn:
    return StandIn()


@pytest.fixture
def server(stand: StandIn) -> Iterator[str]:
    with running(stand.app) as address:
        yield address


OpenPage = Callable[[BrowserContext, str], Page]


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


def boxes(page: Page) -> int:
    return int(page.locator("#overlay").get_attribute("data-boxes") or 0)


def overlay_colour(page: Page, x: float, y: float) -> tuple[int, ...]:
    """RGBA of the overlay where the picture's point (x, y) is, in pixels of the picture."""
    read = """([x, y, width, height]) => {
        const canvas = document.getElementById('overlay');
        const scale = Math.min(canvas.width / width, canvas.height / height);
        const left = (canvas.width - width * scale) / 2, top = (canvas.height - height * scale) / 2;
        const at = [Math.floor(left + x * scale), Math.floor(top + y * scale)];
        return [...canvas.getContext('2d').getImageData(at[0], at[1], 1, 1).data];
    }"""
    return tuple(page.evaluate(read, [x, y, WIDTH, HEIGHT]))


def start_camera(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    wait_until(page, lambda: int(page.locator("#overlay").get_attribute("data-frame") or 0) > 2)


def shown(page: Page) -> dict[str, Any]:
    return json.loads(page.locator("#json").text_content() or "{}")


@browser_test
def test_an_uploaded_photo_gets_its_boxes(page: Page, stand: StandIn) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    edge = 0.4  # inside a line of 2 CSS pixels, which the picture is shown larger than
    dog, cat = (rgb(COLOURS[CLASS_NAMES.index(name)]) for name in ("dog", "cat"))
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


@browser_test
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


@browser_test
def test_the_threshold_filters_at_once_and_asks_the_server_only_for_more(page: Page, stand: StandIn) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    slider = page.get_by_role("slider", name="Score at least")
    slider.fill("0.5")
    assert boxes(page) == 1 and [found["label"] for found in shown(page)["detections"]] == ["dog"]
    slider.fill("0.95")
    expect(page.get_by_text("All boxes are filtered out.")).to_be_visible()
    slider.fill("0.3")
    assert boxes(page) == 2
    page.wait_for_timeout(400)
    assert len(stand.asked) == 1
    slider.fill("0.1")
    wait_until(page, lambda: len(stand.asked) == 2)
    assert stand.asked[1]["conf"] == "0.10"


@browser_test
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


@browser_test
def test_another_model_is_asked_about_the_same_photo(page: Page, stand: StandIn) -> None:
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    page.get_by_label("Model").select_option("pelee-two")
    wait_until(page, lambda: [asked["model"] for asked in stand.asked] == ["pelee-voc", "pelee-two"])


@browser_test
def test_the_camera_gets_boxes_that_follow_it(page: Page, stand: StandIn) -> None:
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
    assert stand.settings[1]["conf"] == 0.6

    page.get_by_role("button", name="Stop the camera").click()
    expect(page.get_by_role("button", name="Use the camera")).to_be_focused()
    expect(page.locator("#video")).to_be_hidden()
    assert boxes(page) == 0 and page.evaluate("document.getElementById('video').srcObject") is None


@browser_test
def test_the_page_comes_back_when_the_server_does(open_page: OpenPage, context: BrowserContext, stand: StandIn) -> None:
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


@browser_test
def test_what_the_server_refuses_is_told(page: Page, stand: StandIn) -> None:
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


@browser_test
def test_a_photo_that_is_too_large_is_shrunk(page: Page, stand: StandIn) -> None:
    large = encode(np.kron(scene(), np.ones((10, 10, 1), np.uint8)), ".jpg")
    stand.failures = [(422, "too_many_pixels", "more than 25 megapixels")]
    page.locator("#file").set_input_files({"name": "large.jpg", "mimeType": "image/jpeg", "buffer": large})
    expect(page.get_by_text("large.jpg, 2048 × 1536")).to_be_visible()
    assert shown(page)["detections"][0]["box"] == pytest.approx([6.4 * value for value in DOG], abs=4)


@browser_test
def test_a_key_is_asked_for_where_there_is_one(
    open_page: OpenPage, context: BrowserContext, stand: StandIn, server: str
) -> None:
    stand.key = "secret"
    page = open_page(context, server)
    key = page.get_by_label("This server asks for an API key")
    expect(key).to_be_focused()
    key.fill("wrong")
    key.press("Enter")
    expect(key).to_be_visible()
    key.fill("secret")
    page.get_by_role("button", name="Use key").click()
    expect(key).to_be_hidden()
    page.locator("#file").set_input_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    start_camera(page)
    assert boxes(page) == 2


@browser_test
def test_a_camera_that_is_refused(open_page: OpenPage, browser: Browser, server: str) -> None:
    context = browser.new_context()
    context.grant_permissions([])  # none of them
    page = open_page(context, server)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("alert")).to_contain_text("The camera was refused. Allow it")
    context.close()


@browser_test
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


@browser_test
def test_all_of_it_by_keyboard(page: Page, stand: StandIn) -> None:
    def tab_to(role: str, name: str) -> None:
        target = page.get_by_role(role, name=name)  # type: ignore[arg-type]
        for _ in range(20):
            page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        pytest.fail(f"no way to the {role} {name}")

    tab_to("combobox", "Model")
    with page.expect_file_chooser() as chooser:
        tab_to("button", "Choose a photo")
        page.keyboard.press("Enter")
    chooser.value.set_files(PHOTO)
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    tab_to("slider", "Score at least")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert boxes(page) == 1
    tab_to("button", "dog")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="dog")).to_have_attribute("aria-pressed", "true")
    ring = (
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert page.evaluate(ring) == "solid2px"
    page.keyboard.press("Shift+Tab")


@browser_test
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(open_page: OpenPage, browser: Browser, server: str, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = open_page(context, server)
    read = "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    ink, ground, surface, muted, accent = (
        luminance(page.evaluate(read, f"--{name}")) for name in ("ink", "ground", "surface", "muted", "accent")
    )
    assert (ground < ink) == (scheme == "dark")
    for text in (ink, muted, accent):  # WCAG 2.2, 1.4.3: 4.5 to 1
        assert contrast(text, ground) >= 4.5 and contrast(text, surface) >= 4.5
    moving = "getComputedStyle(document.querySelector('.progress'), '::before').animationName"
    assert page.evaluate(moving) == "none"
    context.close()


@browser_test
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
        start_camera(page)
        wait_until(page, lambda: boxes(page) == 1 and shown(page)["detections"][0]["label"] == "cat")
        context.close()
        browser.close()


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG defines it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in np.array(rgb(colour)) / 255
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@browser_test
@pytest.mark.parametrize("size", [(320, 568), (390, 844), (844, 390)], ids=str)
def test_on_a_phone(open_page: OpenPage, browser: Browser, server: str, size: tuple[int, int]) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=3,
        has_touch=True,
        is_mobile=True,
        permissions=["camera"],
    )
    page = open_page(context, server)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    start_camera(page)
    assert page.evaluate(wide) == 0
    for button in page.locator(".toolbar button").all():
        box = button.bounding_box()
        assert box and box["height"] >= 44
    ratio = "document.getElementById('overlay').width / document.getElementById('overlay').clientWidth"
    assert page.evaluate(ratio) == pytest.approx(3, rel=0.01)
    page.get_by_role("slider", name="Score at least").scroll_into_view_if_needed()
    top = page.locator("#video").bounding_box()
    if size[1] > size[0]:  # the camera stays in sight above the slider
        assert top and -1 <= top["y"] < size[1] / 2
    context.close()
