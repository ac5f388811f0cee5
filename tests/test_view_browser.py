"""The viewer in a real browser: clicks, drags, keys, a dropped file, on a desktop and a phone."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import sample
from nerula.prepare import Options, make_store
from nerula.readers.source import Entry
from nerula.recording import Recording
from tests.reported import EVIL, EVIL_LABEL, Part
from tests.viewed import Live, serving
from tests.wfdb_records import write_record

COUNT, FLAT = 150, 3
"""Recordings, and the one that lost its electrode for 1.2 s."""
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000
GUTTER = 44
EXPECTED = (" 422 ", "willReadFrequently")
"""What Chromium says by itself: of refusals, and of our own reading of pixels."""
Opened = Callable[..., Any]


class Ward(Part):
    """Real recordings; one has a name that must not run, one a gap."""

    def read(self, entry: Entry) -> Recording:
        held = super().read(entry)
        if entry.row != FLAT:
            return held
        x = held.x.copy()
        x[:, 400:520] = x[:, 400:401]
        return replace(held, x=x)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("view")
    make_store(Ward(COUNT), folder / "store", Options(leads=("II",)), quiet=True)
    (folder / "private").mkdir()
    with serving(folder / "store", folder / "private") as served:
        served.finished()
        yield served


@pytest.fixture
def opened(browser: Any, live: Live) -> Iterator[Opened]:
    """Open the page; at the end it has asked nobody else, and nothing complained."""
    contexts, trouble = [], []

    def open_page(at: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text)
                if not any(word in message.text for word in EXPECTED) else None)  # fmt: skip
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        page.on("request", lambda request: trouble.append(request.url)
                if not request.url.startswith(live.address) else None)  # fmt: skip
        page.goto(f"{live.address}/{at}")
        page.wait_for_selector("#near li canvas")
        page.wait_for_selector("#legend li")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def drawn(page: Any, name: str) -> None:
    """Wait until a recording is named and on the paper: then keys and mouse mean it."""
    page.wait_for_selector(f"#name:text-is('{name}')")
    page.wait_for_selector(f"#ecg[aria-label*='{name}, ']")


def drag(page: Any, start: float, stop: float, **at: float) -> None:
    """Drag over the paper from one second to another."""
    page.locator("#ecg").scroll_into_view_if_needed()
    box = page.locator("#ecg").bounding_box()
    shown = page.get_attribute("#ecg", "aria-label")
    first, last = map(float, re.findall(r"([\d.]+) to ([\d.]+) of", shown)[0])
    each = (box["width"] - GUTTER) / (last - first)
    y = box["y"] + box["height"] * at.get("down", 0.5)
    page.mouse.move(box["x"] + GUTTER + (start - first) * each, y)
    page.mouse.down()
    page.mouse.move(box["x"] + GUTTER + (start + stop) / 2 * each, y, steps=3)
    page.mouse.move(box["x"] + GUTTER + (stop - first) * each, y, steps=3)
    page.mouse.up()


def colours(page: Any, of: str) -> dict[tuple[int, ...], int]:
    """How many pixels of a canvas have each colour, when what was asked to be drawn is drawn."""
    seen = page.evaluate(
        """async (id) => {
        for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
        const one = document.querySelector(id);
        const data = one.getContext("2d").getImageData(0, 0, one.width, one.height).data;
        const counts = {};
        for (let i = 0; i < data.length; i += 4) {
          const key = `${data[i]},${data[i + 1]},${data[i + 2]}`;
          counts[key] = (counts[key] ?? 0) + 1;
        }
        return counts; }""",
        of,
    )
    return {tuple(map(int, key.split(","))): count for key, count in seen.items()}


def blue(page: Any) -> int:
    """Pixels in the colour of what is filled."""
    return colours(page, "#ecg").get((0, 0x72, 0xB2), 0)


def inked(page: Any) -> int:
    """Pixels as dark as the trace."""
    return sum(n for (r, g, b), n in colours(page, "#ecg").items() if r + g + b < 200)


def overflowing(page: Any) -> list[str]:
    """What stands out of the page to the left or right."""
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll("header, main, main *, aside *")]
        .filter((one) => !one.closest(".unseen, svg, #list, #owned"))
        .filter((one) => one.getBoundingClientRect().width)
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5
                         || one.getBoundingClientRect().left < -0.5)
        .map((one) => `${one.tagName} ${one.id} ${one.textContent.slice(0, 30)}`)"""
    )
    return found


# --- finding and looking -----------------------------------------------------------------------


def test_words_and_choices_find_a_recording_and_a_click_opens_it(opened: Opened) -> None:
    page = opened()
    assert page.inner_text("#count") == f"{COUNT} recordings"
    page.fill("#words", "SBRAD")
    page.wait_for_selector(f"#count:has-text('of {COUNT}')")
    page.select_option("#sex", "male")
    page.locator("#list li").first.wait_for()
    rows = page.locator("#list button")
    give_up = time.monotonic() + PATIENCE / 1000
    while not all("SBRAD" in text for text in rows.all_inner_texts()):  # the list follows
        assert time.monotonic() < give_up
        page.wait_for_timeout(50)
    rows.last.click()
    name = rows.last.locator(".name").inner_text()
    page.wait_for_selector(f"#name:text-is('{name}')")
    assert "male" in page.inner_text("#facts")
    assert page.locator("#list [aria-current]").count() == 1
    again = page.url
    page.reload()
    page.wait_for_selector(f"#name:text-is('{name}')")
    assert page.url == again


def test_lists_are_turned_page_by_page(opened: Opened) -> None:
    page = opened()
    assert page.is_disabled("#before")
    first = page.inner_text("#list li:first-child .name")
    page.click("#after")
    page.wait_for_selector("#where:text-is('51–100')")
    assert page.inner_text("#list li:first-child .name") != first
    page.click("#after")
    page.wait_for_selector("#where:text-is('101–150')")
    assert page.is_disabled("#after")


def test_paper_is_moved_and_zoomed_and_keeps_its_proportions(opened: Opened) -> None:
    page = opened("#5")
    assert "25 mm/s, 10 mm/mV" in page.inner_text("#scale")
    assert len(colours(page, "#ecg")) > 10

    def label() -> str:
        found: str = page.get_attribute("#ecg", "aria-label")
        return found

    whole = label()
    box = page.locator("#ecg").bounding_box()
    page.locator("#ecg").click(position={"x": box["width"] / 2, "y": 40})
    page.mouse.wheel(0, -400)
    page.wait_for_selector(f"#ecg:not([aria-label='{whole}'])")
    near = label()
    assert page.locator("#ecg").bounding_box()["height"] > box["height"] * 1.2  # both axes at once
    drag(page, 4.5, 3.5)
    page.wait_for_selector(f"#ecg:not([aria-label='{near}'])")
    moved = label()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(f"#ecg:not([aria-label='{moved}'])")
    page.keyboard.press("0")
    page.wait_for_selector(f"#ecg[aria-label='{whole}']")
    page.click("#true")
    page.wait_for_selector("#scale:has-text('1.00 × true size')")
    for button, sign in (("#in", 1), ("#out", -1)):
        before = float(re.findall(r"([\d.]+) ×", page.inner_text("#scale"))[0])
        page.click(button)
        page.wait_for_selector(f"#scale:not(:has-text('{before:.2f} ×'))")
        assert sign * (float(re.findall(r"([\d.]+) ×", page.inner_text("#scale"))[0]) - before) > 0


def test_what_is_hidden_with_the_mouse_is_filled(opened: Opened, tmp_path: Path) -> None:
    page = opened("#5")
    assert not blue(page)
    page.click("#mode-hide")
    drag(page, 3.0, 3.6)
    page.wait_for_selector("#gaps li")
    assert re.search(r"II 2\.9\d|II 3\.0", page.inner_text("#gaps"))
    assert re.search(r"RMSE 0\.\d{3} mV; a straight line 0\.\d{3}", page.inner_text("#gaps"))
    assert blue(page) > 20
    page.keyboard.down("Shift")
    page.click("label:has-text('Move')")
    drag(page, 6.0, 8.0)
    page.keyboard.up("Shift")
    page.wait_for_selector("#gaps li:nth-child(2)")
    assert "believe the rhythm at most" in page.inner_text("#gaps li:nth-child(2)")
    page.screenshot(path=tmp_path / "filled.png")
    page.click("#clear")
    page.wait_for_selector("#filled", state="hidden")
    assert not blue(page)
    page.click("#mode-hide")
    drag(page, 3.0, 3.6)
    page.wait_for_selector("#gaps li")
    page.click("#list li:nth-child(2) button")
    drawn(page, page.inner_text("#list li:nth-child(2) .name"))
    assert page.is_hidden("#filled")  # that was another recording's


def test_what_was_not_measured_is_a_gap_and_can_be_filled(opened: Opened) -> None:
    page = opened(f"#{FLAT}")
    assert "[signal-flat]" in page.inner_text("#quality")
    assert "[signal-gap]" not in page.inner_text("#quality")  # that one follows from the other
    page.click("#missing")
    page.wait_for_selector("#gaps li")
    assert "nothing was measured there" in page.inner_text("#gaps")
    assert blue(page) > 20


def test_a_beat_is_compared_by_dragging_over_it(opened: Opened) -> None:
    page = opened("#5")
    page.wait_for_selector("#near-of:has-text('To this recording')")
    whole = page.locator("#near .name").all_inner_texts()
    page.click("#mode-choose")
    drag(page, 4.0, 4.8)
    page.wait_for_selector("#near-of:has-text('s alone')")
    assert page.locator("#near li").count() == 8
    assert page.locator("#near .name").all_inner_texts() != whole
    page.keyboard.press("Escape")
    page.wait_for_selector("#near-of:has-text('To this recording')")
    assert page.locator("#near .name").all_inner_texts() == whole
    assert colours(page, "#near li:first-child canvas")
    page.locator("#near button").first.click()
    page.wait_for_selector(f"#name:text-is('{whole[0]}')")


def test_a_dot_of_the_map_shows_its_ecg_and_opens_it(opened: Opened) -> None:
    page = opened()
    page.locator("#plane").scroll_into_view_if_needed()
    box = page.locator("#plane").bounding_box()
    told = set()
    for step in range(60):
        across, down = 0.1 + 0.8 * (step % 12) / 12, 0.15 + 0.7 * (step // 12) / 5
        page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
        if page.locator("#tip").is_visible():
            told.add(page.inner_text("#tip strong"))
            if len(told) > 3:
                break
    assert len(told) > 3
    page.wait_for_timeout(300)
    assert len(colours(page, "#tip canvas")) > 5
    name = page.inner_text("#tip strong")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(f"#name:text-is('{name}')")
    before = colours(page, "#plane")
    for colour in ("Sex", "Age", "Fold"):
        page.click(f"#colours label:has-text('{colour}')")
        assert colours(page, "#plane") != before
        assert page.locator("#legend li").count()
    page.click("#layouts label:has-text('PCA')")
    page.wait_for_selector("#map-note:has-text('principal components')")


# --- files, strangers' names, screens ----------------------------------------------------------


def test_a_record_is_dropped_onto_the_page(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    header = write_record(tmp_path, ("I", "II", "V2"))
    files = [str(header), str(header.with_name("rec.dat"))]
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 300, "data": data})
        if kind == "dragOver":
            page.wait_for_selector("#veil", state="visible")
    drawn(page, "rec")
    page.wait_for_selector("#veil", state="hidden")
    assert page.locator("#owned button").count() == 1
    assert "NaN" not in page.inner_text("#owned")
    assert "250 Hz" in page.inner_text("#facts")
    tall = page.locator("#ecg").bounding_box()["height"]
    page.click("#mode-hide")
    drag(page, 3.0, 3.5, down=0.5)  # one of three leads
    page.wait_for_selector("#gaps li")
    assert page.inner_text("#gaps").startswith("II ")
    assert tall > 150
    page.check("#every-lead")
    drag(page, 5.0, 5.4)
    page.wait_for_selector("#gaps li:nth-child(4)")
    assert re.findall(r"^(\S+) 5|^(\S+) 4\.9", page.inner_text("#gaps"), re.MULTILINE)


def test_a_file_that_does_not_say_is_asked_for_what_is_missing(
    opened: Opened, tmp_path: Path
) -> None:
    page = opened()
    counts = (1000 * sample.load().x[7, 0]).astype(int)
    (tmp_path / "counts.csv").write_text("\n".join(map(str, counts)))
    assert not page.is_visible("#rate")
    page.set_input_files("#files", tmp_path / "counts.csv")
    page.wait_for_selector("#trouble:has-text('If the file does not say')")
    assert "--source" not in page.inner_text("#trouble")
    page.fill("#rate", "100")
    page.select_option("#unit", "uV")
    page.set_input_files("#files", tmp_path / "counts.csv")
    drawn(page, "counts")
    assert page.is_hidden("#trouble")


def test_ten_minutes_are_walked_through(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    x = np.tile(sample.load().x[7, 0], 60)
    np.save(tmp_path / "long.npy", x)
    page.click("#own summary")
    page.fill("#rate", "100")
    with page.expect_file_chooser() as chooser:
        page.click("#pick")
    chooser.value.set_files(tmp_path / "long.npy")
    drawn(page, "long")
    assert "10.0 min" in page.inner_text("#facts")
    page.focus("#ecg")
    page.keyboard.press("End")
    page.wait_for_selector("#ecg[aria-label$='600.0 of 10.0 min']")
    give_up = time.monotonic() + PATIENCE / 1000
    while inked(page) <= 500:  # the last seconds are fetched and drawn
        assert time.monotonic() < give_up
        page.wait_for_timeout(50)
    for _ in range(25):
        page.keyboard.press("-")
    page.wait_for_selector("#scale:has-text('Time is compressed')")
    assert page.get_attribute("#ecg", "aria-label").endswith("0.0 to 600.0 of 10.0 min")


def test_a_file_that_is_none_is_refused_in_words(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    (tmp_path / "letter.exe").write_bytes(b"MZ and more")
    with page.expect_file_chooser() as chooser:
        page.click("#pick")
    chooser.value.set_files(tmp_path / "letter.exe")
    page.wait_for_selector("#trouble")
    assert "letter.exe" in page.inner_text("#trouble")
    assert "/" not in page.inner_text("#trouble").replace("docs/", "")


def test_names_and_labels_are_only_ever_text(opened: Opened) -> None:
    page = opened("#0")
    page.wait_for_selector("#tags .tag")
    assert page.get_attribute("#name", "title") == EVIL
    assert page.inner_text("#name") == EVIL.rpartition("/")[2]
    assert EVIL_LABEL in page.locator("#tags .tag").all_inner_texts()
    assert page.locator("#list .name").first.get_attribute("title") == EVIL
    assert page.evaluate("window.evil") is None
    assert page.locator("img, script:not([src])").count() == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("phone", [False, True])
def test_nothing_stands_out_of_the_page(
    opened: Opened, tmp_path: Path, phone: bool, dark: bool
) -> None:
    options: dict[str, Any] = {"color_scheme": "dark" if dark else "light"}
    if phone:
        options |= {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    page = opened("#5", **options)
    width = (PHONE if phone else DESK)["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert overflowing(page) == []
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    if phone:
        assert not page.is_visible("#find")
        page.tap("#browse")
        assert overflowing(page) == []
        page.locator("#list button").nth(2).tap()
        page.wait_for_selector("#find", state="hidden")
        assert page.inner_text("#name")


def test_fingers_move_and_mark_the_paper(opened: Opened) -> None:
    page = opened("#5", viewport=PHONE, has_touch=True, is_mobile=True)
    session = page.context.new_cdp_session(page)
    before = page.get_attribute("#ecg", "aria-label")
    box = page.locator("#ecg").bounding_box()
    y = box["y"] + box["height"] / 2

    def touch(kind: str, *places: float) -> None:
        points = [{"x": x, "y": y, "id": i} for i, x in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def swipe(start: float, stop: float) -> None:
        touch("touchStart", start)
        for x in np.linspace(start, stop, 6):
            touch("touchMove", float(x))
        touch("touchEnd")

    swipe(300, 120)
    page.wait_for_selector(f"#ecg:not([aria-label='{before}'])")
    scale = page.inner_text("#scale")
    touch("touchStart", 150, 250)
    for spread in (20, 40, 60):
        touch("touchMove", 150.0 - spread, 250.0 + spread)
    touch("touchEnd")
    page.wait_for_selector(f"#scale:not(:has-text('{scale.strip()}'))")
    page.tap("#mode-hide")
    swipe(150, 260)
    page.wait_for_selector("#gaps li")
