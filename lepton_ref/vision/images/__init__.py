"""Images: from light to numbers, through filters by hand, to the filter that is learned.

One module a theme: :mod:`~lepton_ref.vision.images.pictures` says what a picture is.
"""

from lepton_ref.vision.images.acquisition import grey, luminance, sense, to_linear, to_srgb
from lepton_ref.vision.images.analysis import Regions, label, local_threshold, otsu, regions
from lepton_ref.vision.images.denoising import (
    filter_picture,
    gaussian_filter,
    gaussian_weights,
    mean_filter,
    median_filter,
)
from lepton_ref.vision.images.enhancement import clahe, equalise, histogram
from lepton_ref.vision.images.features import (
    Gradient,
    corners,
    gradient,
    harris,
    structure_tensor,
)
from lepton_ref.vision.images.geometry import apply_map, homography, rotate, rotation, warp
from lepton_ref.vision.images.hog import hog, orientation_histograms
from lepton_ref.vision.images.learned import (
    Descent,
    Moments,
    descend_filter,
    filter_moments,
    fit_filter,
)
from lepton_ref.vision.images.photometry import flatten_light, gamma, grey_world, stretch
from lepton_ref.vision.images.pictures import (
    as_float,
    as_uint8,
    check_picture,
    mean_squared_error,
    psnr,
)
from lepton_ref.vision.images.similarity import bilateral_filter, non_local_means

__all__ = [
    "Descent", "Gradient", "Moments", "Regions", "apply_map", "as_float", "as_uint8",
    "bilateral_filter", "check_picture", "clahe", "corners", "descend_filter", "equalise",
    "filter_moments", "filter_picture", "fit_filter", "flatten_light", "gamma", "gaussian_filter",
    "gaussian_weights", "gradient", "grey", "grey_world", "harris", "histogram", "hog",
    "homography", "label", "local_threshold", "luminance", "mean_filter", "mean_squared_error",
    "median_filter", "non_local_means", "orientation_histograms", "otsu", "psnr", "regions",
    "rotate", "rotation", "sense", "stretch", "structure_tensor", "to_linear", "to_srgb", "warp",
]  # fmt: skip
