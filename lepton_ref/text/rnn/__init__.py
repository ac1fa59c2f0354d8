"""The plain recurrent network: the operator, its gradients taken apart, a character model.

The engines load this package, so only what needs no layers is imported here;
:mod:`lepton_ref.text.rnn.characters` is imported by name.
"""

from __future__ import annotations

from lepton_ref.text.rnn.gradients import (
    gradient_by_distance,
    reach,
    spectral_radius,
    state_jacobians,
)
from lepton_ref.text.rnn.operator import input_gradients, previous_states, rnn, time_major

__all__ = [
    "gradient_by_distance",
    "input_gradients",
    "previous_states",
    "reach",
    "rnn",
    "spectral_radius",
    "state_jacobians",
    "time_major",
]
