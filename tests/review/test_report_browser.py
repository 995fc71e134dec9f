"""The report in Chromium: its policy lets all of itself work, it fits a phone, sorts, and prints without cuts."""

from __future__ import annotations

import re
from typing import Any

import browser_parts as parts
import pytest
from report_parts import FLAG, FolderMaker, make_run

from medseg.review.report import write_report


@pytest.fixture(scope="module")
def browser() -> Any:
    with parts.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run and its evaluation; Dice of case_0..3 falls, case_1 is flagged."""
    folder = tmp_path_factory.mktemp("report")
    maker = FolderMaker(folder / "scores")
    for i, shift in enumerate((0, 1, 2, 3)):
        maker.case(f"case_{i}", shift=shift, flags=[FLAG] if i == 1 else [])
    return write_report([make_run(folder / "run"), maker.close()], folder / "report.html").as_uri()


def opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """The page, and what its console and network said."""
    page = browser.new_page(**options)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    return page, said


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_nothing_is_refused_or_asked_for(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    page, said = opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 100)")
    assert said == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Any, address: str, scheme: str) -> None:
    page, _ = opened(browser, address, color_scheme=scheme)
    for selector in (
        "body",
        ".note",
        ".missing",
        ".bad",
        ".good",
        "a",
        ".tiles .what",
        "tr.marked td",
        ".flags li",
        "dt",
    ):
        colours = page.evaluate(_COLOURS, selector)
        assert contrast(*colours) >= 4.5, (selector, colours)  # WCAG 2.1, 1.4.3 AA
    page.close()


_COLOURS = """selector => {
    const one = document.querySelector(selector);
    let behind = one;
    while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const below = behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)";
    return [getComputedStyle(one).color, below];
}"""


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two CSS colours (WCAG 2.1, relative luminance)."""

    def luminance(colour: str) -> float:
        parts_ = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        r, g, b = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts_)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_tables_are_sorted_by_their_headings_with_the_keyboard_too(browser: Any, address: str) -> None:
    page, _ = opened(browser, address)
    table = page.locator("table.sortable", has_text="Scores of each case")
    heading = table.locator("thead th", has_text=re.compile("^Dice"))

    def dice() -> list[float]:
        place = heading.evaluate("one => one.cellIndex")
        return [
            float(v)
            for v in table.locator("tbody tr").evaluate_all(f"rows => rows.map(r => r.cells[{place}].dataset.value)")
        ]

    before = dice()
    heading.locator("button").click()
    assert dice() == sorted(before)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").press("Enter")
    assert dice() == sorted(before, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    page.close()


def test_without_scripts_everything_can_be_read(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("table.sortable button").count() == 0
    assert page.locator("table.sortable tbody tr").first.is_visible()
    assert page.locator("article img").first.is_visible()
    context.close()


def test_on_a_phone_the_contours_are_seen_first_and_large(browser: Any, address: str) -> None:
    page, _ = opened(browser, address, viewport={"width": 375, "height": 800})
    frame = page.locator(".picture.panes-4").first
    wide, right = frame.evaluate(
        "one => { const i = one.querySelector('img').getBoundingClientRect(), f = one.getBoundingClientRect();"
        " return [i.width / f.width, i.right - f.right]; }"
    )
    assert wide == pytest.approx(4, abs=0.1)
    assert right == pytest.approx(0, abs=2)
    page.close()


def test_it_prints_light_with_all_that_is_folded_and_no_table_is_cut(browser: Any, address: str) -> None:
    page, _ = opened(browser, address, color_scheme="dark", viewport={"width": 700, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("nav").is_visible()
    assert page.locator("summary").first.is_hidden()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    cut = "all => all.filter(one => getComputedStyle(one).overflowX !== 'visible').length"
    assert page.locator(".scroll, .picture").evaluate_all(cut) == 0
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.close()
