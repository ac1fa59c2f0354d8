"""Face verification: are these two pictures of one person?

Source of the formulas: the page *vision/faces* of the book.
"""

from lepton_ref.vision.faces.data import IdentityFold, identity_folds

__all__ = ["IdentityFold", "identity_folds"]
