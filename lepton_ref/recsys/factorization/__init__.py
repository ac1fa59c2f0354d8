"""Page ``recsys/factorization``: users and items as vectors, by descent and by least squares."""

from lepton_ref.recsys.factorization.als import (
    Entries,
    conjugate_gradient,
    implicit_loss,
    implicit_step,
    normal_equations,
    ridge_step,
)
from lepton_ref.recsys.factorization.alternating import ExplicitALS, ImplicitALS, fold_in
from lepton_ref.recsys.factorization.descent import BiasedMF, SVDPlusPlus
from lepton_ref.recsys.factorization.public import MatrixFactorization
from lepton_ref.recsys.factorization.sgd import biased_epoch, svdpp_epoch

__all__ = [
    "BiasedMF",
    "Entries",
    "ExplicitALS",
    "ImplicitALS",
    "MatrixFactorization",
    "SVDPlusPlus",
    "biased_epoch",
    "conjugate_gradient",
    "fold_in",
    "implicit_loss",
    "implicit_step",
    "normal_equations",
    "ridge_step",
    "svdpp_epoch",
]
