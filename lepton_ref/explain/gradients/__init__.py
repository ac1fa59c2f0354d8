"""Page *Gradients*: which inputs a small change of which would move the answer, and by how much."""

from lepton_ref.explain.gradients.attribution import Attribution, SaturationWarning, black_box

__all__ = ["Attribution", "SaturationWarning", "black_box"]
