"""Page *Evaluation* of explanations: are they true, and can a lay person read them."""

from lepton_ref.explain.evaluation.calibration import Record, Temperature, fit_temperature
from lepton_ref.explain.evaluation.fidelity import (
    Perturbations,
    infidelity,
    max_sensitivity,
    noise,
    optimal_attribution,
    removals,
)
from lepton_ref.explain.evaluation.metrics import (
    RemovalCurve,
    additive_area,
    deletion_curve,
    insertion_curve,
)
from lepton_ref.explain.evaluation.people import RatedByMany, from_because
from lepton_ref.explain.evaluation.players import patches, player_values, words
from lepton_ref.explain.evaluation.ranking import Score, Task, evaluate, recommended, winners
from lepton_ref.explain.evaluation.ranks import agreement, empty_correlation, rank_correlation
from lepton_ref.explain.evaluation.reports import (
    ImageView,
    PatientView,
    RecommendationView,
    Report,
    ReviewView,
    report,
)
from lepton_ref.explain.evaluation.sanity import (
    Randomisation,
    edge_detector,
    random_attribution,
    randomisation_test,
)

__all__ = [
    "ImageView", "PatientView", "Perturbations", "Randomisation", "RatedByMany",
    "RecommendationView", "Record", "RemovalCurve", "Report", "ReviewView", "Score", "Task",
    "Temperature", "additive_area", "agreement", "deletion_curve", "edge_detector",
    "empty_correlation", "evaluate", "fit_temperature", "from_because", "infidelity",
    "insertion_curve", "max_sensitivity", "noise", "optimal_attribution", "patches",
    "player_values", "random_attribution", "randomisation_test", "rank_correlation",
    "recommended", "removals", "report", "winners", "words",
]  # fmt: skip
