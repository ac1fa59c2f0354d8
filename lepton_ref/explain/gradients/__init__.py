"""Page *Gradients*: which inputs a small change of which would move the answer, and by how much."""

from lepton_ref.explain.gradients.attribution import Attribution, SaturationWarning
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.explain.gradients.gradcam import grad_cam
from lepton_ref.explain.gradients.integrated import integrated_gradients
from lepton_ref.explain.gradients.methods import gradient_x_input, saliency, smoothgrad
from lepton_ref.explain.gradients.models import fashion_model, patient_model, review_model
from lepton_ref.explain.gradients.rules import deeplift, guided_backpropagation

__all__ = [
    "Attribution", "SaturationWarning", "black_box", "deeplift", "fashion_model", "grad_cam",
    "gradient_x_input", "guided_backpropagation", "integrated_gradients", "patient_model",
    "review_model", "saliency", "smoothgrad",
]  # fmt: skip
