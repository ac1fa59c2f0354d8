"""API reference: plain-text docstrings made safe for reStructuredText, and source links.

The docstrings are written for a reader of the source: Unicode formulas, one a line, and
citations ``(eq. conv2d-dx)``. Here the characters that reStructuredText would read as
markup are escaped, lines of formulas stay lines, and a citation becomes a link to the
equation of the book when a page has it.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from lepton_sources import CITATION, LABEL, definitions, module_name, source_reference
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from sphinx.util.nodes import make_refnode

SECTIONS = {
    "Parameters", "Returns", "Yields", "Raises", "Attributes", "Notes", "References", "Examples",
    "See Also", "Other Parameters", "Warns", "Warnings", "Methods", "Example", "Note",
}  # fmt: skip
SPANS = re.compile(
    r"(``.+?``|`[^`]+`(?:_\b)?|:[a-z:]+:`[^`]+`|(?<![\w*\\])\*[A-Za-z][^*]*[^\s*]\*(?![\w*]))"
)
API_MARK = re.compile(r"^% api (\S+)$", re.MULTILINE)
SOURCE = re.compile(r"Source: ")  # after the last section, what the docstring rests on
LIST_ITEM = re.compile(r"\s*([-*+•]|\d+[.)]|>>>|\.\.)\s")


class EquationMention(nodes.Inline, nodes.TextElement):
    """A citation of an equation in a docstring; becomes a link once all pages are read."""


class EquationRole(SphinxRole):
    """``:eqcite:`label` ``: as ``{eq}``, without a warning when no page has the label."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [EquationMention("", self.text, label=self.text)], []


def escape(text: str) -> str:
    """Escape markup characters outside literals; turn equation citations into roles."""
    parts = SPANS.split(text)
    for i in range(0, len(parts), 2):
        part = re.sub(r"(?<!\\)([*|])", r"\\\1", parts[i])
        part = re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)
        parts[i] = CITATION.sub(cite, part)
    return "".join(parts)


def cite(match: re.Match[str]) -> str:
    """``(eqs. a-b and c-d`` with each label as a role."""
    start = match.start(1) - match.start(0)
    return match[0][:start] + LABEL.sub(lambda m: f":eqcite:`{m[0]}`", match[1])


def paragraph(lines: list[str]) -> list[str]:
    """Escape a paragraph of free text; keep its line breaks when they carry meaning."""
    if LIST_ITEM.match(lines[0]):
        return lines if ">>>" in lines[0] else [escape(line) for line in lines]
    indents = {len(line) - len(line.lstrip()) for line in lines}
    formulas = sum(bool(re.search(r"\s(=|←|≤|≥|≈|∝)\s", line)) for line in lines)
    if len(lines) > 1 and (len(indents) > 1 or formulas * 2 > len(lines)):
        base = min(indents)
        return [f"| {escape(line[base:])}" for line in lines]
    return escape("\n".join(lines)).split("\n")  # an emphasis may span lines


def dedent_sections(lines: list[str]) -> list[str]:
    """Undo the indentation that a docstring put together from two others keeps."""
    for title, line in zip(lines, lines[1:], strict=False):
        if title.strip() in SECTIONS and re.fullmatch(r"\s+-{3,}\s*", line):
            indent = title[: len(title) - len(title.lstrip())]
            return [text.removeprefix(indent) for text in lines]
    return lines


def process(lines: list[str]) -> list[str]:
    """A docstring in plain text as reStructuredText in NumPy style."""
    lines = dedent_sections(lines)
    result: list[str] = []
    i, section, literal = 0, "", False
    while i < len(lines):
        line = lines[i]
        underlined = i + 1 < len(lines) and re.fullmatch(r"\s*-{3,}\s*", lines[i + 1])
        if underlined and line.strip() in SECTIONS:
            section = line.strip()
            result += [line, lines[i + 1]]
            i += 2
        elif not line.strip():
            result.append(line)
            i += 1
        elif section and SOURCE.match(line) and not lines[i - 1].strip():
            section = ""
            result.append("")  # two empty lines end a section
        elif section and section not in {"Notes", "References", "Note"}:
            header, colon, kind = line.partition(" : ")
            is_header = not line.startswith(" ")
            result.append(header + colon + escape(kind) if is_header else escape(line))
            i += 1
        else:
            end = i
            while end < len(lines) and lines[end].strip():
                following = end + 1 < len(lines) and re.fullmatch(r"\s*-{3,}\s*", lines[end + 1])
                if end > i and following and lines[end].strip() in SECTIONS:
                    break
                end += 1
            block = lines[i:end]
            indented = all(x.startswith(" ") for x in block)
            previous = next((x.rstrip() for x in reversed(result) if x.strip()), "")
            literal = indented and (literal or previous.endswith("::"))
            if literal:
                result += block
            elif indented and not LIST_ITEM.match(block[0]):
                result += ["::", "", *block]
                literal = True
            else:
                result += paragraph(block)
            i = end
    return result


def process_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Run before napoleon (event ``autodoc-process-docstring``)."""
    lines[:] = process(lines)


def process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Show what one can write (event ``autodoc-process-signature``).

    Nobody makes a protocol, and a default that a dataclass makes anew is shown as it starts.
    """
    if what != "class" or not signature:
        return None
    if getattr(obj, "_is_protocol", False):
        return "", returns
    for field in dataclasses.fields(obj) if dataclasses.is_dataclass(obj) else ():
        if field.default_factory is not dataclasses.MISSING:
            start = f"{field.name}={field.default_factory()!r}"
            signature = signature.replace(f"{field.name}=<factory>", start)
    return signature, returns


def skip_member(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields that the section *Attributes* of a named tuple has already described."""
    if type(obj).__name__ != "_tuplegetter":
        return None
    here = app.env.temp_data
    module = sys.modules.get(here.get("autodoc:module") or "")
    owner = getattr(module, here.get("autodoc:class") or "", None)
    return True if re.search(r"^\s*Attributes\n\s*-+$", owner.__doc__ or "", re.M) else None


def module_blocks(root: Path, folder: str) -> str:
    """MyST text that documents every public module of a folder, package first."""
    text = []
    for path in sorted((root / folder).rglob("*.py"), key=lambda p: p.as_posix()):
        module = module_name(path.relative_to(root).as_posix())
        if any(part.startswith("_") for part in module.split(".")):
            continue
        text.append(
            f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n"
            "   :members:\n   :ignore-module-all:\n```\n"
        )
    return "\n".join(text)


def expand(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the line ``% api lepton_ref/folder`` (event ``source-read``)."""
    root = Path(app.srcdir)
    source[0] = API_MARK.sub(lambda match: module_blocks(root, match[1]), source[0])


def outdated(app: Sphinx, *_: Any) -> list[str]:
    """API pages are read anew in each build: they depend on all of the package."""
    return sorted(name for name in app.env.found_docs if name.startswith("book/api/"))


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link equations and add source links to signatures (event ``doctree-resolved``)."""
    equations = app.env.get_domain("math").equations  # type: ignore[attr-defined]
    for mention in list(doctree.findall(EquationMention)):
        label = mention["label"]
        new: nodes.Node = nodes.literal(label, label)
        if label in equations:
            target, node_id = equations[label][0], nodes.make_id(f"equation-{label}")
            new = make_refnode(app.builder, docname, target, node_id, new)
        mention.replace_self(new)
    root = Path(app.srcdir)
    for signature in doctree.findall(addnodes.desc_signature):
        module, name = signature.get("module"), signature.get("fullname")
        if not module or not name:
            continue
        path = module.replace(".", "/")
        path = f"{path}.py" if (root / f"{path}.py").is_file() else f"{path}/__init__.py"
        for definition in definitions(root, path):
            if definition.name == name:
                link = source_reference(app, docname, "source", path, definition.line)
                link["classes"] = ["lepton-source-link"]
                link["reftitle"] = f"source of {name}"
                link.children = [nodes.Text("source")]
                signature += link
                break


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_node(EquationMention)
    app.add_role("eqcite", EquationRole())
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("source-read", expand)
    app.connect("env-get-outdated", outdated)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
