"""One line per case: what every operator and every service is tried on, on every engine.

A new operator without a line here fails ``test_registry.py``. Each case is run with values
against the NumPy engine in float32 (``test_parity.py``), and, unless it says otherwise, its
vector-Jacobian products against central differences in float64 (``test_vjp.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Floats:
    """A floating argument; ``wrt`` says whether the gradient is asked for."""

    make: Callable[[np.random.Generator], np.ndarray]
    wrt: bool = True


@dataclass(frozen=True)
class Fixed:
    """Labels, indices, masks: an array that is no floating argument."""

    make: Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One call of one operator."""

    operator: str
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    smooth: bool = True  # differentiable at the point, so that differences apply

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        shapes = ",".join(str(s) for s in shapes_of(self.args))
        return f"{self.operator}[{self.note or shapes}{';' if options else ''}{options}]"


def g(*shape: int) -> Floats:
    """Standard normal."""
    return Floats(lambda rng: rng.standard_normal(shape))


def small(*shape: int) -> Floats:
    """Normal with standard deviation 0.3: weights."""
    return Floats(lambda rng: 0.3 * rng.standard_normal(shape))


def positive(*shape: int) -> Floats:
    return Floats(lambda rng: 0.5 + rng.random(shape))


def apart(*shape: int) -> Floats:
    """Distinct entries, none near zero nor near another: safe around a kink or a maximum."""
    n = int(np.prod(shape))
    return Floats(lambda rng: rng.permutation(0.5 + np.arange(n) - n // 2).reshape(shape) / 4)


def const(*shape: int) -> Floats:
    """Positive numbers that are not differentiated: weights of a mask, running statistics."""
    return Floats(lambda rng: 0.5 + rng.random(shape), wrt=False)


def these(values: Any, wrt: bool = True) -> Floats:
    return Floats(lambda rng: np.array(values, dtype=np.float64), wrt)


def ties(*shape: int) -> Floats:
    return Floats(lambda rng: -np.ones(shape))


def below(n: int, *shape: int) -> Fixed:
    return Fixed(lambda rng: rng.integers(0, n, shape))


def truth(*shape: int) -> Fixed:
    return Fixed(lambda rng: rng.random(shape) < 0.6)


def exactly(values: Any) -> Fixed:
    return Fixed(lambda rng: np.array(values))


def case(operator: str, *args: Any, note: str = "", smooth: bool = True, **options: Any) -> Case:
    return Case(operator, args, options, note, smooth)


CASES: list[Case] = [
    # Arithmetic: equal shapes, broadcasting from both sides, numbers, size one, nothing at all.
    *(
        c
        for name in ("add", "subtract", "multiply", "divide")
        for c in (
            case(name, g(3, 4), positive(3, 4)),
            case(name, g(3, 4), positive(4)),
            case(name, g(4), positive(2, 3, 1)),
            case(name, g(2, 1, 4), positive(3, 1)),
            case(name, g(), positive(2, 2)),
            case(name, g(2, 3), 2.5, note="number"),
            case(name, 2.5, positive(2, 3), note="number first"),
            case(name, g(0, 3), positive(3)),
            case(name, g(1, 1), positive(1)),
        )
    ),
    case("multiply", g(2, 3), truth(2, 3), note="truth values"),
    case("add", below(9, 3), below(9, 3), note="whole numbers"),
    case("subtract", below(9, 3), 4, note="whole number"),
    case("negative", g(2, 3)), case("negative", g(0, 2)), case("negative", below(5, 3)),
    case("power", g(2, 3), 2), case("power", g(2, 3), 3), case("power", positive(4), -1.5),
    case("power", positive(4), 0.5), case("power", g(3), 1), case("power", g(0), 2),
    case("power", these([0.0, -1.0, 2.0]), 2, note="at zero"),
    case("matmul", g(3, 4), g(4, 2)), case("matmul", g(5, 3, 4), g(4, 2)),
    case("matmul", g(3, 4), g(5, 4, 2)), case("matmul", g(2, 1, 3, 4), g(5, 4, 2)),
    case("matmul", g(1, 1), g(1, 1)), case("matmul", g(2, 0), g(0, 3)),
    case("matmul", g(0, 3), g(3, 2)), case("matmul", g(0, 2, 3), g(3, 2)),
    # Elementwise.
    *(
        case(name, g(*shape))
        for name in ("exp", "tanh", "sigmoid", "gelu", "softplus")
        for shape in ((2, 3), (), (1,), (0, 3))
    ),
    *(
        case(name, positive(*shape))
        for name in ("log", "sqrt")
        for shape in ((2, 3), (), (1,), (0, 3))
    ),
    *(
        case(name, apart(*shape))
        for name in ("relu", "abs")
        for shape in ((2, 3), (), (1,), (0, 3))
    ),
    case("relu", these([-1.0, 0.0, 2.0]), note="at zero", smooth=False),
    case("abs", these([-1.0, 0.0, 2.0]), note="at zero", smooth=False),
    *(
        case(name, these([-90.0, -30.0, 30.0, 90.0]), note="far out", smooth=False)
        for name in ("tanh", "sigmoid", "gelu", "softplus", "relu")
    ),
    case("where", truth(2, 3), g(2, 3), g(2, 3)), case("where", truth(3), g(2, 3), g(2, 1)),
    case("where", truth(2, 3), g(2, 3), 0.0, note="number"), case("where", truth(2, 3), g(), g(3)),
    case("where", truth(2, 3), -1.5, g(3), note="number first"),
    case("where", truth(0), g(0), g(1)),
    # Reductions.
    *(
        case(name, make(2, 3, 4), axis=axis, keepdims=keepdims)
        for name, make in (("sum", g), ("mean", g), ("max", apart))
        for axis in (None, 0, -1, (0, 2), (1, -1))
        for keepdims in (False, True)
    ),
    *(case(name, apart(*s)) for name in ("sum", "mean", "max") for s in ((), (1,), (1, 1))),
    case("sum", g(0, 3), axis=0), case("sum", g(0, 3), axis=1), case("sum", g(0, 3)),
    case("sum", below(9, 2, 3), axis=1, note="whole numbers"), case("sum", truth(4), note="truth"),
    case("sum", g(2, 3), axis=()), case("max", below(9, 2, 3), axis=1, note="whole numbers"),
    case("max", these([[1, 3, 3], [2, 2, 2]]), axis=1, note="ties", smooth=False),
    case("max", these([[0.1, 0.7, 0.7], [0.7, 0.7, 0.7]]), note="ties in all", smooth=False),
    case("max", these([[0.0, np.inf], [-np.inf, 1]]), axis=1, note="infinite", smooth=False),
    # Shapes.
    case("reshape", g(2, 6), shape=(3, 4)), case("reshape", g(2, 6), shape=(-1,)),
    case("reshape", g(2, 6), shape=12), case("reshape", g(1), shape=()),
    case("reshape", g(), shape=(1, 1)), case("reshape", g(0, 3), shape=(3, 0)),
    case("reshape", g(2, 3, 4), shape=(2, -1)), case("reshape", g(0, 3), shape=(-1, 3)),
    case("transpose", g(2, 3)), case("transpose", g(2, 3, 4), axes=(1, 2, 0)),
    case("transpose", g(2, 3, 4), axes=(0, -1, 1)), case("transpose", g(0, 3)),
    case("transpose", g(3)),
    case("concat", [g(2, 3), g(2, 1), g(2, 2)], axis=1), case("concat", [g(2), g(3)]),
    case("concat", [g(2, 3), g(0, 3)]), case("concat", [g(2, 3)], axis=-1),
    case("concat", [below(5, 2), below(5, 3)], note="whole numbers"),
    case("stack", [g(2, 3), g(2, 3)]), case("stack", [g(2, 3), g(2, 3), g(2, 3)], axis=-1),
    case("stack", [g(), g()]), case("stack", [g(0, 2), g(0, 2)], axis=1),
    case("pad", g(2, 3), pad_width=((1, 0), (0, 2))), case("pad", g(3), pad_width=((2, 1),)),
    case("pad", g(2, 1, 3), pad_width=((0, 0), (1, 1), (2, 0)), value=-1.5),
    case("pad", g(0, 2), pad_width=((1, 1), (0, 0))), case("pad", g(2), pad_width=((0, 0),)),
    # Reading by index.
    *(
        case("getitem", g(4, 3, 5), index, note=f"x[{text}]")
        for text, index in {
            "1": 1, "-1": -1, "1:3": slice(1, 3), "::-1": slice(None, None, -1),
            "3:0:-2": slice(3, 0, -2), "2:2": slice(2, 2), "..., 0": (..., 0),
            "None": None, ":, None, -1": (slice(None), None, -1),
            "1, 2, 3": (1, 2, 3), "[0, 0, -1]": [0, 0, -1], ":, [2, -1]": (slice(None), [2, -1]),
            "[0, 3], [1, -2]": ([0, 3], [1, -2]), "..., [4, 0]": (..., [4, 0]),
            "2, :, [1, 1]": (2, slice(None), [1, 1]), "[[0, 1], [3, 3]]": [[0, 1], [3, 3]],
            "[0, 1], :, [2, 2]": ([0, 1], slice(None), [2, 2]), "[]": [],
            "[0, 2], ::-1": ([0, 2], slice(None, None, -1)), "10:": slice(10, None),
        }.items()
    ),
    case("getitem", g(3, 2), exactly([True, False, True]), note="x[mask of rows]"),
    case("getitem", g(2, 3), exactly([[True, False, True], [False, True, True]]), note="x[mask]"),
    case("getitem", g(2, 3), exactly([[False] * 3] * 2), note="x[no entry]"),
    case("getitem", g(4, 3), exactly([3, -4, 3]), note="x[array]"),
    case("getitem", g(0, 3), slice(None), note="of nothing"),
    case("getitem", below(9, 4), -1, note="whole numbers"),
    case("take", g(5, 3), below(5, 4)), case("take", g(5, 3), below(5, 2, 4)),
    case("take", g(2, 5, 3), below(5, 4), axis=1), case("take", g(2, 5), below(5, 2, 2), axis=-1),
    case("take", g(5, 3), exactly([4, 4, 4, 0]), note="repeated"),
    case("take", g(1, 1), below(1, 1)),
    case("take", g(5, 3), below(5, 0)), case("take", g(5, 3), below(5), note="one index"),
    case("pick", g(4, 3), below(3, 4)), case("pick", g(2, 4, 3), below(3, 2, 4)),
    case("pick", g(4, 3), below(4, 3), axis=0), case("pick", g(2, 4, 3), below(4, 2, 3), axis=1),
    case("pick", g(1, 1), below(1, 1)), case("pick", g(0, 3), below(3, 0)),
    case("pick", g(3), below(3), note="one row"),
    # Probability.
    *(
        case(name, g(*shape), axis=axis)
        for name in ("softmax", "log_softmax")
        for shape, axis in (((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((1, 1), -1), ((0, 3), -1))
    ),
    case("softmax", these([[1000.0, 0.0], [-1000.0, 0.0]]), note="far out", smooth=False),
    case("log_softmax", these([[1000.0, 0.0], [-1000.0, 0.0]]), note="far out", smooth=False),
    case("cross_entropy", g(4, 3), below(3, 4)), case("cross_entropy", g(2, 4, 3), below(3, 2, 4)),
    case("cross_entropy", g(2, 4, 3), below(3, 2, 4), const(2, 4)),
    case("cross_entropy", g(4, 3), below(3, 4), these([1, 0, 1, 0], wrt=False), note="mask"),
    case("cross_entropy", g(4, 3), below(3, 4), exactly([True, False, True, True]), note="truth"),
    case("cross_entropy", g(1, 1), below(1, 1)), case("cross_entropy", g(3), below(3), note="one"),
    case("cross_entropy", these([[4.0, 0.0, -2.0]]), exactly([0]), note="sure of itself"),
    case("cross_entropy", these([[800.0, 0.0]]), exactly([1]), note="far out", smooth=False),
    # Normalisation.
    case("layer_norm", g(3, 5), g(5), g(5)), case("layer_norm", g(2, 3, 4), g(4), g(4)),
    case("layer_norm", g(2, 4), g(4), g(4), eps=0.1), case("layer_norm", g(4), g(4), g(4)),
    case("layer_norm", g(2, 1), g(1), g(1)), case("layer_norm", g(0, 4), g(4), g(4)),
    case("batch_norm", g(6, 3), g(3), g(3)), case("batch_norm", g(4, 3, 2, 5), g(3), g(3)),
    case("batch_norm", g(4, 2, 3), g(2), g(2)), case("batch_norm", g(6, 3), g(3), g(3), eps=0.1),
    case("batch_norm", g(6, 3), g(3), g(3), const(3), const(3)),
    case("batch_norm", g(2, 3, 4, 4), g(3), g(3), const(3), const(3), eps=1e-3),
    case("batch_norm", g(0, 3), g(3), g(3), const(3), const(3)),
    case("batch_norm", g(1, 3), g(3), g(3), eps=0.1, note="one example"),
    # Images: stride, padding, both unequal in the two directions, size one, nothing.
    case("conv2d", g(2, 3, 6, 5), small(4, 3, 3, 2), g(4)),
    case("conv2d", g(2, 3, 6, 5), small(4, 3, 3, 2)),
    case("conv2d", g(2, 3, 6, 5), small(4, 3, 3, 3), g(4), stride=2, padding=1),
    case("conv2d", g(2, 2, 7, 6), small(3, 2, 3, 2), g(3), stride=(2, 3), padding=(0, 2)),
    case("conv2d", g(1, 1, 1, 1), small(1, 1, 1, 1), g(1)),
    case("conv2d", g(2, 3, 4, 4), small(2, 3, 4, 4), g(2), note="one position"),
    case("conv2d", g(0, 3, 5, 5), small(4, 3, 3, 3), g(4), padding=1),
    case("conv2d", g(2, 0, 5, 5), small(4, 0, 3, 3), g(4)),
    case("conv2d", g(2, 2, 3, 3), small(2, 2, 3, 3), g(2), stride=3, padding=3, note="far out"),
    case("conv_transpose2d", g(2, 3, 4, 3), small(3, 4, 3, 2), g(4)),
    case("conv_transpose2d", g(2, 3, 4, 3), small(3, 2, 3, 3), stride=2, padding=1),
    case("conv_transpose2d", g(2, 2, 3, 4), small(2, 3, 3, 4), g(3), stride=(2, 3), padding=(0, 1)),
    case("conv_transpose2d", g(1, 1, 1, 1), small(1, 1, 1, 1), g(1)),
    case("conv_transpose2d", g(0, 3, 4, 3), small(3, 4, 3, 2), g(4)),
    case("conv_transpose2d", g(2, 0, 3, 3), small(0, 2, 2, 2), g(2), stride=2),
    case("conv_transpose2d", g(2, 2, 3, 3), small(2, 2, 2, 2), g(2), stride=3, note="with gaps"),
    case("max_pool2d", apart(2, 3, 6, 4), kernel_size=2),
    case("max_pool2d", apart(2, 2, 7, 5), kernel_size=3, stride=2),
    case("max_pool2d", apart(2, 2, 5, 6), kernel_size=(3, 2), stride=(1, 2), padding=(1, 1)),
    case("max_pool2d", apart(1, 1, 1, 1), kernel_size=1),
    case("max_pool2d", g(0, 2, 4, 4), kernel_size=2),
    case("max_pool2d", ties(1, 1, 3, 4), kernel_size=2, stride=1, note="ties", smooth=False),
    case("max_pool2d", ties(1, 1, 2, 2), kernel_size=2, padding=1, note="edge", smooth=False),
    case("avg_pool2d", g(2, 3, 6, 4), kernel_size=2),
    case("avg_pool2d", g(2, 2, 7, 5), kernel_size=3, stride=2),
    case("avg_pool2d", g(2, 2, 5, 6), kernel_size=(3, 2), stride=(1, 2), padding=(1, 1)),
    case("avg_pool2d", g(1, 1, 1, 1), kernel_size=1),
    case("avg_pool2d", g(0, 2, 4, 4), kernel_size=2),
    # Sequences: T > 1, T = 1, size one, nothing.
    *(
        c
        for n, t, size, h in ((3, 5, 4, 2), (2, 1, 3, 4), (1, 1, 1, 1), (0, 2, 3, 2), (2, 3, 0, 2))
        for c in (
            case("rnn", g(n, t, size), g(n, h), small(size, h), small(h, h), g(h)),
            case(
                "lstm", g(n, t, size), (g(n, h), g(n, h)),
                small(size, 4 * h), small(h, 4 * h), g(4 * h),
            ),
            case(
                "gru", g(n, t, size), g(n, h),
                small(size, 3 * h), small(h, 3 * h), g(3 * h), g(3 * h),
            ),
        )
    ),
    case("attention", g(4, 3), g(5, 3), g(5, 2)),
    case("attention", g(2, 4, 3), g(2, 5, 3), g(2, 5, 3)),
    case("attention", g(2, 2, 4, 3), g(2, 2, 4, 3), g(2, 2, 4, 3), truth(4, 4)),
    case("attention", g(2, 4, 3), g(2, 4, 3), g(2, 4, 3), exactly(np.tri(4, dtype=bool))),
    case("attention", g(2, 4, 3), g(2, 5, 3), g(2, 5, 3), truth(2, 1, 5), note="keys masked"),
    case("attention", g(2, 3), g(3, 3), g(3, 2), exactly([[True] * 3, [False] * 3]), note="no key"),
    case("attention", g(1, 1), g(1, 1), g(1, 1)),
    case("attention", g(0, 4, 3), g(0, 5, 3), g(0, 5, 3)),
]  # fmt: skip


def build(case: Case, rng: np.random.Generator) -> tuple[list[np.ndarray], list[bool], Callable]:
    """The floating arguments, which of them to differentiate, and the call.

    The third result takes ``(engine, floats)``: engine arrays in the place of the floating
    arguments. Every array comes from ``rng``, so two engines get the same.
    """
    floats: list[np.ndarray] = []
    wrt: list[bool] = []
    made: list[Any] = []

    def collect(arg: Any) -> None:
        if isinstance(arg, Floats):
            floats.append(np.asarray(arg.make(rng), dtype=np.float64))
            wrt.append(arg.wrt)
        elif isinstance(arg, Fixed):
            made.append(np.asarray(arg.make(rng)))
        elif isinstance(arg, (list, tuple)) and any(isinstance(a, (Floats, Fixed)) for a in arg):
            for a in arg:
                collect(a)

    for arg in case.args:
        collect(arg)

    def call(engine: Any, values: list[Any]) -> Any:
        stock, fixed = iter(values), iter(made)

        def put(arg: Any) -> Any:
            if isinstance(arg, Floats):
                return next(stock)
            if isinstance(arg, Fixed):
                return engine.array(next(fixed))
            if isinstance(arg, (list, tuple)) and any(isinstance(a, (Floats, Fixed)) for a in arg):
                return type(arg)(put(a) for a in arg)
            return arg

        args = [put(arg) for arg in case.args]
        return getattr(engine, case.operator)(*args, **case.options)

    return floats, wrt, call


def differentiable(case: Case, out: Any) -> Any:
    """The outputs that carry a gradient: not the statistics that batch_norm reports."""
    return out[0] if case.operator == "batch_norm" else out


def shapes_of(args: Any) -> list[Any]:
    """The shapes of the arrays and the values of the numbers, for the name of a case."""
    shapes: list[Any] = []
    for arg in args:
        if isinstance(arg, (Floats, Fixed)):
            shapes.append(np.shape(arg.make(np.random.default_rng(0))))
        elif isinstance(arg, (list, tuple)):
            shapes += shapes_of(arg)
        else:
            shapes.append(arg)
    return shapes


def _assigned(E: Any) -> Any:
    target = E.parameter([[1.0, 2.0], [3.0, 4.0]])
    E.assign(target, E.array([[5.0, 6.0], [7.0, 8.0]]))
    single = E.parameter(1.0)
    E.assign(single, 2.5)
    return target, single


def _stopped(E: Any) -> Any:
    def loss(x):
        return E.sum(E.multiply(x, E.stop_gradient({"x": E.exp(x)})["x"]))

    return E.value_and_grad(loss)(E.parameter([0.5, -1.0]))


def _unrecorded(E: Any) -> Any:
    def loss(x):
        with E.no_grad():
            weight = E.exp(x)
        return E.sum(E.multiply(x, weight))

    return E.value_and_grad(loss)(E.parameter([0.5, -1.0]))


def _differentiated(E: Any) -> Any:
    def loss(params, scale):
        y = E.tanh(E.matmul(params["w"], params["rest"][0]))
        return E.multiply(E.sum(y), scale), {"y": y, "n": 3}

    params = {
        "w": E.parameter([[1.0, 2.0]]),
        "rest": [E.parameter([[0.3], [0.1]]), E.parameter(2.0)],
    }
    return E.value_and_grad(loss, has_aux=True)(params, 2.0)


#: What an engine offers beside the operators: results to compare, by name.
SERVICES: dict[str, list[Callable[[Any], Any]]] = {
    "array": [
        lambda E: E.array([1, 2, 3]), lambda E: E.array(np.uint8([7, 255])),
        lambda E: E.array([True, False]), lambda E: E.array([[1.5, 2.5]]), lambda E: E.array(3),
        lambda E: E.array([1.5], dtype="float64"), lambda E: E.array([1, 2], dtype="float32"),
        lambda E: E.array(np.arange(6.0).reshape(2, 3)[:, ::-1].T), lambda E: E.array(2.5),
        lambda E: E.array(np.zeros((0, 3))), lambda E: E.array(np.float16([0.5])),
        lambda E: E.array(np.array([1, 0]), dtype="bool"),
        lambda E: E.array(np.array([1.0, 2.0], dtype=">f8"), dtype=np.float64),
    ],
    "asnumpy": [
        lambda E: E.asnumpy(E.array([1.5, 2.5])), lambda E: E.asnumpy(E.sum(E.array([2.0]))),
    ],
    "parameter": [
        lambda E: E.parameter([1.5, 2.5]), lambda E: E.parameter(np.ones(2), dtype="float64"),
    ],
    "assign": [_assigned],
    "stop_gradient": [_stopped],
    "value_and_grad": [_differentiated, lambda E: E.value_and_grad(lambda p: p)(E.parameter(2.0))],
    "no_grad": [_unrecorded],
}  # fmt: skip
