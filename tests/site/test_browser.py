"""The site in a browser: alone on its host, readable on a phone, accessible, searchable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site.conftest import ROOT, Site, Visit, browser_missing

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MakeVisit = Callable[..., Visit]

OVERFLOW = """() => {
  const wide = [];
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > limit) {
    for (const e of document.querySelectorAll('body *')) {
      const box = e.getBoundingClientRect();
      if (box.width && box.right > limit + 1 && getComputedStyle(e).position !== 'fixed')
        wide.push(e.tagName + '.' + e.className + ' reaches ' + Math.round(box.right));
    }
    return wide.slice(0, 5).concat(['scrollWidth ' + document.documentElement.scrollWidth]);
  }
  return wide;
}"""

EQUATIONS = """() => {
  const blocks = [...document.querySelectorAll('div.math.notranslate')];
  return {
    raw: blocks.filter(b => !b.querySelector('mjx-container')).length,
    inline: [...document.querySelectorAll('span.math.notranslate')]
      .filter(b => !b.querySelector('mjx-container')).length,
    errors: [...document.querySelectorAll('mjx-merror')].map(e => e.textContent),
    numbers: [...document.querySelectorAll('div.math .eqno')].map(e => e.textContent),
    blank: blocks.filter(b => b.querySelector('mjx-container')
      && b.querySelector('mjx-container').getBoundingClientRect().height < 5).length,
  };
}"""


PARTS = 2
half = pytest.mark.parametrize("part", range(PARTS))


@half
def test_every_page_on_a_phone(site: Site, address: str, visit: MakeVisit, part: int) -> None:
    """At 390 px: no request elsewhere, no script error, no overflow, all maths typeset."""
    here = visit(width=390)
    problems: list[str] = []
    numbered = 0
    for name in site.pages[part::PARTS]:
        here.open(address + name)
        maths = here.page.evaluate(EQUATIONS)
        numbered += len(maths["numbers"])
        wide = here.page.evaluate(OVERFLOW)
        problems += [f"{name}: overflow: {item}" for item in wide]
        problems += [f"{name}: TeX: {item}" for item in maths["errors"]]
        if maths["raw"] or maths["inline"] or maths["blank"]:
            problems.append(f"{name}: formulas not rendered: {maths}")
        problems += [f"{name}: script: {item}" for item in here.errors]
        here.errors.clear()
    problems += [f"request to another host: {url}" for url in here.elsewhere(address)]
    assert not problems, "\n".join(problems)
    assert any("mathjax/tex-chtml-full.js" in url for url in here.requests)
    assert numbered > 0 or not list(site.html.glob("book/framework/*.html"))


BROKEN_NAMES = """() => [...document.querySelectorAll(
  '.bd-article table:not(.lepton-ledger) :not(pre) > code')]
  .filter(code => code.getClientRects().length > 1 && !/\\s/.test(code.textContent.trim()))
  .map(code => code.textContent)"""
FIRST_COLUMN = """() => {
  const boxes = [...document.querySelectorAll('.pst-scrollable-table-container')]
    .filter(box => box.scrollWidth > box.clientWidth + 8);
  return boxes.map(box => {
    const hint = box.classList.contains('lepton-more');
    box.scrollLeft = box.scrollWidth;
    const cell = box.querySelector('tbody td, tbody th');
    return {
      hint, focus: box.tabIndex, colour: getComputedStyle(cell).backgroundColor,
      moved: Math.abs(cell.getBoundingClientRect().left - box.getBoundingClientRect().left),
      share: cell.getBoundingClientRect().width / box.clientWidth,
    };
  });
}"""


def test_tables_can_be_read_on_a_phone(site: Site, address: str, visit: MakeVisit) -> None:
    """Names are whole; what scrolls says so and keeps its first column in sight."""
    here = visit(width=390)
    problems, scrolling = [], 0
    for name in site.pages:
        if '<table class="' not in (site.html / name).read_text("utf8"):
            continue
        here.open(address + name)
        problems += [f"{name}: broken: {x}" for x in here.page.evaluate(BROKEN_NAMES)]
        for table in here.page.evaluate(FIRST_COLUMN):
            scrolling += 1
            transparent = table["colour"] in {"transparent", "rgba(0, 0, 0, 0)"}
            still = table["moved"] < 2 and table["share"] < 0.6 and not transparent
            if not (still and table["hint"] and table["focus"] == 0):
                problems.append(f"{name}: {table}")
    assert not problems, "\n".join(problems)
    assert scrolling > 0


def test_cells_of_the_ledger_are_named_on_a_phone(
    site: Site, address: str, visit: MakeVisit
) -> None:
    """A row becomes a card: the titles of its columns stand in it, no empty cell does."""
    here = visit(width=390)
    here.open(address + "book/ledger.html")
    cards = here.page.evaluate(
        """() => [...document.querySelectorAll('table.lepton-ledger tbody tr')].map(row =>
          [...row.cells].filter(cell => getComputedStyle(cell).display !== 'none').map(cell =>
            getComputedStyle(cell, '::before').content.replaceAll('"', '') + '|'
            + cell.textContent.trim()))"""
    )
    assert len(cards) > 100
    for first, *rest in cards:
        assert first.startswith("none|(")
        assert not [cell for cell in rest if cell.endswith("|–")]
        titles = [cell.partition("|")[0] for cell in rest]
        if "none|definition: claims nothing" in rest:
            assert titles in (["none"], ["implemented in", "none"]), rest
        else:
            assert titles in (["proven by"], ["implemented in", "proven by"]), rest


def test_equation_numbers_follow_the_chapters(site: Site, address: str, visit: MakeVisit) -> None:
    chapters = sorted(path.name for path in (ROOT / "lepton_ref").iterdir())
    pages = [p for p in site.pages if p.startswith("book/") and p.split("/")[1] in chapters]
    pages = [p for p in pages if p.count("/") == 2]
    assert pages
    here = visit()
    seen: set[str] = set()
    for name in pages:
        here.open(address + name)
        numbers = [n.split("#")[0] for n in here.page.evaluate(EQUATIONS)["numbers"]]
        chapter = here.page.locator("h1 .section-number").first.inner_text().strip().rstrip(".")
        assert all(n.startswith(f"({chapter}.") for n in numbers), (name, numbers)
        assert not seen & set(numbers)
        seen |= set(numbers)


# The glyphs inside a formula are MathJax's, thousands of them, in the colour of the text.
AXE = """rules => axe.run({exclude: [['mjx-container > mjx-math'], ['mjx-assistive-mml']]},
  {resultTypes: ['violations'], ...(rules ? {runOnly: {type: 'rule', values: rules}} : {})})"""
RULES = {"light": None, "dark": ["color-contrast", "link-in-text-block"]}  # dark changes colours


def axe_source() -> str:
    """The axe-core script, read from its package."""
    try:
        import axe_playwright_python
    except ImportError:
        browser_missing("axe-playwright-python is not installed")
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf8")


@half
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(
    site: Site, address: str, visit: MakeVisit, scheme: str, part: int
) -> None:
    axe = axe_source()
    here = visit(scheme=scheme)
    # Of what a template makes, some stand for all: one page of the reference, every third notebook.
    notebooks = [p for p in site.pages if p.startswith("notebooks/")]
    pages = [p for p in site.pages if p.startswith("book/") and "/api/" not in p]
    pages += ["book/api/text.html", *notebooks[::3]]
    if scheme == "dark":
        pages = pages[::3]  # the colours are those of one style sheet
    problems = []
    for name in pages[part::PARTS]:
        here.open(address + name)
        assert here.page.evaluate("document.documentElement.dataset.theme") == scheme
        here.page.evaluate(axe)
        result = here.page.evaluate(AXE, RULES[scheme])
        problems += [
            f"{name}: {v['impact']} {v['id']}: {v['nodes'][0]['target']} "
            f"{v['nodes'][0]['html'][:200]} ({len(v['nodes'])} places)"
            for v in result["violations"]
            if v["impact"] in {"serious", "critical"}
        ]
    assert not problems, "\n".join(problems)


def test_search_finds_convolution(site: Site, address: str, visit: MakeVisit) -> None:
    if "book/vision/convolution.html" not in site.pages:
        pytest.skip("no convolution page yet")
    here = visit()
    here.open(address + "search.html?q=convolution")
    link = here.page.locator("#search-results a[href*='book/vision/convolution.html']").first
    link.wait_for(timeout=20_000)
    link.click()
    here.page.wait_for_url("**/book/vision/convolution.html*")
    assert "onvolution" in here.page.title()
    assert here.elsewhere(address) == []


def test_theme_button_switches_to_dark(site: Site, address: str, visit: MakeVisit) -> None:
    here = visit(scheme="light")
    here.open(address + "book/index.html")
    theme = "document.documentElement.dataset.theme"
    assert here.page.evaluate(theme) == "light"
    for _ in range(3):
        here.page.locator(".theme-switch-button:visible").first.click()
        if here.page.evaluate(theme) == "dark":
            return
    raise AssertionError("the theme button never reached dark")


def test_solutions_unfold(site: Site, address: str, visit: MakeVisit) -> None:
    """Solutions are folded at first and open on a click."""
    here = visit()
    for name in site.pages:
        if 'class="solution' in (site.html / name).read_text("utf8"):
            break
    else:
        pytest.skip("no exercise yet")
    here.open(address + name)
    body = here.page.locator(".solution.dropdown section, .solution.dropdown .section").first
    assert not body.is_visible()
    here.page.locator(".solution.dropdown .toggle-button, .solution.dropdown summary").first.click()
    body.wait_for(state="visible", timeout=5_000)


def test_print_of_the_ledger_links_to_code(site: Site, address: str, visit: MakeVisit) -> None:
    """A badge leads to its ledger row, and from there to the line of code."""
    here = visit()
    for name in site.pages:
        if "lepton-badge" in (site.html / name).read_text("utf8"):
            break
    else:
        pytest.skip("no equation yet")
    here.open(address + name)
    here.page.locator(".lepton-badge .lepton-state").first.click()
    here.page.wait_for_url("**/book/ledger.html#ledger-*")
    here.page.locator("table.lepton-ledger td:nth-child(2) a").first.click()
    here.page.wait_for_url("**/source/lepton_ref/**")
    line = here.page.evaluate("location.hash.slice(1)")
    assert here.page.locator(f"[id='{line}']").count() == 1
