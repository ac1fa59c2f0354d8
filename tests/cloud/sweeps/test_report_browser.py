"""The report in a browser, opened as a file: alone, readable, sortable, accessible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lepton_ref.cloud.sweeps.report import About, Search, report_html
from lepton_ref.cloud.sweeps.results import table
from lepton_ref.cloud.sweeps.runs import FINISHED
from tests.cloud.sweeps.report_runs import HOSTILE, grid, notebook, png, run, search
from tests.site.conftest import FLAGS, Visit, browser_missing, chromium
from tests.site.test_browser import OVERFLOW, axe_source

pytestmark = [pytest.mark.browser, pytest.mark.slow]
InBrowser = Callable[..., Any]
WIDTHS, SCHEMES = (390, 1300), ("light", "dark")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of four reports: a grid, a search, nothing but failures, and an attack."""
    folder = tmp_path_factory.mktemp("reports")
    gallery = {"notebooks": lambda path: notebook(([], "A grey picture.", [png(90, 640, 400)]))}
    hostile = [
        run(i, {HOSTILE: HOSTILE + str(i), "x": i}, recorded={"m": i, "s": HOSTILE},
            error={"name": HOSTILE, "value": HOSTILE, "cell": 1}) for i in range(4)
    ]  # fmt: skip
    pages = {
        "grid": report_html("Grid", table(grid()), about=About("notebooks/a.ipynb"), **gallery),
        "search": report_html("Search", table(search()), search=Search("score", "maximize")),
        "failed": report_html("Failed", table(r for r in grid() if r.status != FINISHED)),
        "hostile": report_html(HOSTILE, table(hostile)),
        "empty": report_html("Empty", table([])),
    }
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html, "utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


@pytest.fixture(scope="module")
def in_browser() -> Iterator[InBrowser]:
    """Runs ``look(visit)`` with a fresh context, in a thread that owns the browser.

    Playwright allows one browser of its synchronous kind a thread, and the tests of the site may
    hold one in this process already.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser_missing("playwright is not installed")
    path = chromium()
    if path is None:
        browser_missing("no Chromium on the PATH (Debian: apt install chromium)")
    with ThreadPoolExecutor(1) as thread:
        manager = sync_playwright()
        playwright = thread.submit(manager.start).result()
        browser = thread.submit(
            lambda: playwright.chromium.launch(executable_path=path, args=FLAGS)
        ).result()

        def work(look: Callable[[Visit], Any], width: int, scheme: str, **context: Any) -> Any:
            visit = Visit(browser, width, scheme)
            if context:
                visit.context.close()
                visit.context = browser.new_context(**context)
                visit.page = visit.context.new_page()
            try:
                return look(visit)
            finally:
                visit.close()

        def call(
            look: Callable[[Visit], Any], width: int = 1300, scheme: str = "light", **context: Any
        ) -> Any:
            return thread.submit(work, look, width, scheme, **context).result()

        yield call
        thread.submit(browser.close).result()
        thread.submit(playwright.stop).result()


@pytest.mark.parametrize("name", ["grid", "search", "failed", "hostile", "empty"])
def test_alone_without_errors_and_inside_the_screen(
    reports: dict[str, str], in_browser: InBrowser, name: str
) -> None:
    def look(visit: Visit) -> list[str]:
        visit.page.on("dialog", lambda dialog: visit.errors.append(dialog.message))
        visit.open(reports[name])
        asked = [url for url in visit.requests if not url.startswith("data:")]
        wide = visit.page.evaluate(OVERFLOW)
        return [*visit.errors, *(url for url in asked if url != reports[name]), *wide]

    for width in WIDTHS:
        assert in_browser(look, width) == []


# Dark differs in its colours alone.
AXE = """rules => axe.run(
  {resultTypes: ['violations'], ...(rules ? {runOnly: {type: 'rule', values: rules}} : {})})"""
COLOURS = ["color-contrast", "link-in-text-block"]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("grid", 390, "light"),
        ("grid", 1300, "light"),
        ("grid", 1300, "dark"),
        ("search", 390, "light"),
        ("failed", 1300, "light"),
        ("failed", 390, "dark"),
        ("hostile", 390, "light"),
        ("empty", 390, "light"),
    ],
)
def test_axe_finds_nothing(
    reports: dict[str, str], in_browser: InBrowser, name: str, width: int, scheme: str
) -> None:
    def look(visit: Visit) -> list[str]:
        visit.open(reports[name])
        visit.page.evaluate(axe_source())
        rules = COLOURS if scheme == "dark" else None
        found = visit.page.evaluate(AXE, rules)["violations"]
        return [f"{v['impact']} {v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]

    assert in_browser(look, width, scheme) == []


COLUMN = """name => {
  const heads = [...document.querySelectorAll('#table thead th')];
  const at = heads.findIndex(head => head.dataset.name === name);
  return [...document.querySelectorAll('#table tbody tr:not([hidden])')]
    .map(row => row.cells[at].textContent.trim());
}"""


def test_the_table_sorts_by_keyboard(reports: dict[str, str], in_browser: InBrowser) -> None:
    def look(visit: Visit) -> None:
        visit.open(reports["search"])
        page = visit.page
        before = page.evaluate(COLUMN, "lr")
        head = page.locator("#table th[data-name=lr]")
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        rising = page.evaluate(COLUMN, "lr")
        assert [float(v) for v in rising] == sorted(float(v) for v in before)
        assert rising != before
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert page.evaluate(COLUMN, "lr") == rising[::-1]
        page.locator("#table th[data-name=activation] button").click()
        assert head.get_attribute("aria-sort") is None
        assert page.evaluate(COLUMN, "activation") == ["gelu"] * 12 + ["relu"] * 12

    in_browser(look)


def test_runs_without_a_value_come_last(reports: dict[str, str], in_browser: InBrowser) -> None:
    def look(visit: Visit) -> None:
        visit.open(reports["grid"])
        button = visit.page.locator("#table th[data-name=accuracy] button")
        for _ in range(2):
            button.click()
            assert visit.page.evaluate(COLUMN, "accuracy")[-4:] == [""] * 4

    in_browser(look)


def test_the_table_filters(reports: dict[str, str], in_browser: InBrowser) -> None:
    def look(visit: Visit) -> None:
        visit.open(reports["grid"])
        page = visit.page

        def left(words: str) -> int:
            page.fill("#filter", words)
            count = len(page.evaluate(COLUMN, "run"))
            said = page.locator("#shown").inner_text()
            assert said == ("24 runs" if count == 24 else f"{count} of 24 runs")
            return count

        assert left("") == 24
        assert left("adam") == 12
        assert left("ADAM lr=0.01") == 3
        assert left("lr<0.1 optimizer=sgd seed!=0") == 4
        assert left("accuracy>=0.9") == 6 and left("accuracy!=0.9") == 22
        assert left("nothing like it") == 0
        assert left("") == 24
        page.select_option("#status", "timed out")
        assert page.evaluate(COLUMN, "run") == ["3"]
        # Whoever follows a link to a hidden row gets to see it.
        page.locator("#failures a[href^='#run-']").first.click()
        page.wait_for_function("document.querySelector('#table tr:target').hidden === false")
        assert len(page.evaluate(COLUMN, "run")) == 24

    in_browser(look)


def test_one_metric_at_a_time(reports: dict[str, str], in_browser: InBrowser) -> None:
    def look(visit: Visit) -> None:
        visit.open(reports["grid"])
        headings = visit.page.locator(".metric h3:visible")
        assert headings.all_inner_texts() == ["accuracy"]
        visit.page.select_option("#metric", label="loss")
        assert headings.all_inner_texts() == ["loss"]
        picture = visit.page.locator(".picture").first
        narrow = picture.bounding_box()["width"]
        picture.locator("button").click()
        assert picture.bounding_box()["width"] > 2 * narrow
        assert picture.locator("button").inner_text() == "smaller"

    in_browser(look)


def test_without_scripts_everything_is_there(
    reports: dict[str, str], in_browser: InBrowser
) -> None:
    def look(visit: Visit) -> None:
        visit.page.goto(reports["grid"])
        assert visit.page.locator(".metric h3:visible").count() == 3
        assert visit.page.locator("#table tbody tr:visible").count() == 24
        assert visit.page.locator(".tools:visible, .choose:visible").count() == 0
        assert visit.page.locator("#table button").count() == 0

    in_browser(look, java_script_enabled=False)


def test_colours_of_the_drawings_differ_from_their_ground(
    reports: dict[str, str], in_browser: InBrowser
) -> None:
    """Lines and dots reach 3:1 on the page in light and dark; words on the heat map 4.5:1."""

    script = """() => {
      const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      const luminance = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const contrast = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
      };
      const of = (element, key) => getComputedStyle(element)[key];
      const card = of(document.querySelector('.panel'), 'backgroundColor');
      const found = {marks: [], words: []};
      for (const line of document.querySelectorAll('svg .mean, svg .run'))
        found.marks.push(contrast(of(line, 'stroke'), card));
      const word = document.querySelector('svg .on-ramp');
      for (const cell of document.querySelectorAll('svg .cell.ramp'))
        found.words.push(contrast(of(word, 'fill'), of(cell, 'fill')));
      return found;
    }"""

    def look(visit: Visit) -> dict[str, list[float]]:
        visit.open(reports["grid"])
        return visit.page.evaluate(script)

    for scheme in SCHEMES:
        found = in_browser(look, 1300, scheme)
        assert len(found["marks"]) > 20 and min(found["marks"]) >= 3
        assert len(found["words"]) > 7 and min(found["words"]) >= 4.5


def test_the_report_prints(reports: dict[str, str], in_browser: InBrowser, tmp_path: Path) -> None:
    def look(visit: Visit) -> bytes:
        visit.open(reports["grid"])
        visit.page.emulate_media(media="print")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert visit.page.evaluate(ground) == "rgb(255, 255, 255)"  # whatever the screen shows
        assert visit.page.locator("nav:visible, .tools:visible").count() == 0
        return visit.page.pdf(format="A4")

    assert in_browser(look, 1300, "dark").startswith(b"%PDF")
