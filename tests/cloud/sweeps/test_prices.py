"""The price file and the estimate made from it, against figures worked out by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from lepton_ref.cloud.sweeps import prices
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.price_file import parse_prices
from lepton_ref.cloud.sweeps.prices import Estimate, Price, estimate, load_prices, runs_at_a_time
from lepton_ref.cloud.sweeps.runs import Limits

TEXT = """\
format: 1
date: 2026-11-24
currency: USD
clouds:
  aws:
    region: us-east-1
    source: https://example.com/prices
    billed_seconds: 1
    minimum_seconds: 60
    machines:
      m.large: {cpus: 4, memory_gib: 16, on_demand: 0.36, spot: 0.09}
      g.xlarge:
        cpus: 8
        memory_gib: 32
        gpu: T4
        gpus: 2
        on_demand: 7.2
        spot: null
        as_of: 2026-03-01
  hourly:
    region: cn-east
    currency: CNY
    source: https://example.com/hourly
    billed_seconds: 3600
    minimum_seconds: 3600
    machines:
      h.small: {cpus: 1, memory_gib: 1, on_demand: 2, spot: 1, as_of: null}
"""


@pytest.fixture
def book() -> prices.PriceBook:
    return parse_prices(TEXT, "mine.yaml")


def test_file_is_read_with_what_its_cloud_says(book) -> None:
    assert (book.path, book.date, book.currency) == ("mine.yaml", date(2026, 11, 24), "USD")
    assert book.machine("m.large") == Price(
        name="m.large", cloud="aws", region="us-east-1", cpus=4, memory=16 * 2**30, gpu="", gpus=0,
        on_demand=0.36, spot=0.09, currency="USD", source="https://example.com/prices",
        as_of=date(2026, 11, 24), billed_seconds=1, minimum_seconds=60,
    )  # fmt: skip
    gpu, small = book.machine("g.xlarge"), book.machine("H.SMALL")
    assert (gpu.gpu, gpu.gpus, gpu.spot, gpu.as_of) == ("T4", 2, None, date(2026, 3, 1))
    assert (small.currency, small.as_of) == ("CNY", None)


# 100 runs of 30 s, 180 s to start a machine of 4 CPUs; hand-worked:
#   8 at a time: 2 machines, ⌈100/8⌉ = 13 waves, T = 180 + 390 = 570 s,
#   cost = 2 · 570 / 3600 · 0.36 = 0.114
BY_HAND: list[tuple[dict[str, Any], Estimate]] = [
    ({}, Estimate(570 / 3600, 0.114, 2, 2 * 570 / 3600, 0.36, "USD")),
    ({"spot": True}, Estimate(570 / 3600, 0.0285, 2, 2 * 570 / 3600, 0.09, "USD")),
    # one at a time: 1 machine, T = 180 + 3000 = 3180 s, 3180/3600 · 0.36 = 0.318
    ({"slots": 1}, Estimate(3180 / 3600, 0.318, 1, 3180 / 3600, 0.36, "USD")),
    # 5 runs on 8 slots: 2 machines, 1 wave, T = 210 s, 2 · 210/3600 · 0.36 = 0.042
    ({"runs": 5}, Estimate(210 / 3600, 0.042, 2, 420 / 3600, 0.36, "USD")),
    # 3 runs on 8 slots fit on 1 machine: 210/3600 · 0.36 = 0.021
    ({"runs": 3}, Estimate(210 / 3600, 0.021, 1, 210 / 3600, 0.36, "USD")),
    # 1 run of 10 s without a start: 60 s are paid, 60/3600 · 0.36 = 0.006
    (
        {"runs": 1, "seconds_per_run": 10, "startup_seconds": 0},
        Estimate(10 / 3600, 0.006, 1, 60 / 3600, 0.36, "USD"),
    ),
    # 2 CPUs a run: 2 fit on a machine, so 4 machines; 13 waves as before, 4 · 570/3600 · 0.36
    ({"limits": Limits(cpus=2)}, Estimate(570 / 3600, 0.228, 4, 4 * 570 / 3600, 0.36, "USD")),
    ({"runs": 0}, Estimate(0.0, 0.0, 0, 0.0, 0.36, "USD")),
]


@pytest.mark.parametrize(("change", "expected"), BY_HAND)
def test_estimate_is_the_one_worked_out_by_hand(book, change, expected) -> None:
    given = {"runs": 100, "seconds_per_run": 30.0, "slots": 8, "startup_seconds": 180.0, **change}
    found = estimate(machine=book.machine("m.large"), **given)
    assert dataclasses.asdict(found) == pytest.approx(dataclasses.asdict(expected))


def test_estimate_rounds_up_to_what_the_cloud_bills(book) -> None:
    # 3 runs of 1,500 s after one another, 100 s to start: 4,600 s are 2 hours at 2 CNY each.
    found = estimate(3, 1500.0, book.machine("h.small"), 1, startup_seconds=100.0)
    assert (found.machine_hours, found.cost, found.currency) == (2.0, 4.0, "CNY")
    # 1,200 s in 3 waves are 3,600 s: one hour, and not two by a rounding error.
    found = estimate(3, 1200.0000000000002, book.machine("h.small"), 1, startup_seconds=0.0)
    assert found.machine_hours == 1.0


def test_gpus_share_a_machine(book) -> None:
    machine = book.machine("g.xlarge")
    # Half a GPU a run: 4 fit, 12 slots are 3 machines; 24 runs are 2 waves of 100 s after 60 s.
    found = estimate(24, 100.0, machine, 12, startup_seconds=60.0, limits=Limits(gpus=0.5))
    assert found.machines == 3
    assert found.cost == pytest.approx(3 * 260 / 3600 * 7.2)


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        (Limits(), 8),
        (Limits(cpus=3), 2),
        (Limits(cpus=0.1), 80),
        (Limits(gpus=1), 2),
        (Limits(gpus=0.25), 8),
        (Limits(memory=8 * 2**30), 4),
        (Limits(cpus=2, memory=8 * 2**30, gpus=1), 2),
    ],
)
def test_how_many_runs_fit(book, limits: Limits, fits: int) -> None:
    assert runs_at_a_time(book.machine("g.xlarge"), limits) == fits


@pytest.mark.parametrize(
    "limits", [Limits(cpus=16), Limits(gpus=1), Limits(memory=17 * 2**30)], ids=str
)
def test_a_machine_that_is_too_small(book, limits: Limits) -> None:
    with pytest.raises(
        SweepError, match="machine m.large has 4 CPUs, 16 GiB and 0 GPUs; one run n"
    ):
        runs_at_a_time(book.machine("m.large"), limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": -1}, "`runs` is -1; expected a whole number of at least 0"),
        ({"runs": 1.5}, "`runs` is 1.5; expected a whole number"),
        ({"slots": 0}, "`slots` is 0; expected a whole number of at least 1"),
        ({"slots": True}, "`slots` is True"),
        ({"seconds_per_run": float("nan")}, "`seconds_per_run` is nan; expected a number"),
        ({"seconds_per_run": "30"}, "`seconds_per_run` is '30'"),
        ({"startup_seconds": -1}, "`startup_seconds` is -1"),
    ],
)
def test_arguments_out_of_range(book, change, message) -> None:
    given = {"runs": 1, "seconds_per_run": 1.0, "slots": 1, **change}
    with pytest.raises(SweepError, match=message):
        estimate(machine=book.machine("m.large"), **given)


def test_unknown_machine_has_a_suggestion(book) -> None:
    with pytest.raises(
        SweepError, match=r"'m.larg' is not in .*mine.yaml\. Did you mean `m.large`"
    ):
        book.machine("m.larg")
    with pytest.raises(SweepError, match="It has: g.xlarge, h.small, m.large"):
        book.machine("zzz")


def test_spot_without_a_price_is_priced_on_demand_and_says_so(book) -> None:
    machine = book.machine("g.xlarge")
    assert machine.hourly(spot=True) == machine.hourly() == 7.2
    (told,) = book.warnings(machine, spot=True, today=date(2026, 3, 2))
    assert "no spot price of g.xlarge is known" in told


@pytest.mark.parametrize(
    ("name", "today", "said"),
    [
        ("m.large", date(2026, 11, 25), []),
        ("m.large", date(2027, 5, 23), []),  # 180 days
        (
            "m.large",
            date(2027, 5, 24),
            ["mine.yaml is 181 days old (2026-11-24)", "m.large is 181"],
        ),
        ("g.xlarge", date(2026, 11, 24), ["g.xlarge is 268 days old (2026-03-01)"]),
        ("h.small", date(2026, 11, 24), ["nobody knows how old the price of h.small is"]),
    ],
)
def test_old_prices_are_told(book, name: str, today: date, said: list[str]) -> None:
    found = book.warnings(book.machine(name), today=today)
    assert len(found) == len(said)
    for warning, part in zip(found, said, strict=True):
        assert part in warning and "; check it at https://example.com/" in warning


WRONG = [
    ("format: 1", "format: 2", 1, "`format` has the value 2; expected 1"),
    ("date: 2026-11-24\n", "date: soon\n", 2, "`date` has the value 'soon'; expected a day"),
    ("date: 2026-11-24\n", "date: 2026-13-24\n", 1, "month must be in 1..12"),
    ("date: 2026-11-24\n", "", 1, "`the file` has no `date`"),
    ("currency: USD", "currency: dollars", 3, "`currency` has the value 'dollars'"),
    ("clouds:\n", "cloud:\n", 4, "`cloud` is unknown; .* Did you mean `clouds`"),
    ("billed_seconds: 1\n", "billed_seconds: 0\n", 8, "expected a number above 0"),
    ("minimum_seconds: 60", "minimum_seconds: -60", 9, "expected a number of 0 or more"),
    ("    source: https://example.com/prices\n", "", 5, "`clouds.aws` has no `source`"),
    ("on_demand: 0.36", "on_demand: free", 11, "`clouds.aws.machines.m.large.on_demand` has the"),
    ("on_demand: 0.36", "on_demand: .nan", 11, "value nan; expected a number above 0, per hour"),
    ("on_demand: 0.36, ", "", 11, "`clouds.aws.machines.m.large` has no `on_demand`"),
    ("spot: 0.09", "spot: 0.5", 11, "value 0.5, above the on-demand price 0.36"),
    ("spot: 0.09", "sport: 0.09", 11, "`clouds.aws.machines.m.large.sport` is unknown.*`spot`"),
    ("gpus: 2", "gpus: 1.5", 16, "expected a whole number, 1 or more"),
    ("        gpu: T4\n", "", 12, "has one of `gpu` and `gpus`"),
    ("as_of: 2026-03-01", "as_of: 2027-03-01", 19, "is 2027-03-01, after the file's 2026-11-24"),
    ("cpus: 8", "cpus: true", 13, "has the value True; expected a number above 0"),
    ("h.small: {", "M.Large: {", 27, "is also a machine of aws"),
    ("      m.large: {", "      m.large: 3\n      m.large: {", 12, "stands here a second time"),
    ("      m.large: {cpus: 4", "      m.large: {{cpus: 4", 12, "not YAML"),
    ("m.large: {cpus: 4, memory_gib: 16, on_demand: 0.36, spot: 0.09}", "m.large: 0.36", 11,
     "has the value 0.36; expected a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG)
def test_a_damaged_file_is_refused_with_line_and_key(old, new, line, message) -> None:
    damaged = TEXT.replace(old, new, 1)
    assert damaged != TEXT
    with pytest.raises(SweepError, match=f"mine.yaml, line {line}: .*{message}"):
        parse_prices(damaged, "mine.yaml")


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "prices", "clouds: {}\n"])
def test_a_file_of_something_else(text: str) -> None:
    with pytest.raises(SweepError, match="mine.yaml, line 1: "):
        parse_prices(text, "mine.yaml")


def test_a_file_of_ones_own_replaces_the_packages(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(TEXT)
    assert set(load_prices(mine).machines) == {"m.large", "g.xlarge", "h.small"}
    with pytest.raises(SweepError, match="cannot be read: No such file"):
        load_prices(tmp_path / "missing.yaml")
    with pytest.raises(SweepError, match="cannot be read: Is a directory"):
        load_prices(tmp_path)
    mine.write_bytes(b"\xff\xfe")
    with pytest.raises(SweepError, match="it is not UTF-8 text"):
        load_prices(mine)


def test_the_packages_file_covers_three_clouds_and_names_its_sources() -> None:
    book = load_prices()
    found = list(book.machines.values())
    assert {price.cloud for price in found} == {"aws", "azure", "alibaba"}
    assert {price.gpu for price in found} >= {"", "T4", "V100", "A10"}
    assert all(price.source.startswith("https://") for price in found)
    assert {price.currency for price in found} == {"USD", "CNY"}
    for price in found:
        assert price.spot is None or price.spot < price.on_demand
        assert 0.01 < price.on_demand / price.cpus < 10, price.name
    text = prices.DEFAULT.read_text(encoding="utf-8")
    assert "CHECK BEFORE YOU RELY ON IT" in text
    for machine in ("aws", "azure"):
        cluster = yaml.safe_load(
            (Path(__file__).resolve().parents[3] / f"deploy/ray/{machine}.yaml").read_text()
        )
        config = cluster["available_node_types"]["spot"]["node_config"]
        name = config.get("InstanceType") or config["azure_arm_parameters"]["vmSize"]
        price = book.machine(name)
        assert cluster["available_node_types"]["spot"]["resources"] == {"CPU": price.cpus}


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, lepton_ref.cloud.sweeps.prices as p; p.load_prices()\n"
        "print([m for m in ('ray', 'pandas', 'mxnet', 'torch', 'jsonschema') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
