"""JupyterLab as a reader uses it: open the convolution notebook, Run All, look at it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.site.conftest import ROOT, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOK = "vision/convolution.ipynb"
SECONDS = 240  # for the whole notebook, on a machine that is busy with other tests

SETTINGS = {  # no request for news, and every cell in the page so that it can be looked at
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
}

PROMPTS = """() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')].map(cell => {
  const prompt = cell.querySelector('.jp-InputPrompt');
  return {prompt: prompt ? prompt.textContent : '',
          empty: cell.querySelector('.cm-content').textContent.trim() === ''};
})"""

FIGURES = """() => [...document.querySelectorAll('.jp-Notebook .jp-OutputArea-output img')]
  .filter(image => image.complete && image.naturalWidth > 50 && image.naturalHeight > 50).length"""

ERRORS = """() => [...document.querySelectorAll(
    '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')]
  .map(output => output.textContent)"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, token and folder."""

    address: str
    token: str
    folder: Path


def free_port() -> int:
    """A port that is free on the loopback address now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clear(notebook: dict) -> dict:
    """The notebook without outputs, so that whatever shows afterwards was drawn now."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def figures(notebook: dict) -> int:
    """Pictures among the stored outputs."""
    return sum(
        any(kind.startswith("image/") for kind in output.get("data", {}))
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebook, with settings and state of its own."""
    pytest.importorskip("jupyterlab", reason="UNPROVEN here: jupyterlab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    source = ROOT / "notebooks" / NOTEBOOK
    if not source.is_file():
        pytest.skip(f"notebooks/{NOTEBOOK} does not exist yet")
    work = folder / "notebooks"
    (work / NOTEBOOK).parent.mkdir(parents=True)
    (work / NOTEBOOK).write_text(json.dumps(clear(json.loads(source.read_text("utf8")))), "utf8")
    for name, content in SETTINGS.items():
        path = folder / "settings" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content), "utf8")
    token, port = secrets.token_hex(16), free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_TOKEN": token,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "LEPTON_ENGINE": "numpy",
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}", "--allow-root",
        "--LabApp.news_url=None", "--ServerApp.open_browser=False",
    ]  # fmt: skip
    log = folder / "lab.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            if process.poll() is not None:
                raise AssertionError(log.read_text("utf8")[-3000:])
            try:
                urllib.request.urlopen(f"{address}api/status?token={token}", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            raise AssertionError("JupyterLab did not answer:\n" + log.read_text("utf8")[-3000:])
        yield Lab(address, token, work)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_convolution_notebook_runs_in_jupyterlab(lab: Lab, visit: Callable[..., Visit]) -> None:
    stored = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text("utf8"))
    expected = figures(stored)
    assert expected > 0, "the committed notebook has no figure"
    here = visit()
    page = here.page
    page.goto(f"{lab.address}lab/tree/{NOTEBOOK}?token={lab.token}", wait_until="load")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=90_000)
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=120_000)
    assert page.evaluate(FIGURES) == 0, "the outputs should be cleared at the start"

    page.locator(".lm-MenuBar-item", has_text="Run").first.click()
    page.locator(".lm-Menu-item:visible", has_text="Run All Cells").first.click()

    deadline = time.monotonic() + SECONDS
    while True:
        errors = page.evaluate(ERRORS)
        assert not errors, errors[0][:2000]
        cells = [cell for cell in page.evaluate(PROMPTS) if not cell["empty"]]
        if cells and all(cell["prompt"].strip("[]: ").isdigit() for cell in cells):
            break
        prompts = [cell["prompt"] for cell in cells]
        assert time.monotonic() < deadline, f"not finished in {SECONDS} s: {prompts}"
        page.wait_for_timeout(500)

    codes = [
        c for c in stored["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()
    ]
    assert len(cells) == len(codes)
    page.wait_for_timeout(1000)
    assert page.evaluate(ERRORS) == []
    assert page.evaluate(FIGURES) >= expected
    assert here.elsewhere(lab.address) == []
