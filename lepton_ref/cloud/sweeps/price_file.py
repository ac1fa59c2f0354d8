"""A price file: YAML in, :class:`.prices.PriceBook` out, and every complaint with its line."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date as Date
from datetime import datetime
from typing import Any, NamedTuple

from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.prices import Price, PriceBook
from lepton_ref.cloud.sweeps.yaml_file import read_yaml


class _Key(NamedTuple):
    """What a key may hold: a test, the words for it, and whether it may be left out."""

    accepts: Callable[[Any], bool]
    wanted: str
    needed: bool = True


def _number(least: float, above: bool = False) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return math.isfinite(value) and (value > least if above else value >= least)

    return accepts


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _day(value: Any) -> bool:
    return isinstance(value, Date) and not isinstance(value, datetime)


def _currency(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 3 and value.isalpha() and value.isupper()


def _or_null(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


_mapping = _Key(
    lambda value: isinstance(value, dict) and bool(value), "a mapping that is not empty"
)
_money = "a number above 0, per hour"
_FILE = {
    "format": _Key(lambda value: value == 1 and not isinstance(value, bool), "1"),
    "date": _Key(_day, "a day such as 2026-11-24"),
    "currency": _Key(_currency, "three capital letters such as USD"),
    "clouds": _mapping,
}
_CLOUD = {
    "title": _Key(_text, "text", False),
    "region": _Key(_text, "text"),
    "currency": _Key(_currency, "three capital letters such as CNY", False),
    "source": _Key(_text, "an address where the price can be checked"),
    "billed_seconds": _Key(_number(0, above=True), "a number above 0"),
    "minimum_seconds": _Key(_number(0), "a number of 0 or more"),
    "machines": _mapping,
}
_MACHINE = {
    "cpus": _Key(_number(0, above=True), "a number above 0"),
    "memory_gib": _Key(_number(0, above=True), "a number above 0"),
    "gpu": _Key(_text, "a kind such as T4", False),
    "gpus": _Key(
        lambda value: isinstance(value, int) and _number(1)(value),
        "a whole number, 1 or more",
        False,
    ),
    "on_demand": _Key(_number(0, above=True), _money),
    "spot": _Key(_or_null(_number(0, above=True)), f"{_money}, or null"),
    "source": _Key(_text, "an address where the price can be checked", False),
    "as_of": _Key(_or_null(_day), "a day such as 2026-11-24, or null", False),
}


class _Reader:
    """Values with the lines that they stand on."""

    def __init__(self, name: str, root: Any) -> None:
        self.name = name
        self.lines: dict[tuple[str, ...], int] = {(): 1}
        self._visit(root, ())

    def _visit(self, node: Any, path: tuple[str, ...]) -> None:
        import yaml

        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                if here in self.lines:
                    raise self.error((*path, key.value), "stands here a second time", key)
                self.lines[here] = key.start_mark.line + 1
                self._visit(value, here)

    def error(self, path: tuple[str, ...], message: str, node: Any = None) -> SweepError:
        line = node.start_mark.line + 1 if node is not None else 0
        known = path
        while not line:
            line, known = self.lines.get(known, 0), known[:-1]
        return SweepError(f"{self.name}, line {line}: `{'.'.join(path) or 'the file'}` {message}")

    def checked(self, value: Any, path: tuple[str, ...], keys: dict[str, _Key]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(path, f"has the value {value!r}; expected a mapping")
        for key in value:
            if key not in keys:
                raise self.error(
                    (*path, str(key)),
                    f"is unknown; accepted: {', '.join(keys)}.{did_you_mean(str(key), keys)}",
                )
        for key, rule in keys.items():
            if key not in value:
                if rule.needed:
                    raise self.error(path, f"has no `{key}`; expected {rule.wanted}")
            elif not rule.accepts(value[key]):
                raise self.error(
                    (*path, key), f"has the value {value[key]!r}; expected {rule.wanted}"
                )
        return value


def parse_prices(text: str, name: str) -> PriceBook:
    """A price file from its text; ``name`` stands in the messages."""
    root, data = read_yaml(text, name)
    reader = _Reader(name, root)
    file = reader.checked(data, (), _FILE)
    machines: dict[str, Price] = {}
    for cloud, given in file["clouds"].items():
        where = ("clouds", str(cloud))
        common = reader.checked(given, where, _CLOUD)
        for machine, row in common["machines"].items():
            path = (*where, "machines", str(machine))
            price = _price(reader, str(machine), str(cloud), file, common, row, path)
            for known in machines.values():
                if known.name.lower() == price.name.lower():
                    raise reader.error(path, f"is also a machine of {known.cloud}")
            machines[price.name] = price
    return PriceBook(name, file["date"], file["currency"], machines)


def _price(
    reader: _Reader,
    name: str,
    cloud: str,
    file: dict[str, Any],
    common: dict[str, Any],
    row: Any,
    path: tuple[str, ...],
) -> Price:
    found = reader.checked(row, path, _MACHINE)
    if ("gpu" in found) != ("gpus" in found):
        raise reader.error(path, "has one of `gpu` and `gpus`; expected both or neither")
    if found["spot"] is not None and found["spot"] > found["on_demand"]:
        raise reader.error(
            (*path, "spot"),
            f"has the value {found['spot']}, above the on-demand price {found['on_demand']}",
        )
    as_of = found.get("as_of", file["date"])
    if as_of is not None and as_of > file["date"]:
        raise reader.error((*path, "as_of"), f"is {as_of}, after the file's {file['date']}")
    return Price(
        name=name,
        cloud=cloud,
        region=common["region"],
        cpus=found["cpus"],
        memory=round(found["memory_gib"] * 2**30),
        gpu=found.get("gpu", ""),
        gpus=found.get("gpus", 0),
        on_demand=found["on_demand"],
        spot=found["spot"],
        currency=common.get("currency", file["currency"]),
        source=found.get("source", common["source"]),
        as_of=as_of,
        billed_seconds=common["billed_seconds"],
        minimum_seconds=common["minimum_seconds"],
    )
