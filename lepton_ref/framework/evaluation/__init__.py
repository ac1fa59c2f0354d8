"""Page *Evaluation*: how good is a model, how sure are we, and what went wrong inside it."""

from __future__ import annotations

from lepton_ref.framework.evaluation.curves import (
    Brier,
    Calibration,
    RocCurve,
    auc,
    brier,
    calibration,
    mann_whitney,
    roc_curve,
)
from lepton_ref.framework.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    wilson_interval,
)
from lepton_ref.framework.evaluation.metrics import (
    Scores,
    accuracy,
    confusion_matrix,
    precision_recall_f1,
)
from lepton_ref.framework.evaluation.monitors import ActivationMonitor, GradientMonitor
from lepton_ref.framework.evaluation.recording import (
    CheckError,
    check,
    check_parameters,
    record,
    recorded,
    report,
)
from lepton_ref.framework.evaluation.trap import NonFiniteTrap, TrappedError

__all__ = [
    "ActivationMonitor", "Brier", "Calibration", "CheckError", "GradientMonitor", "Interval",
    "NonFiniteTrap", "RocCurve", "Scores", "TrappedError", "accuracy", "auc",
    "bootstrap_interval", "brier", "calibration", "check", "check_parameters",
    "confusion_matrix", "mann_whitney", "precision_recall_f1", "record", "recorded", "report",
    "roc_curve", "wilson_interval",
]  # fmt: skip
