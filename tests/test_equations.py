"""The book's equations, the code's citations and the committed ledger agree."""

from __future__ import annotations

import json
from pathlib import Path

from tests.equations import cited_equations, duplicates, read_book
from tests.ledger import test_exists

ROOT = Path(__file__).parent.parent


def test_every_label_is_used_once() -> None:
    twice = {
        label: [f"book/{e.page}.md:{e.line}" for e in places]
        for label, places in duplicates(read_book(ROOT / "book")).items()
    }
    assert not twice


def test_every_equation_that_the_code_cites_is_in_the_book() -> None:
    known = {equation.label for equation in read_book(ROOT / "book")}
    cited = cited_equations(ROOT / "lepton_ref")
    assert cited, "lepton_ref cites no equation at all: is the pattern (eq. label) still right?"
    unknown = {label: places for label, places in cited.items() if label not in known}
    assert not unknown


def test_the_committed_ledger_has_the_equations_of_the_book() -> None:
    """Labels, pages, kinds and tests; `--ledger` compares the proofs of a whole run."""
    committed = json.loads((ROOT / "book" / "ledger.json").read_text(encoding="utf-8"))
    now = {e.label: (e.page, e.kind) for e in read_book(ROOT / "book")}
    then = {label: (e["page"], e["kind"]) for label, e in committed["equations"].items()}
    assert then == now, "book/ledger.json is stale: run `make ledger`"
    for label, equation in committed["equations"].items():
        assert equation["kind"] == "definition" or equation["proofs"], f"{label} has no proof"
        for proof in equation["proofs"]:
            assert test_exists(ROOT, proof["test"]), f"{label}: {proof['test']} is gone"
            assert proof["error"] <= proof["tol"], f"{label}: {proof['test']}"
