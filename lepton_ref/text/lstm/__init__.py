"""Gated recurrent networks: LSTM and GRU as operators, and the adding problem.

The engines load this package, so only what needs no layers is imported here;
:mod:`lepton_ref.text.lstm.adding` is imported by name.
"""

from __future__ import annotations

from lepton_ref.text.lstm.memory import chrono_biases, half_life, lstm_gates
from lepton_ref.text.lstm.operators import _lstm, gru, lstm

__all__ = ["_lstm", "chrono_biases", "gru", "half_life", "lstm", "lstm_gates"]
