"""The report in real headless Chromium: it renders, filters by keyboard, loads nothing, and anyone can read it."""

import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from lmk.data.competitions import read_competition
from lmk.report.page import write_report
from lmk.report.record import load_run
from lmk.report.versus import write_comparison
from tests.reported import make_run

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (390, 820, 1400)


@pytest.fixture(scope="module")
def browser():
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium")
        pytest.skip("needs Chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("browsed")
    workspace = make_run(root)
    competition = read_competition("crops", root / "crops")
    first, second = load_run(workspace, "crops-000000000001"), load_run(workspace, "crops-000000000002")
    write_report(first, competition, root / "report.html")
    write_comparison(first, second, competition, root / "versus.html")
    return {name: root / f"{name}.html" for name in ("report", "versus")}


@pytest.fixture
def open_page(browser, pages):
    """Opens a page at a width and scheme; at the end, nothing was said on the console and nothing was loaded."""
    contexts, faults, requests = [], [], []

    def opened(name: str, width: int = 1400, scheme: str = "light", java_script: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=java_script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(pages[name].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "versus"])
def test_no_rule_of_the_accessibility_checker_is_broken_and_nothing_overflows(open_page, name, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(name, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    found = Axe().run(page).response
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []
    assert len(found["passes"]) > 20
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)"
    )


def test_every_picture_and_chart_is_drawn_and_says_what_it_shows(open_page):
    page = open_page("report")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.evaluate(
        "Promise.all([...document.images].map((image) => { image.loading = 'eager'; return image.decode(); }))"
    )
    pictures = page.evaluate("[...document.images].map((image) => [image.naturalWidth, image.alt])")
    assert len(pictures) > 20
    assert all(width > 0 and re.match(r"(Query|Photo) \w+", alt) for width, alt in pictures)
    charts = page.locator("svg[role=img]")
    assert charts.count() == 4
    for place in range(4):
        box = charts.nth(place).bounding_box()
        assert box["width"] > 200 and box["height"] > 150
        assert charts.nth(place).locator("desc").text_content()


def test_on_a_phone_no_version_is_broken_and_the_bars_of_the_times_are_whole(open_page):
    page = open_page("report", 390)
    broken = """[...document.querySelectorAll('dd')].filter((cell) => {
        const text = document.createRange();
        text.selectNodeContents(cell);
        return /^[0-9.]+$/.test(cell.textContent.trim()) && text.getClientRects().length > 1;
    }).map((cell) => cell.textContent)"""
    assert page.locator("dd").filter(has_text=re.compile(r"^\s*[\d.]+\s*$")).count() > 3
    assert page.evaluate(broken) == []
    times = page.locator("section:has(#time) .scroll")
    assert times.evaluate("(table) => table.scrollWidth - table.clientWidth") <= 0


def test_headings_go_down_one_level_at_a_time(open_page):
    levels = open_page("report").evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((part) => +part.tagName[1])"
    )
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_filters_work_by_keyboard_alone_and_tell_how_many_are_left(open_page):
    page = open_page("report")
    form = page.locator("form[data-filters=query]")
    items = page.locator("[data-item=query]")
    status = form.locator("[role=status]")
    assert status.text_content() == f"{items.count()} of {items.count()} queries"

    form.locator("select").focus()
    page.keyboard.type("rig")
    shown = [items.nth(place).get_attribute("data-kind") for place in visible(items)]
    assert shown and set(shown) == {"right"} and len(shown) < items.count()
    assert status.text_content() == f"{len(shown)} of {items.count()} queries"

    page.keyboard.press("Tab")
    page.keyboard.type(items.nth(visible(items)[0]).locator("th").text_content()[:6])
    assert len(visible(items)) == 1

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('form[data-filters=query] [role=status]').textContent.match(/^(\\d+) of \\1 /)"
    )
    assert len(visible(items)) == items.count()


def test_filters_of_one_list_leave_the_others_alone(open_page):
    page = open_page("report")
    before = len(visible(page.locator("[data-item=query]")))
    page.locator("form[data-filters=mistake] input").fill("no such query")
    assert len(visible(page.locator("[data-item=mistake]"))) == 0
    assert len(visible(page.locator("[data-item=query]"))) == before


def test_the_first_tab_leads_past_the_header(open_page):
    page = open_page("report")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")


def test_without_scripts_everything_is_shown_and_no_dead_filter(open_page):
    page = open_page("report", java_script=False)
    assert page.locator("form:visible").count() == 0
    items = page.locator("[data-item=mistake]")
    assert len(visible(items)) == items.count() > 0


def visible(items) -> list[int]:
    return [place for place in range(items.count()) if items.nth(place).is_visible()]
