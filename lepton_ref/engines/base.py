"""What every engine is: the surface that layers, models and losses are written against.

:class:`Engine` lists the operators; each engine implements all of them with the same
signatures (``tests/engines/test_registry.py`` holds them to it). Calls pass through the
domain checks of :mod:`lepton_ref.engines.domain`, so that a wrong argument is refused with
the same words whichever engine runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from lepton_ref.engines import domain, elementary

#: The differentiable operators every engine has, by name.
OPERATORS = (
    "add", "subtract", "multiply", "divide", "matmul", "negative", "power", "getitem",
    "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "softplus", "abs", "where",
    "sum", "mean", "max", "reshape", "transpose", "concat", "stack", "pad", "take", "pick",
    "softmax", "log_softmax", "cross_entropy", "layer_norm", "batch_norm",
    "conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "rnn", "lstm", "gru", "attention",
)  # fmt: skip

#: What an engine offers beside the operators.
SERVICES = (
    "array", "asnumpy", "parameter", "assign", "stop_gradient", "value_and_grad", "no_grad",
)  # fmt: skip


def _guard(method: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    function = method.__func__ if isinstance(method, staticmethod) else method
    bound = 0 if isinstance(method, staticmethod) else 1

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        check(*args[bound:], **kwargs)
        return function(*args, **kwargs)

    return staticmethod(guarded) if bound == 0 else guarded


class Engine:
    """Base of the three engines.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"gpu"``.

    Raises
    ------
    EngineError
        When the engine is not installed or has no such device.
    """

    name = "engine"
    # Each operator is found by name, so type checkers are told that any name may be there.
    __getattr__: Callable[[Any, str], Any]

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._before: Engine | None = None

    def __init_subclass__(cls) -> None:
        missing = [name for name in OPERATORS + SERVICES if name not in vars(cls)]
        if missing:
            raise TypeError(f"engine {cls.name!r} lacks {', '.join(missing)}")
        for name, check in {**elementary.CHECKS, **domain.CHECKS}.items():
            setattr(cls, name, _guard(vars(cls)[name], check))

    def __repr__(self) -> str:
        return f"<engine {self.name!r} on {self.device}>"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        from lepton_ref import engines

        engines._restore(self._before)

    no_grad: Callable[[], AbstractContextManager[None]]
