"""Page ``recsys/neural``: recommenders as networks, on the engine surface."""

from lepton_ref.recsys.neural.autorec import Autoencoder, AutoRec, masked_loss
from lepton_ref.recsys.neural.lightgcn import LightGCN, Propagation, normalised
from lepton_ref.recsys.neural.ncf import NeuMF, NeuralCF, all_logits
from lepton_ref.recsys.neural.towers import Tower, Towers, TwoTowers, in_batch_softmax
from lepton_ref.recsys.neural.training import labelled_pairs, minimise, triples

__all__ = [
    "AutoRec", "Autoencoder", "LightGCN", "NeuMF", "NeuralCF", "Propagation", "Tower", "Towers",
    "TwoTowers", "all_logits", "in_batch_softmax", "labelled_pairs", "masked_loss",
    "minimise", "normalised", "triples",
]  # fmt: skip
