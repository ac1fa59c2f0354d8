"""The rules themselves: SGD with momentum, Adam, AdamW, and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers.checks import engine_of, require_number
from lepton_ref.framework.optimizers.schedules import Schedule

Array = Any
Rate = float | Callable[[int], float]
Slots = dict[str, Array]


class Optimizer:
    """What all optimizers share: the walk over the parameters, the slots, the state.

    A *slot* is an array that the optimizer keeps per parameter, in the parameter's shape and
    dtype (a velocity, a mean of squares). Slots start at zero with the first step.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a schedule ``step -> rate``.
    engine : str or Engine, optional
        Whose arrays the parameters are; the active engine when omitted.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, lr: Rate, engine: Any = None) -> None:
        if not callable(lr):
            require_number(type(self).__name__, "lr", lr, 0.0)
        self.lr = lr
        self.steps = 0
        self._engine = engine
        self._arrays: dict[str, dict[str, Array]] = {}
        self._loaded: dict[str, dict[str, np.ndarray]] = {}

    @property
    def learning_rate(self) -> float:
        """The rate that the next step will use."""
        if not callable(self.lr):
            return float(self.lr)
        rate = float(self.lr(self.steps))
        if not (math.isfinite(rate) and rate >= 0.0):
            raise ArgumentError(
                type(self).__name__, "lr", f"the value {rate} at step {self.steps}",
                "a schedule of finite rates >= 0",
            )
        return rate

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Move every parameter once, in place.

        Parameters
        ----------
        params : mapping of str to array
            Trainable arrays of the engine, changed in place.
        grads : mapping of str to array
            Their gradients under the same names and in the same shapes; not changed.

        Raises
        ------
        ArgumentError
            When names or shapes disagree. No parameter has moved then.
        """
        E = engine_of(self._engine)
        rate = self.learning_rate
        for name in params.keys() | grads.keys():
            self._check(name, params, grads)
        with E.no_grad():
            for name, parameter in params.items():
                kept = self._arrays.get(name) or self._make_slots(E, name, parameter)
                self.update(E, parameter, grads[name], kept, rate, self.steps + 1)
        self.steps += 1

    def update(self, E: Any, p: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        """The rule: change ``p`` and its ``slots`` in place. ``t`` counts from 1."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The hyper-parameters, as JSON can hold them; a checkpoint compares them."""
        chosen = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "steps"}
        chosen["lr"] = repr(self.lr) if isinstance(self.lr, Schedule) else (
            f"{getattr(self.lr, '__qualname__', type(self.lr).__name__)}"
            if callable(self.lr) else float(self.lr)
        )
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}
        return {"class": type(self).__name__, **listed}

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on: ``steps`` and the slots, as copies.

        Keys are ``"steps"`` and ``"<slot>/<parameter name>"``.
        """
        state = {"steps": np.array(self.steps, dtype=np.int64)}
        E = engine_of(self._engine)
        for name, arrays in self._arrays.items():
            state |= {f"{slot}/{name}": np.array(E.asnumpy(a)) for slot, a in arrays.items()}
        for name, loaded in self._loaded.items():
            state |= {f"{slot}/{name}": a.copy() for slot, a in loaded.items()}
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what :meth:`state` returned, to the bit.

        Raises
        ------
        ArgumentError
            When a key belongs to another optimizer or a parameter misses a slot. Shapes are
            compared with the parameters at the next step.
        """
        where = f"{type(self).__name__}.load_state"
        if "steps" not in state:
            raise ArgumentError(where, "state", "no entry 'steps'", "what state() returned")
        loaded: dict[str, dict[str, np.ndarray]] = {}
        for key, value in state.items():
            slot, _, name = key.partition("/")
            if key == "steps":
                continue
            if slot not in self.slots:
                known = ", ".join(self.slots) or "none"
                raise ArgumentError(where, "state", f"the entry {key!r}", f"slots: {known}")
            loaded.setdefault(name, {})[slot] = np.array(value)
        for name, arrays in loaded.items():
            if missing := set(self.slots) - set(arrays):
                raise ArgumentError(
                    where, "state", f"no {', '.join(sorted(missing))} of {name!r}", "every slot"
                )
        self.steps, self._arrays, self._loaded = int(state["steps"]), {}, loaded

    def _check(self, name: str, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        where = f"{type(self).__name__}.step"
        if name not in grads or name not in params:
            lacking = "grads" if name in params else "params"
            raise ArgumentError(where, lacking, f"no entry {name!r}", "the same names in both")
        if grads[name].shape != params[name].shape:
            raise ArgumentError(
                where, f"grads[{name!r}]", f"shape {tuple(grads[name].shape)}",
                f"the parameter's shape {tuple(params[name].shape)}",
            )
        loaded = self._loaded.get(name)
        if loaded and any(a.shape != tuple(params[name].shape) for a in loaded.values()):
            raise ArgumentError(
                where, f"params[{name!r}]", f"shape {tuple(params[name].shape)}",
                f"the shape {next(iter(loaded.values())).shape} of the loaded state",
            )

    def _make_slots(self, E: Any, name: str, parameter: Array) -> dict[str, Array]:
        if not self.slots:
            return {}
        like = E.asnumpy(parameter)
        found = self._loaded.pop(name, {})
        self._arrays[name] = {
            slot: E.array(found.get(slot, np.zeros(like.shape, like.dtype)), dtype=str(like.dtype))
            for slot in self.slots
        }
        return self._arrays[name]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's variant and weight decay.

    Alone it takes θ ← θ − ηg (eq. optimizers-gd). With ``momentum`` the velocity v ← μv + g
    replaces the gradient (eq. optimizers-momentum); ``nesterov=True`` steps along g + μv
    (eq. optimizers-nesterov-implemented). ``weight_decay`` adds λθ to the gradient, which
    without momentum is the same as shrinking the weights (eq. optimizers-decay-sgd).

    Parameters
    ----------
    lr : float or schedule
    momentum : float
        μ in [0, 1).
    nesterov : bool
        Needs ``momentum > 0``.
    weight_decay : float
        λ of the penalty ½λ‖θ‖².

    References
    ----------
    Polyak, 1964; Nesterov, 1983; Sutskever, Martens, Dahl and Hinton, 2013.
    """

    def __init__(
        self,
        lr: Rate,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        engine: Any = None,
    ) -> None:
        super().__init__(lr, engine)
        require_number("SGD", "momentum", momentum, 0.0, 1.0)
        require_number("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and momentum == 0.0:
            raise ArgumentError("SGD", "nesterov", "the value True", "momentum > 0 with it")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()

    def update(self, E: Any, p: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            v = slots["velocity"]
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        p -= lr * g


class Adam(Optimizer):
    """Adam: a step in units of the gradient's own recent size (eq. optimizers-adam).

    Parameters
    ----------
    lr : float or schedule
    betas : (float, float)
        Memory of the mean and of the mean square, each in [0, 1).
    eps : float
        Added to the root of the mean square.
    weight_decay : float
        λ of a penalty ½λ‖θ‖² *inside* the gradient. For Adam this is not weight decay
        (eq. optimizers-adam-l2): see :class:`AdamW`.

    References
    ----------
    Kingma and Ba, *Adam*, 2015, algorithm 1 and section 3.
    """

    slots = ("mean", "square")

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        engine: Any = None,
    ) -> None:
        super().__init__(lr, engine)
        name = type(self).__name__
        if not (isinstance(betas, (tuple, list)) and len(betas) == 2):
            raise ArgumentError(name, "betas", f"the value {betas!r}", "a pair of numbers")
        for i, beta in enumerate(betas):
            require_number(name, f"betas[{i}]", beta, 0.0, 1.0)
        require_number(name, "eps", eps, 0.0)
        require_number(name, "weight_decay", weight_decay, 0.0)
        self.betas, self.eps, self.weight_decay = tuple(betas), eps, weight_decay

    def update(self, E: Any, p: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * p
        self._move(E, p, g, slots, lr, t)

    def _move(self, E: Any, p: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        beta1, beta2 = self.betas
        m, s = slots["mean"], slots["square"]
        m *= beta1
        m += (1.0 - beta1) * g
        s *= beta2
        s += (1.0 - beta2) * (g * g)
        # The corrections are numbers: apply them to the rate, not to arrays
        # (eq. optimizers-adam-implemented).
        root = math.sqrt(1.0 - beta2**t)
        size = E.sqrt(s)
        size += self.eps * root
        step = m / size
        step *= lr * root / (1.0 - beta1**t)
        p -= step


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 − ηλ)θ, then Adam's step (eq. optimizers-adamw).

    Parameters
    ----------
    lr, betas, eps
        As for :class:`Adam`.
    weight_decay : float
        λ: the share of a weight that is taken off per step and unit of rate.

    References
    ----------
    Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019, algorithm 2.
    """

    def __init__(
        self,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        engine: Any = None,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, engine)

    def update(self, E: Any, p: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        if self.weight_decay:
            p *= 1.0 - lr * self.weight_decay
        self._move(E, p, g, slots, lr, t)
