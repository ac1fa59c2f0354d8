"""Run notebooks with ``profile="full"`` and keep what they record.

    python -m benchmarks.results                                     every notebook, NumPy engine
    python -m benchmarks.results vision/classification --engine mxnet torch

Each run leaves ``book/results/<page>.<profile>.<engine>.json``, which the results table and the
prose of the book quote: the records, the parameters, how long it took, and on what.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat

from lepton_ref.cloud.sweeps.notebooks import code_digest, records

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lepton-ref", "numpy", "mxnet", "torch")


def pages(root: Path = ROOT) -> list[str]:
    """Every notebook, as ``chapter/page``."""
    found = (root / "notebooks").glob("*/*.ipynb")
    return sorted(path.relative_to(root / "notebooks").with_suffix("").as_posix() for path in found)


def environment() -> dict[str, str]:
    """Versions and machine, without anything that names it."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    found["cores"] = str(os.cpu_count())
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def run(page: str, root: Path = ROOT, **parameters: Any) -> dict[str, Any]:
    """Execute one notebook; an error in it, or a record below its bound, raises."""
    import papermill

    source = root / "notebooks" / f"{page}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = papermill.execute_notebook(
            source,
            Path(folder) / "out.ipynb",
            parameters=parameters,
            cwd=source.parent,
            kernel_name="python3",
            progress_bar=False,
        )
        seconds = time.perf_counter() - began
    return {
        "page": page,
        # Where a model was saved is no property of the result.
        "parameters": {k: v for k, v in parameters.items() if k != "save_to"},
        "records": records(done),
        "seconds": round(seconds, 1),
        "code_sha256": code_digest(nbformat.read(source, 4)),
        "environment": environment(),
    }


def keep(result: dict[str, Any], root: Path = ROOT) -> Path:
    """Write a result where the book looks for it."""
    given = result["parameters"]
    name = f"{result['page']}.{given['profile']}.{given['engine']}.json"
    path = root / "book" / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line; 1 when a page is unknown or a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pages", nargs="*", help="chapter/page; every notebook when left out")
    parser.add_argument("--engine", nargs="+", default=["numpy"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", default="full", choices=("quick", "full"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "TEXT"), dest="more",
        help="a further parameter of the notebook, as text",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    known = pages(root)
    if unknown := sorted(set(given.pages) - set(known)):
        print(f"no notebook {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 1
    failed = 0
    for page in given.pages or known:
        for engine in given.engine:
            print(f"{page} on {engine}, profile {given.profile} ...", flush=True)
            try:
                result = run(
                    page,
                    root,
                    engine=engine,
                    device=given.device,
                    profile=given.profile,
                    seed=given.seed,
                    **dict(given.more),
                )
            except Exception as error:  # one page that fails must not lose the others' hours
                print(f"  failed: {error}", file=sys.stderr)
                failed += 1
            else:
                path = keep(result, root)
                print(f"  {result['seconds']} s, {path.relative_to(root)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
