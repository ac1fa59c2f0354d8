"""Reports for a lay person: what was decided, how sure, why, and what would have changed it."""

from lepton_ref.explain.evaluation.reports.build import Report, report
from lepton_ref.explain.evaluation.reports.parts import Change, Evidence, Move, View
from lepton_ref.explain.evaluation.reports.views import (
    ImageView,
    PatientView,
    RecommendationView,
    ReviewView,
)

__all__ = [
    "Change", "Evidence", "ImageView", "Move", "PatientView", "RecommendationView", "Report",
    "ReviewView", "View", "report",
]  # fmt: skip
