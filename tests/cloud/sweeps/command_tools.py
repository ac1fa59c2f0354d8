"""What the tests of the command line type with, and what they read."""

from __future__ import annotations

from typer.testing import CliRunner

from lepton_ref import cli
from lepton_ref.cloud.sweeps.commands import app


def typed(*arguments: str):
    return CliRunner().invoke(app, cli.joined(list(arguments)), catch_exceptions=False)


def said(result) -> str:
    return " ".join((result.output + (result.stderr or "")).split())
