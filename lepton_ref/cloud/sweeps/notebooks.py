"""Reading notebooks: what they are given, what they do, and what they recorded."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from collections.abc import Iterator
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError


@contextlib.contextmanager
def absent(*modules: str) -> Iterator[None]:
    """Optional modules that are not found while the block imports something."""
    hidden = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


# nbformat loads jsonschema, which compiles a grammar of international addresses when it finds
# one: seconds of work in each process, for a format that no notebook's schema names.
with absent("rfc3987_syntax"):
    import nbformat

RECORD = "application/papermill.record/text/plain"
REPORT = "application/vnd.lepton.report+json"


def read(text: str, name: str) -> nbformat.NotebookNode:
    """A notebook from its text.

    Raises
    ------
    SweepError
        When it is none.
    """
    try:
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises its own, json's and jsonschema's
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise SweepError(f"{name} is not a Jupyter notebook: {reason}") from error
    return notebook


def write(notebook: nbformat.NotebookNode) -> str:
    """The text of a notebook."""
    return str(nbformat.writes(notebook))


def code_digest(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 of what a notebook does: its code cells, whatever it shows or says."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\n# %%\n".join(code).encode()).hexdigest()


def records(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the cells of an executed notebook recorded, by name; the last value counts."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is not None and RECORD in output.get("data", {}):
                found[name] = ast.literal_eval(output["data"][RECORD])
    return found


def last_error(notebook: nbformat.NotebookNode) -> dict[str, Any] | None:
    """The error that ended an executed notebook: its name, its message and its cell."""
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        number += 1
        tags = cell.metadata.get("tags", [])
        if "raises-exception" in tags:
            continue
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return {"name": output.ename, "value": output.evalue[:2000], "cell": number}
    return None
