"""The equation ledger: a pytest plugin that ties each equation of the book to its proofs.

A test says which labelled equations it proves and shows it with the fixture ``prove``::

    @pytest.mark.equation("conv2d-dx", "conv2d-dw")
    def test_conv2d_gradients(engine, prove):
        prove(analytic, numeric, oracle="finite differences")

``prove`` asserts that the two agree and records how well; it refuses comparisons that
show nothing. A mark that names no equation is a collection error. With ``--ledger`` the
session also fails when a claim of the book is left without a passing proof, and writes
``build/ledger.json`` (or ``--ledger-file``); ``--ledger-update`` writes the committed
``book/ledger.json`` too.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.equations import BookError, Equation, duplicates, read_book
from tests.numeric import leaves, relative_error, to_numpy

RECORD = "equation"  # the key of a proof among a test's user_properties
PACKAGES = ("numpy", "mxnet", "torch", "scipy", "scikit-learn", "sympy", "pytest")


class Unproven(AssertionError):
    """A comparison that shows nothing, or shows that the equation is wrong."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ledger", "equation ledger")
    group.addoption(
        "--ledger", action="store_true", help="fail unless every equation of the book is proven"
    )
    group.addoption(
        "--ledger-update",
        action="store_true",
        help="as --ledger, and write book/ledger.json when it is complete",
    )
    group.addoption(
        "--ledger-file",
        default="build/ledger.json",
        metavar="PATH",
        help="where the session's ledger goes (%(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "equation(*labels): the labelled equations of the book that this test proves"
    )
    book = config.rootpath / "book"
    try:
        equations = read_book(book) if book.is_dir() else []
    except BookError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Ledger(config, equations), "lepton-ledger")


def labels_of(item: pytest.Item) -> list[str]:
    """The labels of an item's marks, nearest first, each once."""
    found = [label for mark in item.iter_markers(RECORD) for label in mark.args]
    return list(dict.fromkeys(found))


def problem_with(item: pytest.Item, known: set[str]) -> str | None:
    """What is wrong with an item's equation marks, or None."""
    for mark in item.iter_markers(RECORD):
        if not mark.args or mark.kwargs or not all(isinstance(a, str) for a in mark.args):
            return "the mark `equation` takes one or more labels, as strings"
    for label in labels_of(item):
        if label not in known:
            return f'the mark equation("{label}") names no labelled equation of the book'
    if labels_of(item) and "prove" not in getattr(item, "fixturenames", ()):
        return "a test marked `equation` must use the fixture `prove`"
    return None


class Ledger:
    """Collects the proofs of a session and settles the account at its end."""

    def __init__(self, config: pytest.Config, equations: list[Equation]) -> None:
        self.config = config
        self.equations = equations
        self.update = bool(config.getoption("--ledger-update"))
        self.demanded = self.update or bool(config.getoption("--ledger"))
        self.proofs: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
        self.collected: set[str] = set()
        self.complaints: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector):
        report = yield
        if report.passed:
            known = {equation.label for equation in self.equations}
            items = [node for node in report.result or () if isinstance(node, pytest.Item)]
            for item in items:
                if problem := problem_with(item, known):
                    report.outcome = "failed"
                    report.longrepr = f"{item.nodeid}: {problem}"
                    report.result = []
                    break
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):
        """A marked test that ends without a proof of each of its labels fails."""
        result = yield
        proven = {proof["label"] for key, proof in item.user_properties if key == RECORD}
        if missing := [label for label in labels_of(item) if label not in proven]:
            raise Unproven(f"the test ended without proving {', '.join(missing)}")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        test = report.nodeid.partition("[")[0]
        for key, proof in report.user_properties:
            if key == RECORD:
                self.add(test, proof)

    def add(self, test: str, proof: dict[str, Any]) -> None:
        """Keep, per test, engine and oracle, the largest error of its cases."""
        entries = self.proofs.setdefault(proof["label"], {})
        name = (test, proof["engine"], proof["oracle"])
        entry = {"test": test} | {k: proof[k] for k in ("engine", "oracle", "error", "tol")}
        if name in entries:
            for k in ("error", "tol"):
                entry[k] = max(entry[k], entries[name][k])
        entries[name] = entry

    def as_dict(self) -> dict[str, Any]:
        """The ledger as it is written to JSON."""
        return {
            "equations": {
                equation.label: {
                    "page": equation.page,
                    "kind": equation.kind,
                    "proofs": [proof for _, proof in sorted(self.entries(equation.label))],
                }
                for equation in sorted(self.equations, key=lambda e: e.label)
            },
            "environment": environment(),
        }

    def entries(self, label: str) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
        yield from self.proofs.get(label, {}).items()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.demanded or hasattr(self.config, "workerinput"):
            return
        if self.config.getoption("collectonly"):
            return
        for label, places in duplicates(self.equations).items():
            where = ", ".join(f"book/{e.page}.md:{e.line}" for e in places)
            self.complaints.append(f"{label}: the label is used {len(places)} times ({where})")
        for equation in self.equations:
            if equation.kind == "claim" and equation.label not in self.proofs:
                place = f"book/{equation.page}.md:{equation.line}"
                self.complaints.append(f"{equation.label}: no passing proof ({place})")
        ledger = self.as_dict()
        write_json(self.config.rootpath / self.config.getoption("--ledger-file"), ledger)
        committed = self.config.rootpath / "book" / "ledger.json"
        if self.update:
            if not self.complaints and session.testsfailed == 0:
                write_json(committed, ledger)
        elif not self.complaints:
            self.complaints += staleness(committed, ledger, self.config.rootpath)
        if self.complaints and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.demanded:
            return
        claims = [e.label for e in self.equations if e.kind == "claim"]
        proven = sum(label in self.proofs for label in claims)
        terminalreporter.section("equation ledger")
        definitions = len(self.equations) - len(claims)
        terminalreporter.line(f"{len(claims)} claims, {proven} proven; {definitions} definitions")
        for complaint in self.complaints:
            terminalreporter.line(f"LEDGER {complaint}", red=True)


def environment() -> dict[str, str]:
    """Versions of what the proofs ran on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def staleness(committed: Path, ledger: dict[str, Any], root: Path) -> list[str]:
    """In what the committed ledger differs from this run: labels, kinds, pages, tests.

    Errors may move between machines, and engines that are not installed here may have
    proofs there; a proof that ran here must be there, and one there must have its test.
    """
    advice = "run `make ledger` and commit book/ledger.json"
    if not committed.is_file():
        return [f"book/ledger.json is missing: {advice}"]
    old = json.loads(committed.read_text(encoding="utf-8"))["equations"]
    new = ledger["equations"]
    found = [f"{label}: not in book/ledger.json; {advice}" for label in sorted(new.keys() - old)]
    found += [f"{label}: in book/ledger.json alone; {advice}" for label in sorted(old.keys() - new)]
    for label in sorted(new.keys() & old):
        then, now = old[label], new[label]
        if (then["page"], then["kind"]) != (now["page"], now["kind"]):
            found.append(f"{label}: page or kind changed; {advice}")
        tests_then = {proof["test"] for proof in then["proofs"]}
        tests_now = {proof["test"] for proof in now["proofs"]}
        for test in sorted(tests_now - tests_then):
            found.append(f"{label}: {test} is not in book/ledger.json; {advice}")
        for test in sorted(tests_then - tests_now):
            if not test_exists(root, test):
                found.append(f"{label}: book/ledger.json names {test}, which is gone; {advice}")
    return found


def test_exists(root: Path, test: str) -> bool:
    """Whether the sources still hold a test of this node id."""
    file, *names = test.split("::")
    path = root / file
    return path.is_file() and f"def {names[-1]}(" in path.read_text(encoding="utf-8")


test_exists.__test__ = False  # type: ignore[attr-defined]  # not a test itself


class Prover:
    """The fixture ``prove``: asserts agreement and records it.

    ``prove(analytic, numeric, oracle="finite differences", engine=None, tol=1e-7,
    label=None)`` takes arrays of any engine, numbers, or nested dicts/lists/tuples of
    them. `engine` is an Engine or a name; left out, it is the test's fixture ``engine``,
    or numpy. `label` restricts the proof to one of the test's equations; left out, it
    counts for all of them. Returns the largest relative error.
    """

    def __init__(self, request: pytest.FixtureRequest, known: set[str]) -> None:
        self.request = request
        self.known = known

    def __call__(
        self,
        analytic: Any,
        numeric: Any,
        oracle: str = "finite differences",
        engine: Any = None,
        tol: float = 1e-7,
        label: str | None = None,
    ) -> float:
        labels = labels_of(self.request.node) if label is None else [label]
        if not labels:
            raise Unproven('mark the test with @pytest.mark.equation("label") or give label=')
        for name in labels:
            if name not in self.known:
                raise Unproven(f"`{name}` names no labelled equation of the book")
        error = compare(analytic, numeric, tol)
        for name in labels:
            proof = {
                "label": name,
                "engine": self.engine_name(engine),
                "oracle": str(oracle),
                "error": float(f"{error:.1e}"),
                "tol": float(tol),
            }
            self.request.node.user_properties.append((RECORD, proof))
        return error

    def engine_name(self, engine: Any) -> str:
        if engine is None and "engine" in self.request.fixturenames:
            engine = self.request.getfixturevalue("engine")
        return "numpy" if engine is None else str(getattr(engine, "name", engine))


def compare(analytic: Any, numeric: Any, tol: float) -> float:
    """Largest relative error over the leaves; refuses what shows nothing."""
    if not 0 <= tol < 1:
        raise Unproven(f"tol must lie in [0, 1), got {tol}")
    ours, theirs = list(leaves(analytic)), list(leaves(numeric))
    if not ours and not theirs:
        raise Unproven("nothing to compare: both sides are empty")
    if [path for path, _ in ours] != [path for path, _ in theirs]:
        raise Unproven(
            f"the two sides differ in structure: {[p for p, _ in ours]} and "
            f"{[p for p, _ in theirs]}"
        )
    refuse_self_comparison(ours, theirs)
    worst = 0.0
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        at = f" at `{path}`" if path else ""
        x, y = as_numbers(a, at), as_numbers(b, at)
        if x.shape != y.shape:
            raise Unproven(f"shapes differ{at}: {x.shape} and {y.shape}")
        if x.size == 0:
            raise Unproven(f"nothing to compare{at}: empty arrays of shape {x.shape}")
        if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
            raise Unproven(f"NaN or infinity{at}")
        if not np.any(x) and not np.any(y):
            raise Unproven(f"zero against zero{at} shows nothing; choose inputs that matter")
        error = relative_error(x, y)
        if error > tol:
            raise Unproven(f"relative error {error:.2e} exceeds {tol:.0e}{at}")
        worst = max(worst, error)
    return worst


def as_numbers(leaf: Any, at: str) -> np.ndarray:
    """A leaf as a numeric array."""
    x = to_numpy(leaf)
    if x.dtype.kind not in "biufc":
        raise Unproven(f"not numbers{at}: {type(leaf).__name__} of dtype {x.dtype}")
    return x


def refuse_self_comparison(ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]]) -> None:
    """One object, or memory in common, on both sides is no proof."""
    for path, a in ours:
        for other, b in theirs:
            # Small integers are one object wherever they come from; all else is not.
            same = a is b and not isinstance(a, (int, np.bool_))
            x, y = to_numpy(a), to_numpy(b)
            if same or (x.dtype != object and y.dtype != object and np.shares_memory(x, y)):
                raise Unproven(
                    f"`{path or 'analytic'}` and `{other or 'numeric'}` are the same thing: "
                    "a comparison with itself proves nothing"
                )


@pytest.fixture
def prove(request: pytest.FixtureRequest) -> Prover:
    """Assert that two computations of an equation agree, and record it in the ledger."""
    ledger = request.config.pluginmanager.get_plugin("lepton-ledger")
    return Prover(request, {equation.label for equation in ledger.equations})
