"""The equation ledger on the site: a badge under each labelled equation, and its page.

Proofs come from ``build/ledger.json`` when the test run that wrote it proved every claim
of the book, else from the committed ``book/ledger.json``. A claim without a proof is a
warning, so that a build with ``-W`` fails; ``LEPTON_STRICT_LEDGER=0`` turns the warning
off while a page is being written.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from lepton_site import table
from lepton_sources import citations, find_test, module_name, source_reference
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
ENGINES = ("numpy", "mxnet", "torch")


class LedgerTable(nodes.General, nodes.Element):
    """Placeholder that becomes the tables of the ledger page."""


class LedgerDirective(SphinxDirective):
    """``{ledger}``: every equation of the book, its code and its proofs."""

    def run(self) -> list[nodes.Node]:
        self.env.lepton_ledger_page = self.env.docname  # type: ignore[attr-defined]
        return [LedgerTable()]


def strict() -> bool:
    """Whether an unproven claim is a warning."""
    return os.environ.get("LEPTON_STRICT_LEDGER", "1") != "0"


def read_ledger(root: Path, claims: set[str]) -> dict[str, Any]:
    """The proofs: of the last complete test run, else the committed ones."""
    for path in (root / "build" / "ledger.json", root / "book" / "ledger.json"):
        try:
            ledger = json.loads(path.read_text("utf8"))
        except FileNotFoundError:
            continue
        except ValueError as error:
            logger.warning("%s is not JSON: %s", path, error, type="lepton", subtype="ledger")
            continue
        proven = {k for k, v in ledger.get("equations", {}).items() if v.get("proofs")}
        if path.parent.name == "book" or claims <= proven:
            return ledger
    return {"equations": {}, "environment": {}}


# ---------------------------------------------------------------- collecting


def equations_of(env: BuildEnvironment) -> dict[str, dict[str, Any]]:
    """Label -> document, kind and node id of every labelled equation."""
    if not hasattr(env, "lepton_equations"):
        env.lepton_equations = {}  # type: ignore[attr-defined]
    return env.lepton_equations  # type: ignore[attr-defined]


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note the labelled equations of a document (event ``doctree-read``)."""
    for block in doctree.findall(nodes.math_block):
        label = block.get("label")
        if label:
            classes = block.get("classes", [])
            kind = "definition" if "definition" in classes else "claim"
            # the class would catch the style of sphinx-proof's definitions
            block["classes"] = ["lepton-defines" if c == "definition" else c for c in classes]
            equations_of(app.env)[label] = {
                "docname": app.env.docname,
                "kind": kind,
                "id": nodes.make_id(f"equation-{label}"),
            }


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget a document that is read again (event ``env-purge-doc``)."""
    known = equations_of(env)
    for label in [k for k, v in known.items() if v["docname"] == docname]:
        del known[label]


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    """Take over what another process has read (event ``env-merge-info``)."""
    found = equations_of(other)
    equations_of(env).update({k: v for k, v in found.items() if v["docname"] in docnames})
    if getattr(other, "lepton_ledger_page", "") in docnames:
        env.lepton_ledger_page = other.lepton_ledger_page  # type: ignore[attr-defined]


def settle(app: Sphinx, env: BuildEnvironment) -> None:
    """Join equations, code and proofs; warn about what is missing (``env-updated``)."""
    root = Path(app.srcdir)
    known = equations_of(env)
    claims = {label for label, eq in known.items() if eq["kind"] == "claim"}
    ledger = read_ledger(root, claims)
    cited = citations(root)
    env.lepton_environment = ledger.get("environment", {})  # type: ignore[attr-defined]
    for label, equation in known.items():
        equation["proofs"] = ledger["equations"].get(label, {}).get("proofs", [])
        equation["code"] = cited.get(label, [])
        if strict() and equation["kind"] == "claim" and not equation["proofs"]:
            logger.warning(
                "equation `%s` is claimed but not proven: no passing test in the ledger",
                label, location=equation["docname"], type="lepton", subtype="unproven",
            )  # fmt: skip
    for label, places in cited.items():
        if strict() and label not in known:
            where = ", ".join(f"{d.path}:{d.line}" for d in places)
            logger.warning(
                "%s cites equation `%s`, which no page has", where, label,
                type="lepton", subtype="citation",
            )  # fmt: skip


def outdated(app: Sphinx, env: BuildEnvironment, *_: Any) -> list[str]:
    """Pages with badges are written anew in each build: proofs and line numbers move."""
    pages = {eq["docname"] for eq in equations_of(env).values()}
    pages.add(getattr(env, "lepton_ledger_page", ""))
    return sorted(pages & env.found_docs)


# ---------------------------------------------------------------- rendering


def errors_by_engine(proofs: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """The largest error that each engine showed, in a fixed order of engines."""
    worst: dict[str, float] = {}
    for proof in proofs:
        engine = proof["engine"]
        worst[engine] = max(worst.get(engine, 0.0), float(proof["error"]))
    order = {name: i for i, name in enumerate(ENGINES)}
    return sorted(worst.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def show(error: float) -> str:
    """An error as a reader wants it: ``3e-10``; exactly equal is ``0``."""
    if error == 0:
        return "0"
    mantissa, exponent = f"{error:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def whole(text: str) -> nodes.Node:
    """Words that stay on one line, such as a number with its exponent."""
    return nodes.inline("", text, classes=["lepton-whole"])


def engines_text(proofs: list[dict[str, Any]]) -> list[nodes.Node]:
    """``numpy 3e-10 · mxnet 2e-7``."""
    text: list[nodes.Node] = []
    for name, error in errors_by_engine(proofs):
        text += [nodes.Text(" · ")] * bool(text) + [whole(f"{name} {show(error)}")]
    return text


def badge(app: Sphinx, docname: str, label: str, equation: dict[str, Any]) -> nodes.Node:
    """The line under an equation: state, how well, links to test, code and ledger."""
    proofs = equation["proofs"]
    if proofs:
        state = "proven"
    else:
        state = "definition" if equation["kind"] == "definition" else "unproven"
    line = nodes.paragraph(classes=["lepton-badge", f"lepton-{state}"])
    ledger_page = getattr(app.env, "lepton_ledger_page", None)
    word = nodes.inline("", state, classes=["lepton-state"])
    if ledger_page and ledger_page in app.env.all_docs:
        link = make_refnode(app.builder, docname, ledger_page, f"ledger-{label}", word)
        link["reftitle"] = f"ledger entry of {label}"
        line += link
    else:
        line += word
    if proofs:
        text = nodes.inline("", "", *engines_text(proofs), classes=["lepton-errors"])
        line += [nodes.Text(" "), text]
        path, number = find_test(Path(app.srcdir), proofs[0]["test"])
        line += [nodes.Text(" "), link_to(app, docname, "test", path, number, label)]
    for definition in equation["code"][:1]:
        line += [
            nodes.Text(" "),
            link_to(app, docname, "code", definition.path, definition.line, label),
        ]
    return line


def link_to(
    app: Sphinx, docname: str, text: str, path: str, line: int, label: str
) -> nodes.reference:
    """A short source link whose accessible name says what it leads to."""
    link = source_reference(app, docname, text, path, line)
    link.children = [nodes.Text(text)]
    link["reftitle"] = f"{text} of {label}: {path}, line {line}"
    link["classes"] = ["lepton-source-link"]
    return link


def number_of(app: Sphinx, equation: dict[str, Any]) -> str:
    """The number that the page prints beside an equation."""
    numbers = app.env.toc_fignumbers.get(equation["docname"], {}).get("displaymath", {})
    return ".".join(map(str, numbers.get(equation["id"], ())))


def proof_cell(app: Sphinx, docname: str, proofs: list[dict[str, Any]]) -> list[nodes.Node]:
    """One paragraph per test and oracle: which test, against what, how well."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for proof in proofs:
        groups.setdefault((proof["test"], proof["oracle"]), []).append(proof)
    cell: list[nodes.Node] = []
    for (test, oracle), group in groups.items():
        path, line = find_test(Path(app.srcdir), test)
        name = test.partition("::")[2].partition("[")[0]
        bound = show(max(float(p["tol"]) for p in group))
        paragraph = nodes.paragraph()
        paragraph += source_reference(app, docname, name, path, line)
        paragraph += nodes.Text(f" against {oracle}: ")
        paragraph += [*engines_text(group), nodes.Text(" "), whole(f"(allowed {bound})")]
        cell.append(paragraph)
    return cell


def code_cell(app: Sphinx, docname: str, equation: dict[str, Any]) -> list[nodes.Node]:
    """One paragraph per definition that cites the equation."""
    cell: list[nodes.Node] = []
    for definition in equation["code"]:
        module = module_name(definition.path)
        name = definition.name if definition.name == module else f"{module}.{definition.name}"
        name = name.removeprefix("lepton_ref.")
        paragraph = nodes.paragraph()
        paragraph += source_reference(app, docname, name, definition.path, definition.line)
        paragraph += nodes.Text(f" line {definition.line}")
        cell.append(paragraph)
    return cell or [nodes.paragraph("", "–", classes=["lepton-none"])]


def page_table(app: Sphinx, docname: str, labels: list[str]) -> nodes.Node:
    """The ledger of one page of the book."""
    rows = []
    for label in labels:
        equation = equations_of(app.env)[label]
        number = nodes.Text(f"({number_of(app, equation)})")
        link = make_refnode(app.builder, docname, equation["docname"], equation["id"], number)
        name = nodes.inline(ids=[f"ledger-{label}"])
        name += [link, nodes.Text(" "), nodes.literal(label, label)]
        if equation["proofs"]:
            proof = proof_cell(app, docname, equation["proofs"])
        else:
            text = "definition: claims nothing"
            if equation["kind"] == "claim":
                text = "not proven"
            proof = [nodes.paragraph("", text, classes=["lepton-none"])]
        rows.append([name, code_cell(app, docname, equation), proof])
    return table(["equation", "implemented in", "proven by"], rows, ("lepton-ledger",))


def ledger_nodes(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Everything that stands in place of ``{ledger}``: a summary, then page by page."""
    known = equations_of(app.env)
    claims = [eq for eq in known.values() if eq["kind"] == "claim"]
    proven = sum(bool(eq["proofs"]) for eq in claims)
    runs = sum(len(eq["proofs"]) for eq in known.values())
    summary = (
        f"{len(known)} numbered equations: {len(known) - len(claims)} definitions and "
        f"{len(claims)} claims, of which {proven} are proven by {runs} recorded comparisons."
    )
    result: list[nodes.Node] = [nodes.paragraph("", summary, classes=["lepton-summary"])]
    environment = getattr(app.env, "lepton_environment", {})
    if environment:
        versions = ", ".join(f"{k} {v}" for k, v in environment.items())
        result.append(nodes.paragraph("", f"The proofs ran on {versions}."))
    order = {name: i for i, name in enumerate(reading_order(app.env))}
    for page in sorted({eq["docname"] for eq in known.values()}, key=lambda d: order.get(d, 0)):
        labels = [label for label, eq in known.items() if eq["docname"] == page]
        labels.sort(key=lambda x: [int(n) for n in number_of(app, known[x]).split(".") if n])
        title = app.env.titles[page].astext()
        heading = nodes.rubric("", "", classes=["lepton-ledger-page"], **{"heading-level": 2})
        heading += make_refnode(app.builder, docname, page, "", nodes.Text(title))
        result += [heading, page_table(app, docname, labels)]
    return result


def reading_order(env: BuildEnvironment) -> list[str]:
    """Documents in the order of the table of contents."""
    order: list[str] = []

    def visit(docname: str) -> None:
        if docname not in order:
            order.append(docname)
            for child in env.toctree_includes.get(docname, []):
                visit(child)

    visit(env.config.root_doc)
    return order


def unwrap(reference: nodes.reference) -> None:
    """Print ``({eq}`a-b`)`` as (1.3), not as ((1.3)): the number brings its parentheses."""
    siblings = reference.parent.children
    at = siblings.index(reference)
    before = siblings[at - 1].astext() if at else ""
    after = siblings[at + 1].astext() if at + 1 < len(siblings) else ""
    number = re.fullmatch(r"\(([\d.]+)\)", reference.astext())
    if number and before.endswith("(") and after.startswith(")"):
        reference.children = [nodes.Text(number[1])]


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put badges and the ledger's tables in their places (event ``doctree-resolved``)."""
    known = equations_of(app.env)
    for block in list(doctree.findall(nodes.math_block)):
        label = block.get("label")
        if label in known and block.parent is not None:
            mark = badge(app, docname, label, known[label])
            block.parent.insert(block.parent.index(block) + 1, mark)
    for reference in list(doctree.findall(nodes.reference)):
        unwrap(reference)
    for place in list(doctree.findall(LedgerTable)):
        place.replace_self(ledger_nodes(app, docname))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_node(LedgerTable)
    app.add_directive("ledger", LedgerDirective)
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", settle)
    app.connect("env-get-outdated", outdated)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
