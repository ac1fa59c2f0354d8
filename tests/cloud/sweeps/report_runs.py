"""Runs and notebooks that the tests of the report are about."""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from typing import Any

from lepton_ref.cloud.sweeps.runs import FAILED, FINISHED, PRUNED, TIMED_OUT, Outcome

#: What must never reach the page as markup.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;{{ 7*7 }}"


def run(i: int, parameters: dict[str, Any], status: str = FINISHED, **changes: Any) -> Outcome:
    id_ = f"{i:020x}"
    held: dict[str, Any] = {
        "id": id_, "attempt": 0, "parameters": parameters, "status": status,
        "started": f"2026-11-24T05:{i // 60:02d}:{i % 60:02d}+00:00", "seconds": 10.0 + i % 3,
        "kernel_seconds": 9.0, "host": "node-1", "engine": "numpy", "device": "cpu",
        "versions": {"python": "3.11.7"}, "artifact": f"runs/{id_}/notebook.ipynb",
    }  # fmt: skip
    return Outcome(**{**held, **changes})


def grid() -> list[Outcome]:
    """Two parameters and three seeds; one cell of the grid failed, one run was too slow."""
    found = []
    for lr in (0.001, 0.01, 0.1, 1.0):
        for optimizer in ("sgd", "adam"):
            for seed in range(3):
                i = len(found)
                given = {"lr": lr, "optimizer": optimizer, "seed": seed, "batch_size": 128}
                accuracy = 0.9 - 0.02 * (math.log10(lr) + 1) ** 2 + 0.003 * seed
                held = {"accuracy": round(accuracy, 4), "loss": round(1 - accuracy, 4), "fold": "a"}
                if lr == 1.0 and optimizer == "adam":
                    error = {"name": "NonFiniteError", "value": "loss is nan", "cell": 9}
                    found.append(run(i, given, FAILED, error=error, artifact=f"failed/{i}/n.ipynb"))
                elif i == 2:
                    error = {"name": "TimeoutError", "value": "longer than 60 s", "cell": 4}
                    found.append(run(i, given, TIMED_OUT, error=error, attempt=1, artifact=""))
                else:
                    found.append(run(i, given, recorded=held))
    return found


def search(n: int = 24) -> list[Outcome]:
    """Five parameters of every type, drawn all over; the bad ones were pruned."""
    found = []
    for i in range(n):
        lr = 10.0 ** (-4 + 4 * (i * 7 % n) / n)
        given = {
            "lr": lr, "decay": 10.0 ** (-6 + 3 * (i * 5 % n) / n), "width": 2 ** (4 + i % 4),
            "activation": ("relu", "gelu")[i % 2], "layers": ([64], [64, 64], None)[i % 3],
        }  # fmt: skip
        score = round(0.9 - 0.03 * (math.log10(lr) + 2) ** 2 + 0.001 * (i % 4), 4)
        found.append(run(i, given, PRUNED if score < 0.8 else FINISHED, recorded={"score": score}))
    return found


def png(shade: int = 200, width: int = 24, height: int = 16) -> bytes:
    """A grey picture."""
    rows = b"".join(b"\0" + bytes([shade]) * width for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def notebook(*cells: tuple[list[str], str, list[bytes | str]]) -> str:
    """A notebook whose code cells are (tags, alternative text, pictures)."""
    written: list[dict[str, Any]] = [{"cell_type": "markdown", "metadata": {}, "source": "# Title"}]
    for tags, alt, pictures in cells:
        metadata: dict[str, Any] = {"tags": tags}
        if alt:
            metadata["mystnb"] = {"image": {"alt": alt}}
        outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
        for picture in pictures:
            data = picture
            if isinstance(data, bytes):
                data = base64.encodebytes(data).decode()
            outputs.append({"output_type": "display_data", "data": {"image/png": data}})
        written.append(
            {"cell_type": "code", "metadata": metadata, "outputs": outputs, "source": ""}
        )
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": written})
