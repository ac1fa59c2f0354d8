"""Training: the loop, what it remembers, when it stops, and how it goes on after a crash.

>>> history = fit(model, cross_entropy, (x, y), SGD(0.1), epochs=5,
...               rng=np.random.default_rng(0), validation=(x_val, y_val))
>>> history["validation_loss"]
"""

from lepton_ref.framework.training.callbacks import Callback, EarlyStopping, Report
from lepton_ref.framework.training.checkpoints import Checkpoint
from lepton_ref.framework.training.folds import CrossValidation, cross_validate
from lepton_ref.framework.training.history import History
from lepton_ref.framework.training.loop import Run, evaluate, fit

__all__ = [
    "Callback",
    "Checkpoint",
    "CrossValidation",
    "EarlyStopping",
    "History",
    "Report",
    "Run",
    "cross_validate",
    "evaluate",
    "fit",
]
