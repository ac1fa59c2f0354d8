"""Face verification: are these two pictures of one person?

Source of the formulas: the page *vision/faces* of the book.
"""

from lepton_ref.vision.faces.baselines import Eigenfaces, raw_pixels
from lepton_ref.vision.faces.cohort import cohort_scores
from lepton_ref.vision.faces.data import IdentityFold, identity_folds
from lepton_ref.vision.faces.gallery import Gallery
from lepton_ref.vision.faces.gallery_file import GalleryFileError, fingerprint
from lepton_ref.vision.faces.identification import OpenSetPoint, Search, search
from lepton_ref.vision.faces.lighting import even_light
from lepton_ref.vision.faces.losses import (
    angular_logits,
    arcface,
    contrastive,
    mine_triplets,
    triplet,
    unit,
)
from lepton_ref.vision.faces.network import CosineHead, FaceCNN, prepare_faces, vary_faces
from lepton_ref.vision.faces.presentation import rephotograph
from lepton_ref.vision.faces.resampling import (
    identity_intervals,
    pair_components,
    threshold_intervals,
)
from lepton_ref.vision.faces.training import LOSSES, Trained, train_embedding
from lepton_ref.vision.faces.verification import (
    ErrorCurve,
    OperatingPoint,
    Pairs,
    Rates,
    all_pairs,
    choose_threshold,
    cosine_similarity,
    equal_error_point,
    equal_error_rate,
    error_curve,
    operating_point,
    pairs_from_similarity,
    probit,
    rates_at,
    tar_at_far,
    unit_vectors,
)

__all__ = [
    "LOSSES", "CosineHead", "Eigenfaces", "ErrorCurve", "FaceCNN", "Gallery", "GalleryFileError",
    "IdentityFold", "OpenSetPoint", "OperatingPoint", "Pairs", "Rates", "Search", "Trained",
    "all_pairs", "angular_logits", "arcface", "choose_threshold", "cohort_scores", "contrastive",
    "cosine_similarity", "equal_error_point", "equal_error_rate", "error_curve", "even_light",
    "fingerprint",
    "identity_folds", "identity_intervals", "mine_triplets", "operating_point",
    "pair_components", "pairs_from_similarity", "prepare_faces", "probit", "rates_at",
    "raw_pixels", "rephotograph", "search", "tar_at_far", "threshold_intervals",
    "train_embedding", "triplet", "unit", "unit_vectors", "vary_faces",
]  # fmt: skip
