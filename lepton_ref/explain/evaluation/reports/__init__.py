"""Reports for a lay person: what was decided, how sure, why, and what would have changed it."""

from lepton_ref.explain.evaluation.reports.build import Report, report
from lepton_ref.explain.evaluation.reports.views import (
    Evidence,
    ImageView,
    PatientView,
    RecommendationView,
    ReviewView,
    View,
)
from lepton_ref.explain.evaluation.reports.words import (
    listed,
    measurement,
    number,
    rank,
    strength,
    times,
    title,
)

__all__ = [
    "Evidence", "ImageView", "PatientView", "RecommendationView", "Report", "ReviewView", "View",
    "listed", "measurement", "number", "rank", "report", "strength", "times", "title",
]  # fmt: skip
