"""A small sweep as it goes to a cluster."""

from __future__ import annotations

import json
from typing import Any

from lepton_ref.cloud.sweeps.backends.kubernetes import Cluster, documents

IMAGE = "registry.example.com/lepton-ref:0.1.0"
SWEEP = "notebook: train.ipynb\noutput: s3://bucket/digits\ngrid:\n  lr: [0.1, 0.01]\n"


def notebook(outputs: str = "", cells: int = 1) -> str:
    made = [{"output_type": "stream", "name": "stdout", "text": [outputs]}] if outputs else []
    cell = {"cell_type": "code", "source": ["print(1)"], "metadata": {}, "execution_count": 3}
    text = {"cell_type": "markdown", "source": ["# Zahlen · 数字"], "metadata": {}}
    return json.dumps(
        {
            "cells": [text, *({**cell, "outputs": made} for _ in range(cells))],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def build(**changes: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {
        "name": "Digits: a first sweep",
        "files": {"sweep.yaml": SWEEP, "train.ipynb": notebook()},
        "sweep": "sweep.yaml",
        "store": "s3://bucket/digits",
        "cluster": Cluster(IMAGE),
    }
    return documents(**{**given, **changes})
