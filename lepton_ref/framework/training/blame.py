"""Who made the NaN: the step that failed is run again, watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from lepton_ref.framework.errors import NonFiniteError
from lepton_ref.framework.evaluation.trap import NonFiniteTrap, TrappedError

if TYPE_CHECKING:
    from lepton_ref.framework.training.loop import Run


def raise_non_finite(run: Run, batch: list[Any]) -> NoReturn:
    """Name the step and the layer that made the first NaN or infinity.

    The weights have not moved yet and the generator is set back, so the step repeats exactly,
    this time under :class:`~lepton_ref.framework.evaluation.NonFiniteTrap`.
    """
    where = f"epoch {run.epoch + 1}, batch {run.step_in_epoch + 1}"
    trap = NonFiniteTrap(run.model)
    trap.step = run.optimizer.steps  # it counts from 1 and is about to begin the next
    run.rng.bit_generator.state = run.step_rng
    try:
        trap.value_and_grad(run.objective, has_aux=True)(run.params, batch)
    except TrappedError as error:
        raise TrappedError(f"{where}: {error}", error.step, error.layer, error.phase) from None
    raise NonFiniteError(
        f"{where}: step {run.optimizer.steps + 1}: the loss or the gradient is not finite, but "
        "was when the step was run again: the model or the loss draws on something that is not "
        "its `rng`"
    )
