"""Page *Attention*: what a model attended to, and whether that explains its answer."""

from lepton_ref.explain.attention.adversary import (
    Adversary,
    adversarial_attention,
    farthest_attention,
)
from lepton_ref.explain.attention.agreement import Agreement, kendall_agreement, null_variance
from lepton_ref.explain.attention.distances import jensen_shannon, total_variation
from lepton_ref.explain.attention.interventions import (
    Pooled,
    erasure,
    permuted_change,
    pooled,
    uniform,
    uniform_change,
)
from lepton_ref.explain.attention.maps import (
    WordModel,
    attention_rollout,
    attention_to_vectors,
    attention_weights,
    rollout,
)
from lepton_ref.explain.attention.models import DiagnosticMLP, LSTMReader
from lepton_ref.explain.attention.training import transformer_reader

__all__ = [
    "Adversary", "Agreement", "DiagnosticMLP", "LSTMReader", "Pooled", "WordModel",
    "adversarial_attention", "attention_rollout", "attention_to_vectors", "attention_weights",
    "erasure", "farthest_attention", "jensen_shannon", "kendall_agreement", "null_variance",
    "permuted_change", "pooled", "rollout", "total_variation", "transformer_reader", "uniform",
    "uniform_change",
]  # fmt: skip
