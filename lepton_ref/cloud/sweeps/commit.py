"""Bringing an attempt's result into the store, wholly or not at all."""

from __future__ import annotations

import secrets as random_names

from lepton_ref.cloud.sweeps.runs import COMPLETE, LEAKED_SECRET, Outcome
from lepton_ref.cloud.sweeps.storage import Store


def commit(store: Store, outcome: Outcome, content: str | None) -> None:
    """Store an executed notebook and then its outcome, whose presence means: done.

    The notebook goes to a path of this attempt and is moved from there, so that a retry and a
    late sibling never write into one another. An attempt that did not complete is kept under
    ``failed/``; one that leaked a secret is told of, and its notebook is not stored.

    Raises
    ------
    StoreError
        When the store cannot be written; nothing that was there is lost.
    """
    complete = outcome.status in COMPLETE
    home = f"runs/{outcome.id}" if complete else f"failed/{outcome.id}/{outcome.attempt}"
    if content is not None and outcome.status != LEAKED_SECRET:
        flight = f"attempts/{outcome.id}/{outcome.attempt}-{random_names.token_hex(4)}"
        store.write_text(f"{flight}/notebook.ipynb", content)
        store.move(f"{flight}/notebook.ipynb", f"{home}/notebook.ipynb")
        outcome.artifact = f"{home}/notebook.ipynb"
    store.write_json(f"{home}/run.json", outcome.to_json())
