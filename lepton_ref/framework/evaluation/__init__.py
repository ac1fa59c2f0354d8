"""Page *Evaluation*: how good is a model, how sure are we, and what went wrong inside it."""

from __future__ import annotations

from lepton_ref.framework.evaluation.recording import (
    CheckError,
    check,
    check_parameters,
    record,
    recorded,
)

__all__ = ["CheckError", "check", "check_parameters", "record", "recorded"]
