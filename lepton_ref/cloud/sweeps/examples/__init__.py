"""A small notebook to try sweeps on."""

from __future__ import annotations

from pathlib import Path

#: Trains a dense network on pictures of clothes; takes a second or two.
TRIAL = Path(__file__).with_name("trial.ipynb")
