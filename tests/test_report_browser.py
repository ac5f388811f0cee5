"""The report in a real browser: Chromium, from a file, without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reported import EVIL

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, reported: Path) -> Iterator[Opened]:
    """Open the page; at the end nothing has been asked of a network, and nothing complained."""
    contexts, trouble = [], []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": LAPTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url)
                if not request.url.startswith("file:") else None)  # fmt: skip
        page.goto((reported / "report.html").as_uri())
        page.wait_for_selector("#shown svg .trace >> nth=1")  # unpacked and drawn
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def line(page: Any) -> str:
    """The path of the ECG that is shown."""
    found: str = page.eval_on_selector("#shown svg path.trace:nth-of-type(2)", "e => e.outerHTML")
    return found


def background(page: Any) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_pointing_at_a_dot_shows_its_ecg(opened: Opened) -> None:
    page = opened()
    page.locator("#plane").scroll_into_view_if_needed()
    seen = {(page.inner_text("#who strong"), line(page))}
    box = page.locator("#plane").bounding_box()
    for step in range(12):
        across, down = box["width"] * (0.2 + 0.05 * step), box["height"] * 0.5
        page.mouse.move(box["x"] + across, box["y"] + down)
        seen.add((page.inner_text("#who strong"), line(page)))
    assert len(seen) > 3
    assert len({name for name, _ in seen}) == len({drawn for _, drawn in seen}) == len(seen)


def test_arrow_keys_go_from_dot_to_dot(opened: Opened) -> None:
    page = opened()
    page.focus("#plane")
    before = page.inner_text("#who")
    page.keyboard.press("ArrowRight")
    right = page.inner_text("#who")
    assert right != before
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert page.inner_text("#who strong")


def test_tapping_on_a_phone_shows_the_ecg_and_nothing_overflows(opened: Opened) -> None:
    page = opened(viewport=PHONE, has_touch=True, is_mobile=True)
    for details in page.query_selector_all("details"):
        details.evaluate("one => { one.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = page.evaluate(
        """[...document.querySelectorAll("main *, header *, footer *")]
        .filter((one) => !one.closest(".scroll, svg, .strip") && one.getBoundingClientRect().width)
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5
                         || one.getBoundingClientRect().left < -0.5)
        .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`)"""
    )
    assert wide == []
    page.locator("#plane").scroll_into_view_if_needed()
    box = page.locator("#plane").bounding_box()
    names = set()
    for step in range(6):
        page.touchscreen.tap(box["x"] + box["width"] * (0.25 + 0.1 * step), box["y"] + 170)
        names.add(page.inner_text("#who strong"))
    assert len(names) > 1


def test_dark_follows_the_system_and_the_button(opened: Opened) -> None:
    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    assert background(light) != background(dark)
    was_dark = background(dark)
    dark.click("#theme")
    assert background(dark) == background(light)
    light.click("#theme")
    assert background(light) == was_dark
    light.reload()
    assert background(light) == was_dark  # it is remembered


def test_colours_and_layouts_switch(opened: Opened) -> None:
    page = opened(reduced_motion="reduce")
    picture = "document.getElementById('plane').toDataURL()"
    seen = {page.evaluate(picture)}
    for name in ("Sex", "Age", "Trained", "PCA"):
        page.get_by_role("radio", name=name, exact=True).check()
        seen.add(page.evaluate(picture))
    assert len(seen) == 5
    assert "distances are true" in page.inner_text("#about-map")
    page.get_by_role("radio", name="Statement").check()
    pressed = page.locator("#chips button[aria-pressed=true]")
    count = pressed.count()
    pressed.first.click()
    assert page.locator("#chips button[aria-pressed=true]").count() == count - 1


def test_a_name_that_looks_like_a_script_is_only_text(opened: Opened) -> None:
    page = opened(reduced_motion="reduce")
    page.focus("#plane")
    names = {page.inner_text("#who strong")}
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        for _ in range(40):
            page.keyboard.press(key)
            names.add(page.inner_text("#who strong"))
    assert len(names) > 10
    if EVIL not in names:  # it is the first recording: point at it
        spot = page.evaluate(
            """(() => { const d = JSON.parse(document.getElementById("data").textContent);
            const i = d.recordings.names.findIndex((n) => n.includes("script"));
            const m = d.maps[0].neighbours || d.maps[0].principal;
            return [m[2 * i] / 1000, m[2 * i + 1] / 1000]; })()"""
        )
        page.locator("#plane").scroll_into_view_if_needed()
        box = page.locator("#plane").bounding_box()
        page.mouse.move(
            box["x"] + 15 + spot[0] * (box["width"] - 30),
            box["y"] + box["height"] - 15 - spot[1] * (box["height"] - 30),
        )
        names.add(page.inner_text("#who strong"))
    assert EVIL in names
    assert page.evaluate("window.evil") is None


def test_gaps_are_drawn_and_print_has_everything(opened: Opened) -> None:
    page = opened(color_scheme="dark")
    dark = background(page)
    assert page.locator("#gaps .filled").count() > 3
    assert page.locator("#gaps .band").count() > 3
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert page.locator("details:not([open])").count() == 0
    assert background(page) == dark  # as it was before
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"  # ink is saved on paper


def test_rebuilt_leads_are_drawn_when_they_are_unfolded(opened: Opened) -> None:
    page = opened()
    assert page.locator(".matrix tbody td").count() == 5 * 5
    strips = page.locator("[data-example]")
    assert strips.count() == 4  # of the decoders' one recording: I is given
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    empty = "document.querySelectorAll('.leads .paper').forEach((one) => one.replaceChildren())"
    page.evaluate(empty)
    page.locator("summary", has_text="all leads of one recording").click()
    page.wait_for_selector("[data-example] svg path.filled >> nth=3")
    for one in strips.all():
        assert one.locator("path.trace").count() >= 2  # the pulse and the signal
