"""What a sweep would do and cost: on this machine, on Ray, on Kubernetes."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from lepton_ref.cloud.sweeps import dry_run
from lepton_ref.cloud.sweeps.backends.local import available_cores
from tests.cloud.sweeps.command_tools import said, typed
from tests.cloud.sweeps.sweep_tools import written

# Consoles that do not break lines.
pytestmark = pytest.mark.usefixtures("wide")
ROOT = Path(__file__).resolve().parents[3]
PRICES = """\
format: 1
date: 2020-01-01
currency: EUR
clouds:
  mine:
    title: Mine
    region: here
    billed_seconds: 1
    minimum_seconds: 0
    source: https://example.com/prices
    machines:
      tiny: {cpus: 2, memory_gib: 4, on_demand: 1.5, spot: 0.5, as_of: 2020-01-01}
"""
KUBERNETES = """\
notebook: trial.ipynb
output: s3://bucket/sweep
backend: kubernetes
grid: {seed: "0:40"}
options: {image: "registry.example.com/lepton:0.1.0", max_workers: 4, slots: 2}
"""


def priced(tmp_path: Path, *arguments: str):
    (tmp_path / "p.yaml").write_text(PRICES)
    result = typed(
        "sweep", *arguments, "--dry-run", "--seconds-per-run", "360",
        "--machine", "tiny", "--prices", f"{tmp_path}/p.yaml",
    )  # fmt: skip
    assert result.exit_code == 0, said(result)
    return said(result)


def test_counts_and_prices(tmp_path, played, monkeypatch) -> None:
    (tmp_path / "p.yaml").write_text(PRICES)
    result = typed(
        "sweep", written(tmp_path), "--grid", "seed=0:10", "-o", f"{tmp_path}/s", "--dry-run",
        "--workers", "3",
        "--seconds-per-run", "360", "--machine", "tiny", "--prices", f"{tmp_path}/p.yaml",
    )  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert "runs 10, of which 0 are in the store" in said(result)
    # Ten runs, three at a time: four waves of 360 s after 180 s of starting; two machines
    # of two cores at 1.5 an hour.
    assert f"about {2 * (4 * 360 + 180) / 3600 * 1.5:.2f} EUR" in said(result)
    assert not played.tasks and not (tmp_path / "s/runs").exists()


@pytest.mark.parametrize(
    ("as_of", "words"),
    [("2020-01-01", "price of 2020-01-01"), ("null", "price without a date")],
)
def test_a_price_is_as_old_as_itself_not_as_its_file(tmp_path, played, as_of, words) -> None:
    (tmp_path / "p.yaml").write_text(PRICES.replace("as_of: 2020-01-01", f"as_of: {as_of}"))
    result = typed(
        "sweep", written(tmp_path), "--grid", "seed=0:2", "-o", f"{tmp_path}/s", "--dry-run",
        "--seconds-per-run", "9", "--machine", "tiny", "--prices", f"{tmp_path}/p.yaml",
    )  # fmt: skip
    (cost,) = [line for line in result.stdout.splitlines() if line.startswith("cost")]
    rest = result.stdout[result.stdout.index(cost) :]
    assert words in " ".join(rest.split())


def test_knows_what_earlier_runs_took(tmp_path, played) -> None:
    given = ("sweep", written(tmp_path), "-o", f"{tmp_path}/s")
    unknown = typed(*given, "--grid", "seed=0:4", "--dry-run")
    assert "unknown; say --seconds-per-run" in said(unknown)
    typed(*given, "--grid", "seed=0:2")
    known = typed(*given, "--grid", "seed=0:4", "--dry-run")
    assert "4, of which 2 are in the store" in said(known)
    assert "0.01 s (mean of 2 earlier runs)" in said(known)


def test_this_machine_and_a_ray_of_its_own_run_as_many_as_it_has_cores(tmp_path) -> None:
    given = (written(tmp_path), "--grid", "seed=0:40", "-o", f"{tmp_path}/s")
    for backend in ("local", "ray"):
        words = priced(tmp_path, *given, "--backend", backend)
        assert f"with {available_cores()} at a time" in words
        assert "with 5 at a time" in priced(
            tmp_path, *given, "--backend", backend, "--workers", "5"
        )


def test_how_many_runs_a_cluster_holds_is_asked_for_and_not_guessed(tmp_path) -> None:
    given = (
        *(written(tmp_path), "--grid", "seed=0:40", "-o", f"{tmp_path}/s"),
        *("--backend", "ray", "--address", "auto"),
    )
    words = priced(tmp_path, *given)
    assert "4 h 00 min of one run at a time; say --workers" in words
    # Two cores a machine: 20 waves of 360 s after 180 s of starting, on one machine.
    assert f"about {(20 * 360 + 180) / 3600 * 1.5:.2f} EUR" in words and "on one machine" in words
    assert "24 min 00 s with 10 at a time" in priced(tmp_path, *given, "--workers", "10")


def test_kubernetes_runs_what_its_pods_hold(tmp_path, monkeypatch) -> None:
    # The bucket, which is not there, would be asked for what it holds.
    monkeypatch.setattr(dry_run, "committed", lambda store: {})
    written(tmp_path)
    (tmp_path / "s.yaml").write_text(KUBERNETES)
    words = priced(tmp_path, f"{tmp_path}/s.yaml")
    # Four pods of two: five waves of six minutes, on four machines of two cores.
    assert "30 min 00 s with 8 at a time" in words
    assert f"about {4 * (5 * 360 + 180) / 3600 * 1.5:.2f} EUR" in words
    (tmp_path / "s.yaml").write_text(KUBERNETES + "workers: 3\n")
    assert "with 3 at a time" in priced(tmp_path, f"{tmp_path}/s.yaml")


def test_kubernetes_without_an_image_says_so_before_it_costs_anything(tmp_path) -> None:
    written(tmp_path)
    text = KUBERNETES
    for old, new, message in (
        ('image: "registry.example.com/lepton:0.1.0", ', "", "`image` is missing"),
        ("slots", "slot", "unknown key `slot`"),
        ("slots: 2", "slots: 0", "at least 1"),
    ):
        (tmp_path / "s.yaml").write_text(text.replace(old, new))
        result = typed("sweep", f"{tmp_path}/s.yaml", "--dry-run")
        assert result.exit_code != 0 and message in said(result)


def test_an_engine_that_this_machine_lacks_is_missed_before_a_ray_of_its_own_starts(
    tmp_path, monkeypatch
) -> None:
    from lepton_ref.cloud.sweeps import plan

    monkeypatch.setattr(plan, "installed", lambda: ("numpy",))
    given = ("sweep", written(tmp_path), "-p", "engine", "mxnet", "-o", f"{tmp_path}/s")
    alone = typed(*given, "--backend", "ray", "--dry-run")
    assert alone.exit_code != 0 and "'mxnet' is not installed here" in said(alone)
    # The nodes of a cluster may have it.
    there = typed(*given, "--backend", "ray", "--address", "auto", "--dry-run")
    assert there.exit_code == 0, said(there)


def test_a_secret_that_is_not_set_is_missed_before_a_ray_of_its_own_starts(
    tmp_path, played, monkeypatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    given = ("sweep", written(tmp_path), "-p", "token", "secret:NOT_SET", "-o", f"{tmp_path}/s")
    result = typed(*given, "--backend", "ray")
    assert result.exit_code != 0 and "NOT_SET" in said(result) and not played.tasks


def listings(page: str) -> list[list[str]]:
    """The words of every sweep that a page types, however it is shown."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?(lepton-ref (?:sweep|run) .*)$", text, re.M)
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("page", ["book/cloud/sweeps.md", "book/framework/tuning.md"])
def test_the_commands_of_the_pages_can_be_typed(page, tmp_path, monkeypatch) -> None:
    example = ROOT / "lepton_ref/cloud/sweeps/examples/trial.ipynb"
    shutil.copy(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    book = (ROOT / "book/cloud/sweeps.md").read_text(encoding="utf-8")
    (sweep,) = re.findall(r"^```yaml\n(notebook: trial.*?)^```", book, re.S | re.M)
    # A bucket would be asked for what it holds.
    Path("sweep.yaml").write_text(sweep.replace("s3://bucket/rates", "runs/file"))
    typed_ones = listings(page)
    assert typed_ones
    for words in typed_ones:
        result = typed(*words, *(() if "--dry-run" in words else ("--dry-run",)))
        if "learning_rat=0.1" in words:
            assert result.exit_code != 0
            assert "Did you mean `learning_rate`?" in said(result)
        else:
            assert result.exit_code == 0, (words, said(result))
            assert re.search(r"runs [1-9]\d*, of which 0 are in the store", said(result))


def test_every_listing_is_found() -> None:
    assert len(listings("book/cloud/sweeps.md")) == 3
    assert len(listings("book/framework/tuning.md")) == 1
