"""The built site, a loopback server for it, and a headless Chromium.

The site is built once per session. The browser is the system's (``chromium`` on the
PATH, or ``LEPTON_CHROMIUM``); nothing is downloaded. Without one the tests that need it
are skipped as unproven; ``LEPTON_REQUIRE_BROWSER=1`` makes that a failure.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-domain-reliability", "--disable-default-apps",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers share the site: who reads a part of its pages, and who does the rest."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            given = getattr(item, "callspec", None)
            part = given.params.get("part", 0) if given else 0
            item.add_marker(pytest.mark.xdist_group(f"site-{part}"))


@dataclass(frozen=True)
class Site:
    """A built site: its folder, its build log and how long the build took."""

    html: Path
    log: str
    seconds: float
    returncode: int

    @property
    def pages(self) -> list[str]:
        """Addresses of the pages that the table of contents lists."""
        found = [*self.html.glob("book/**/*.html"), *self.html.glob("notebooks/**/*.html")]
        return sorted(p.relative_to(self.html).as_posix() for p in found)


def chromium() -> str | None:
    """Path of a Chromium, if this machine has one."""
    names = (os.environ.get("LEPTON_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def browser_missing(reason: str) -> None:
    """Skip as unproven, or fail where the browser is demanded."""
    if os.environ.get("LEPTON_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LEPTON_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(f"UNPROVEN here: {reason}")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The book, built as ``make book`` builds it, into a temporary folder that workers share."""
    pytest.importorskip("jupyter_book", reason="UNPROVEN here: jupyter-book is not installed")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return build(tmp_path_factory.mktemp("site"))
    shared = tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "site.lock"):
        built = shared / "site.json"
        if not built.exists():
            (shared / "site").mkdir()
            made = build(shared / "site")
            built.write_text(json.dumps({**asdict(made), "html": str(made.html)}))
        fields = json.loads(built.read_text())
        return Site(**{**fields, "html": Path(fields["html"])})


def build(out: Path) -> Site:
    """Build the book into this folder, whatever comes of it."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    run = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", run, "build", str(ROOT), "-n", "-W", "--keep-going"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--path-output", str(out)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert (out / "_build" / "html" / "index.html").is_file(), done.stdout[-3000:]
    log = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    return Site(out / "_build" / "html", log, time.monotonic() - start, done.returncode)


@pytest.fixture(scope="session")
def address(site: Site) -> Iterator[str]:
    """The site served on the loopback address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(site.html), **kwargs)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium with a profile of its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser_missing("playwright is not installed")
    path = chromium()
    if path is None:
        browser_missing("no Chromium on the PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield instance
        instance.close()


class Visit:
    """One browser context that notes every request, script error and console error."""

    def __init__(self, browser: object, width: int = 1280, scheme: str = "light") -> None:
        height = 844 if width < 500 else 900
        self.context = browser.new_context(  # type: ignore[attr-defined]
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.context.set_default_timeout(120_000)  # other tests may keep the machine busy
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )

    def open(self, url: str) -> None:
        """Load a page and wait until MathJax, where there is one, has finished."""
        self.page.goto(url, wait_until="load")
        self.page.evaluate(
            "() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null"
        )

    def elsewhere(self, address: str) -> list[str]:
        """Requests that left the given address."""
        host = re.sub(r"^https?://", "", address).split("/")[0]
        own = (f"http://{host}/", f"ws://{host}/", "data:", "blob:", "about:")
        return [url for url in self.requests if not url.startswith(own)]

    def close(self) -> None:
        """Close the context."""
        self.context.close()


@pytest.fixture
def visit(browser: object) -> Iterator[object]:
    """A function ``visit(width, scheme)`` that opens a fresh browser context."""
    opened: list[Visit] = []

    def make(width: int = 1280, scheme: str = "light") -> Visit:
        opened.append(Visit(browser, width, scheme))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
