"""pyproject.toml, the lock, environment.yml, the Makefile and CI tell one story."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CARD = {"jupyter-book", "jupyterlab", "nbval", "mxnet", "numpy", "matplotlib", "papermill"}
ON_TOP = {"torch", "torch-test"}  # the extras that are installed over the lock, for their size

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()


def parsed(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r for r in found}


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


LOCK = parsed(lock_lines())


def locked(name: str) -> str:
    (only,) = LOCK[canonicalize_name(name)].specifier
    assert only.operator == "=="
    return only.version


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def pip_section() -> list[str]:
    (section,) = [d["pip"] for d in environment()["dependencies"] if isinstance(d, dict)]
    return section


@pytest.mark.parametrize("extra", ["core", *EXTRAS])
def test_the_lock_satisfies_pyproject(extra: str) -> None:
    lines = PROJECT["project"]["dependencies"] if extra == "core" else EXTRAS[extra]
    for name, wanted in parsed(lines).items():
        if extra in ON_TOP and name not in LOCK:
            assert [s.operator for s in wanted.specifier] == ["=="]
        else:
            assert wanted.specifier.contains(locked(name)), f"{wanted}, locked {LOCK[name]}"


def test_torch_is_no_part_of_the_lock() -> None:
    assert "torch" not in LOCK
    assert not [name for name in LOCK if name.startswith("nvidia")]


def test_the_package_itself_asks_for_little() -> None:
    core = parsed(PROJECT["project"]["dependencies"])
    assert set(core) == {"numpy", "safetensors", "tqdm"}
    assert core["numpy"].specifier.contains("1.26.0")
    assert core["numpy"].specifier.contains("2.4.0"), "NumPy 2 must not be shut out"


def test_every_line_of_the_lock_is_an_exact_version() -> None:
    assert len(LOCK) == len(lock_lines())
    for name in LOCK:
        assert Version(locked(name))
    assert locked("numpy").startswith("1.26."), "MXNet 1.9.1 does not run on NumPy 2"


def test_mxnet_is_asked_for_only_where_it_has_a_wheel() -> None:
    in_project = parsed(EXTRAS["mxnet"])["mxnet"].marker
    in_lock = LOCK["mxnet"].marker
    assert in_project is not None
    assert in_project == in_lock
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    assert in_lock.evaluate(linux)
    assert in_lock.evaluate({**linux, "platform_machine": "aarch64"})
    assert not in_lock.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})
    assert not in_lock.evaluate({"sys_platform": "win32", "platform_machine": "AMD64"})


@pytest.mark.parametrize("name", ["requirements.lock", "environment.yml", "pyproject.toml"])
def test_nothing_names_an_address_or_a_path_of_one_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    for pattern in (
        r"://",
        r"(?m)^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b",
        r"(?m)^[\w.-]+ @ ",
        r"(?<![\w.])/(?:home|root|opt|tmp|Users|usr|work)/",
    ):
        assert not re.search(pattern, text), f"{name} holds {pattern}"


def test_every_release_of_the_lowest_python_can_install_the_lock() -> None:
    """Requires-Python of what is installed here admits 3.11.0, not just this interpreter."""
    refusing = [
        distribution.name
        for distribution in metadata.distributions()
        if "3.11.0" not in SpecifierSet(distribution.metadata.get("Requires-Python") or "")
    ]
    assert not (set(map(canonicalize_name, refusing)) & set(LOCK))


def test_conda_environment_holds_the_same_versions() -> None:
    named = parsed([line for line in pip_section() if not line.startswith("-")])
    assert set(named) == CARD
    for name, wanted in named.items():
        assert str(wanted.specifier) == f"=={locked(name)}"
    assert "python=3.11" in environment()["dependencies"]
    assert "--constraint requirements.lock" in pip_section()


def test_conda_environment_installs_every_extra_of_the_lock() -> None:
    (editable,) = [line for line in pip_section() if line.startswith("--editable")]
    extras = Requirement("lepton-ref" + editable.split(".", 1)[1]).extras
    assert extras == set(EXTRAS) - ON_TOP == set(PROJECT["tool"]["pip-tools"]["extra"])


def test_second_leg_is_numpy_2_and_python_agrees_everywhere() -> None:
    (numpy2,) = re.findall(r"^NUMPY2 := (\S+)$", MAKEFILE, re.M)
    assert Version("2.0") <= Version(numpy2) < Version("3")
    assert "PYTHON ?= python3.11" in MAKEFILE
    assert Version("3.11") in Requirement(f"x{PROJECT['project']['requires-python']}").specifier


def test_help_names_every_command() -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.M)
    assert phony is not None
    commands = set(phony.group(1).replace("\\\n", " ").split())
    documented = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.M))
    assert commands == documented


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")
@pytest.mark.parametrize("command", ["env", "test", "test-numpy2", "lab", "lint"])
def test_make_knows_the_command(command: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_workflow_runs_the_same_commands_with_pinned_actions() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", step["uses"]), step["uses"]
    runs = "\n".join(step.get("run", "") for step in steps)
    for target in re.findall(r"make ([a-z0-9-]+)", runs):
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target
    for needed in ("make test", "make book", "make test-numpy2", "make lint"):
        assert needed in runs
    assert workflow["jobs"]["publish"]["needs"] == ["three-engines", "numpy2"]
    assert "LEPTON_REQUIRE_ENGINES: numpy,mxnet,torch" in text


def test_ci_run_demands_three_engines_and_the_browser() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "LEPTON_REQUIRE_ENGINES=numpy,mxnet,torch" in text
    assert "LEPTON_REQUIRE_BROWSER=1" in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_hooks_download_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    assert {hook["id"] for repo in hooks["repos"] for hook in repo["hooks"]} == {"ruff", "mypy"}


@pytest.mark.skipif(
    os.environ.get("LEPTON_LOCKED") != "1", reason="only in the environment made from the lock"
)
def test_installed_is_what_the_lock_says() -> None:
    wrong = {}
    for name, requirement in LOCK.items():
        if requirement.marker is None or requirement.marker.evaluate():
            try:
                found = metadata.version(name)
            except metadata.PackageNotFoundError:
                found = "not installed"
            if found != locked(name):
                wrong[name] = f"{found}, locked {locked(name)}"
    assert not wrong
