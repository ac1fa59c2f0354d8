"""What a sweep costs before it is run: a dated list of prices, and a formula that fits on a line.

The list is ``prices.yaml`` beside this file: a start, to be checked and replaced by your own
(``--prices``). Every estimate carries the date of its price, and says so once it is old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.runs import Limits

#: Of this package; a start to be checked.
DEFAULT = Path(__file__).with_name("prices.yaml")
#: Days after which a price is called old.
OLD = 180
#: From asking for a machine to its first run: boot, image, Ray.
STARTUP_SECONDS = 180.0


@dataclass(frozen=True)
class Price:
    """One machine of one cloud.

    Attributes
    ----------
    name, cloud, region : str
    cpus : float
    memory : int
        Bytes.
    gpu : str
        Kind; ``""`` for none.
    gpus : int
    on_demand : float
        Per hour.
    spot : float or None
        Per hour; None when the file has none.
    currency, source : str
    as_of : date or None
        Day of the figures; None when nobody knows.
    billed_seconds, minimum_seconds : float
        What a machine's time is rounded up to, and what is paid at least.
    """

    name: str
    cloud: str
    region: str
    cpus: float
    memory: int
    gpu: str
    gpus: int
    on_demand: float
    spot: float | None
    currency: str
    source: str
    as_of: Date | None
    billed_seconds: float
    minimum_seconds: float

    def hourly(self, spot: bool = False) -> float:
        """Per hour; the on-demand price where no spot price is known."""
        return self.spot if spot and self.spot is not None else self.on_demand

    def billed(self, seconds: float) -> float:
        """Seconds that are paid for a machine that was up for ``seconds``."""
        # A quotient a rounding error above a whole number is that number.
        units = math.ceil(round(seconds / self.billed_seconds, 9))
        return max(units * self.billed_seconds, self.minimum_seconds)


@dataclass(frozen=True)
class PriceBook:
    """A price file.

    Attributes
    ----------
    path : str
    date : date
        Of the file.
    currency : str
        Of every cloud that names none of its own.
    machines : mapping of str to Price
    """

    path: str
    date: Date
    currency: str
    machines: Mapping[str, Price]

    def machine(self, name: str) -> Price:
        """The machine of that name, whatever its case.

        Raises
        ------
        SweepError
            For an unknown one, with the closest that is known.
        """
        for known, price in self.machines.items():
            if known.lower() == str(name).lower():
                return price
        raise SweepError(
            f"machine {name!r} is not in the price file {self.path}."
            f"{did_you_mean(name, self.machines)} It has: {', '.join(sorted(self.machines))}"
        )

    def warnings(self, price: Price, spot: bool = False, today: Date | None = None) -> list[str]:
        """What to know before relying on a figure: its age, and a missing spot price."""
        found = []
        today = today or Date.today()
        age = (today - self.date).days
        if age > OLD:
            found.append(f"the price file {self.path} is {age} days old ({self.date})")
        if price.as_of is None:
            found.append(f"nobody knows how old the price of {price.name} is")
        elif (today - price.as_of).days > OLD:
            days = (today - price.as_of).days
            found.append(f"the price of {price.name} is {days} days old ({price.as_of})")
        if spot and price.spot is None:
            found.append(f"no spot price of {price.name} is known; on demand it is the limit")
        return [f"{text}; check it at {price.source}" for text in found]


@dataclass(frozen=True)
class Estimate:
    """What a sweep would take.

    Attributes
    ----------
    hours : float
        From the start to the last result.
    cost : float
        In `currency`.
    machines : int
        At the same time.
    machine_hours : float
        Paid, all machines together.
    hourly : float
        Price of one machine.
    currency : str
    """

    hours: float
    cost: float
    machines: int
    machine_hours: float
    hourly: float
    currency: str


def runs_at_a_time(machine: Price, limits: Limits | None = None) -> int:
    """How many runs of these limits fit on one machine.

    Raises
    ------
    SweepError
        When not one does.
    """
    limits = limits or Limits()
    room = [machine.cpus / limits.cpus] if limits.cpus > 0 else []
    if limits.memory:
        room.append(machine.memory / limits.memory)
    if limits.gpus > 0:
        room.append(machine.gpus / limits.gpus)
    fits = math.floor(min(room, default=1.0) + 1e-9)
    if fits < 1:
        raise SweepError(
            f"machine {machine.name} has {machine.cpus:g} CPUs, {machine.memory / 2**30:g} GiB "
            f"and {machine.gpus} GPUs; one run needs {limits.cpus:g} CPUs, "
            f"{(limits.memory or 0) / 2**30:g} GiB and {limits.gpus:g} GPUs"
        )
    return fits


def estimate(
    runs: int,
    seconds_per_run: float,
    machine: Price,
    slots: int,
    spot: bool = False,
    startup_seconds: float = STARTUP_SECONDS,
    limits: Limits | None = None,
) -> Estimate:
    """Time and cost of a sweep, from above.

    With p runs at a time on one machine (:func:`runs_at_a_time`), ``slots`` at a time in all and
    R runs of s seconds each:

        machines  M = ⌈min(slots, R) / p⌉
        waves     W = ⌈R / min(slots, R)⌉
        time      T = startup + W s
        cost        = M · billed(T) / 3600 · price

    billed(T) rounds up to the cloud's granularity and is at least its minimum. All M machines
    are taken to stay until the end; an autoscaler lets idle ones go, so the last wave costs
    less than this. Runs that are repeated after a spot machine went cost more.

    Parameters
    ----------
    runs : int
    seconds_per_run : float
    machine : Price
    slots : int
        Runs at a time, over all machines.
    spot : bool
    startup_seconds : float
        Of a machine, paid.
    limits : Limits, optional
        Of one run; one CPU by default.
    """
    _at_least("runs", runs, 0, whole=True)
    _at_least("slots", slots, 1, whole=True)
    _at_least("seconds_per_run", seconds_per_run, 0)
    _at_least("startup_seconds", startup_seconds, 0)
    each, hourly = runs_at_a_time(machine, limits), machine.hourly(spot)
    if runs == 0:
        return Estimate(0.0, 0.0, 0, 0.0, hourly, machine.currency)
    together = min(slots, runs)
    machines = math.ceil(together / each)
    seconds = startup_seconds + math.ceil(runs / together) * seconds_per_run
    paid = machines * machine.billed(seconds) / 3600
    return Estimate(seconds / 3600, paid * hourly, machines, paid, hourly, machine.currency)


def _at_least(name: str, value: Any, least: float, whole: bool = False) -> None:
    kind = int if whole else (int, float)
    fine = isinstance(value, kind) and not isinstance(value, bool)
    if not fine or not math.isfinite(value) or value < least:
        what = "a whole number" if whole else "a number"
        raise SweepError(f"estimate: `{name}` is {value!r}; expected {what} of at least {least:g}")


def load_prices(path: str | Path | None = None) -> PriceBook:
    """Read a price file; by default the one of this package.

    Raises
    ------
    SweepError
        For one that is missing or malformed, with line and key.
    """
    file = Path(path) if path else DEFAULT
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SweepError(f"the price file {str(file)!r} cannot be read: {reason}") from error
    from lepton_ref.cloud.sweeps.price_file import parse_prices

    return parse_prices(text, str(path) if path else file.name)
