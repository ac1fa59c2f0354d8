"""README and CONTRIBUTING name what exists, and their code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lepton_ref

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ["README.md", "CONTRIBUTING.md"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_code_of_the_readme_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", text("README.md"), re.S | re.M)
    namespace: dict = {}
    with lepton_ref.use("numpy"):
        exec(code, namespace)
    assert 0 < abs(float(namespace["loss"])) < 1
    assert namespace["grads"]["w"].shape == (3, 2)


@pytest.mark.parametrize("name", GUIDES)
def test_commands_exist(name: str) -> None:
    makefile = text("Makefile")
    named = re.findall(r"(?:`|^)make ([a-z0-9-]+)", text(name), re.M)
    assert named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


@pytest.mark.parametrize("name", GUIDES)
def test_links_and_paths_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", text(name)):
        assert (ROOT / target).exists(), target
    code = re.sub(r"```.*?```", "", text(name), flags=re.S)
    for path in re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:md|yml|toml|lock))`", code):
        if path.split("/")[0] in ("book", "notebooks", "lepton_ref", "tests", "benchmarks"):
            assert (ROOT / path).exists(), path


def test_the_sweep_of_the_readme_can_start(tmp_path) -> None:
    """Its two commands, as typed: the notebooks exist and accept the parameters.

    Where the engine that one of them names is not installed, it says that instead.
    """
    from lepton_ref import cli
    from lepton_ref.cloud.sweeps import SweepError, SweepSpec, open_sweep, options
    from lepton_ref.engines import NAMES, installed

    code = text("README.md").replace("\\\n", " ")
    lines = [line.split() for line in code.splitlines() if ".venv/bin/lepton-ref" in line]
    assert [words[1] for words in lines] == ["run", "sweep"]
    for words in lines:
        given = cli.joined(words)
        notebook, named = str(ROOT / given[2]), dict(zip(given, given[1:]))
        spec = SweepSpec(notebook, str(tmp_path))
        grid = [b for a, b in zip(given, given[1:]) if a == "--grid"]
        told = [b for a, b in zip(given, given[1:]) if a == "-p"]
        said = options.Varied(told, grid, [], 0, 0, "", "maximize", "none", 0)
        varied = options.vary(spec, said)
        values = {word.rpartition("=")[2] for word in given}
        if absent := set(NAMES) & values - set(installed()):
            with pytest.raises(SweepError, match=f"engine '{absent.pop()}' is not installed here"):
                open_sweep(varied)
        else:
            assert len(open_sweep(varied).runs) == (6 if grid else 1), named
