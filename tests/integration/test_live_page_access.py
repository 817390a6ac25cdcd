"""Live page in a real browser: keyboard, contrast, phones."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not here; it is in the extra dev")
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import PHOTO, OpenPage, boxes, needs_chromium, rgb, start_camera
from tests.support.service_stub import ServiceStub

pytest_plugins = ["tests.support.page_fixtures"]
pytestmark = [pytest.mark.browser, needs_chromium]


def test_all_of_it_by_keyboard(page: Page, stand: ServiceStub) -> None:
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


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG defines it."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in np.array(rgb(colour)) / 255
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


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
    page.locator("#file").set_input_files([{**PHOTO, "name": f"{number}.png"} for number in range(12)])
    expect(page.locator("#overlay")).to_have_attribute("data-boxes", "2")
    expect(page.locator("#strip button")).to_have_count(12)
    assert page.evaluate(wide) == 0
    start_camera(page)
    assert page.evaluate(wide) == 0
    if size == (390, 844):  # the results are in sight, directly below the image
        tops = [(page.locator(part).bounding_box() or {"y": -1})["y"] for part in ("#list", "#threshold", "#figures")]
        assert 0 < tops[0] < size[1] - 150 and tops == sorted(tops)
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
