"""Page *Gradients*: which inputs a small change of which would move the answer, and by how much."""

from lepton_ref.explain.gradients.attribution import Attribution, SaturationWarning, black_box
from lepton_ref.explain.gradients.models import fashion_model, patient_model, review_model

__all__ = [
    "Attribution",
    "SaturationWarning",
    "black_box",
    "fashion_model",
    "patient_model",
    "review_model",
]
