"""What is refused, and that all engines refuse it in the same words."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
import lepton_ref.engines
from lepton_ref.engines import base
from lepton_ref.framework.errors import ArgumentError

NAMES = lepton_ref.engines.installed()


def f(*shape, dtype="float32"):
    return lambda E: E.array(np.ones(shape), dtype=dtype)


def ints(*values):
    return lambda E: E.array(np.array(values, dtype=np.int64))


def truth(*shape):
    return lambda E: E.array(np.ones(shape, dtype=bool))


# operator, arguments (functions of the engine, or values), options, the whole message
REFUSED = [
    ("add", [f(2, 3), f(2)], {},
     "add: argument `b` has shape (2,); expected a shape that broadcasts with (2, 3), the shape "
     "of `a`"),
    ("add", [f(2), f(2, dtype="float64")], {},
     "add: argument `b` has dtype float64; expected float32, the dtype of `a`"),
    ("add", [f(2), ints(1, 2)], {},
     "add: argument `b` has dtype int64; expected float32, the dtype of `a`"),
    ("add", [f(2), None], {},
     "add: argument `b` has type NoneType; expected an array of the engine: E.array(x)"),
    ("subtract", [truth(2), truth(2)], {},
     "subtract: argument `a` has dtype bool; expected a floating array (float32)"),
    ("multiply", [ints(1, 2), 0.5], {},
     "multiply: argument `b` has type float; expected int64, the dtype of `a`"),
    ("multiply", [2.0, 3.0], {},
     "multiply: argument `a` has type float; expected a floating array (float32)"),
    ("divide", [ints(1, 2), ints(1, 2)], {},
     "divide: argument `a` has dtype int64; expected a floating array (float32)"),
    ("negative", [truth(2)], {},
     "negative: argument `x` has dtype bool; expected a floating dtype (float32)"),
    ("power", [f(2), f(2)], {}, "power: argument `exponent` has type "),
    ("power", [ints(1, 2), 2], {},
     "power: argument `x` has dtype int64; expected a floating dtype (float32)"),
    ("matmul", [f(2, 3), f(2, 3)], {},
     "matmul: argument `b` has shape (2, 3); expected 3 rows, as many as `a` of shape (2, 3) has "
     "columns"),
    ("matmul", [f(3), f(3, 2)], {},
     "matmul: argument `a` has shape (3,); expected at least 2 axes (..., rows, columns)"),
    ("matmul", [f(2, 2, 3), f(5, 3, 2)], {},
     "matmul: argument `b` has shape (5, 3, 2); expected a shape that broadcasts with (2, 2, 3), "
     "the shape of `a`"),
    *[
        (name, [ints(1, 2)], {},
         f"{name}: argument `x` has dtype int64; expected a floating dtype (float32)")
        for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "softplus")
    ],
    ("abs", [[1.0, -1.0]], {},
     "abs: argument `x` has type list; expected an array of the engine: E.array(x)"),
    ("where", [f(2), f(2), f(2)], {},
     "where: argument `condition` has dtype float32; expected bool"),
    ("where", [truth(3), f(2), f(2)], {},
     "where: argument `condition` has shape (3,); expected a shape that broadcasts with (2,), "
     "the shape of `a` and `b`"),
    ("where", [truth(2), f(2), truth(2)], {},
     "where: argument `b` has dtype bool; expected the dtype of the other"),
    ("getitem", [f(2, 3), 2], {},
     "getitem: argument `index` has the value 2; expected whole numbers in 0..1"),
    ("getitem", [f(2, 3), [0, -3]], {},
     "getitem: argument `index` has the value -3; expected whole numbers in 0..1"),
    ("getitem", [f(2, 3), (0, 0, 0)], {},
     "getitem: argument `index` has 3 axes; expected at most 2, of (2, 3)"),
    ("getitem", [f(2, 3), truth(3)], {},
     "getitem: argument `index` has a mask of shape (3,); expected (2,), the axes it selects from"),
    ("getitem", [f(2, 3), 1.0], {},
     "getitem: argument `index` has type float of dtype float64; expected whole numbers, slices, "
     "masks or arrays of whole numbers"),
    ("sum", [f(2, 3)], {"axis": 2},
     "sum: argument `axis` has the value 2; expected a whole number in -2..1"),
    ("sum", [f(2, 3)], {"axis": (0, -2)},
     "sum: argument `axis` has the value (0, -2); expected each axis once"),
    ("mean", [f(0, 3)], {},
     "mean: argument `x` has shape (0, 3); expected at least one entry to average"),
    ("mean", [ints(1, 2)], {},
     "mean: argument `x` has dtype int64; expected a floating dtype (float32)"),
    ("max", [f(2, 0)], {}, "max: argument `x` has shape (2, 0); expected at least one entry"),
    ("max", [truth(2)], {}, "max: argument `x` has dtype bool; expected numbers"),
    ("reshape", [f(2, 3), (4, 2)], {},
     "reshape: argument `shape` has the value (4, 2); expected 6 entries, as `x` of shape (2, 3) "
     "has; at most one size may be -1"),
    ("reshape", [f(2, 3), (-1, -1)], {},
     "reshape: argument `shape` has the value (-1, -1); expected 6 entries, as `x` of shape "
     "(2, 3) has; at most one size may be -1"),
    ("transpose", [f(2, 3), (0, 0)], {},
     "transpose: argument `axes` has the value (0, 0); expected each of 2 axes once"),
    ("concat", [[]], {},
     "concat: argument `arrays` has no entries; expected a list of at least one array"),
    ("concat", [f(2, 3)], {}, "concat: argument `arrays` has type "),
    ("stack", [[None]], {},
     "stack: argument `arrays[0]` has type NoneType; expected an array of the engine: E.array(x)"),
    ("pad", [f(2, 3), ((1, 1),)], {},
     "pad: argument `pad_width` has the value ((1, 1),); expected a pair (before, after) of whole "
     "numbers for each of 2 axes"),
    ("pad", [f(2), ((-1, 1),)], {},
     "pad: argument `pad_width` has the value ((-1, 1),); expected a pair (before, after) of "
     "whole numbers for each of 1 axes"),
    ("take", [f(4, 3), ints(1, -1)], {},
     "take: argument `indices` has the value -1; expected whole numbers in 0..3"),
    ("take", [f(4, 3), ints(4)], {},
     "take: argument `indices` has the value 4; expected whole numbers in 0..3"),
    ("take", [f(4, 3), f(2)], {},
     "take: argument `indices` has dtype float32; expected an integer dtype"),
    ("take", [f(4, 3), ints(0)], {"axis": 2},
     "take: argument `axis` has the value 2; expected an axis of shape (4, 3)"),
    ("pick", [f(2, 3), ints(0, 3)], {},
     "pick: argument `indices` has the value 3; expected whole numbers in 0..2"),
    ("pick", [f(2, 3), ints(0)], {},
     "pick: argument `indices` has shape (1,); expected (2,): `x` without `axis`"),
    ("softmax", [f(2, 0)], {},
     "softmax: argument `x` has shape (2, 0); expected at least one entry along axis -1"),
    ("softmax", [f()], {},
     "softmax: argument `x` has shape (); expected at least one entry along axis -1"),
    ("log_softmax", [ints(1, 2)], {},
     "log_softmax: argument `x` has dtype int64; expected a floating dtype (float32)"),
    ("cross_entropy", [f(2, 3), ints(0, 3)], {},
     "cross_entropy: argument `labels` has the value 3; expected whole numbers in 0..2"),
    ("cross_entropy", [f(2, 3), ints(0, -1)], {},
     "cross_entropy: argument `labels` has the value -1; expected whole numbers in 0..2"),
    ("cross_entropy", [f(2, 3), f(2)], {},
     "cross_entropy: argument `labels` has dtype float32; expected an integer dtype"),
    ("cross_entropy", [f(2, 3), ints(0)], {},
     "cross_entropy: argument `labels` has shape (1,); expected (2,): one label for each row of "
     "logits"),
    ("cross_entropy", [f(0, 3), ints()], {},
     "cross_entropy: argument `logits` has shape (0, 3); expected at least one row and one class"),
    ("cross_entropy", [f(2, 3), ints(0, 1), lambda E: E.array([0.0, 0.0])], {},
     "cross_entropy: argument `mask` has a sum of zero; expected at least one label that counts"),
    ("layer_norm", [f(2, 3), f(2), f(3)], {},
     "layer_norm: argument `gamma` has shape (2,); expected (3,): one number per entry of the "
     "last axis"),
    ("layer_norm", [f(2, 0), f(0), f(0)], {},
     "layer_norm: argument `x` has shape (2, 0); expected at least one entry to normalise"),
    ("batch_norm", [f(0, 3), f(3), f(3)], {},
     "batch_norm: argument `x` has shape (0, 3); expected a batch to take statistics of"),
    ("batch_norm", [f(2, 3), f(3), f(2)], {},
     "batch_norm: argument `beta` has shape (2,); expected (3,): one number per channel"),
    ("batch_norm", [f(2, 3), f(3), f(3), f(3)], {},
     "batch_norm: argument `var` has no partner; expected mean and var together, or neither"),
    ("conv2d", [f(2, 3), f(4, 3, 3, 3)], {},
     "conv2d: argument `x` has shape (2, 3); expected 4 axes (N, C, H, W)"),
    ("conv2d", [f(2, 3, 5, 5), f(4, 2, 3, 3)], {},
     "conv2d: argument `w` has shape (4, 2, 3, 3) (O, C, kh, kw); expected C = 3, the channels of "
     "`x`"),
    ("conv2d", [f(2, 3, 5, 5), f(4, 3, 3, 3, dtype="float64")], {},
     "conv2d: argument `w` has dtype float64; expected float32, the dtype of `x`"),
    ("conv2d", [f(2, 1, 5, 5), f(1, 1, 6, 3)], {},
     "conv2d: argument `w` has a kernel of 6 along H; expected at most 5: the input has 5 and "
     "padding adds 0"),
    ("conv2d", [f(2, 1, 5, 5), f(1, 1, 3, 3)], {"stride": 0},
     "conv2d: argument `stride` has the value 0; expected a whole number >= 1, or two of them"),
    ("conv2d", [f(2, 1, 5, 5), f(1, 1, 3, 3), f(2)], {},
     "conv2d: argument `b` has shape (2,); expected (1,): one number per output channel"),
    ("conv_transpose2d", [f(2, 3, 5, 5), f(2, 4, 3, 3)], {},
     "conv_transpose2d: argument `w` has shape (2, 4, 3, 3) (C, O, kh, kw); expected C = 3, the "
     "channels of `x`"),
    ("conv_transpose2d", [f(1, 1, 1, 1), f(1, 1, 2, 2)], {"padding": 1},
     "conv_transpose2d: argument `padding` has the value 1; expected an output of at least 1 "
     "along H: stride * (n - 1) + kernel - 2 * padding"),
    ("max_pool2d", [f(1, 1, 3, 3), 4], {},
     "max_pool2d: argument `kernel_size` has a kernel of 4 along H; expected at most 3: the input "
     "has 3 and padding adds 0"),
    ("max_pool2d", [f(1, 1, 3, 3), 2], {"padding": 2},
     "max_pool2d: argument `padding` has the value 2; expected at most half of kernel_size 2"),
    ("avg_pool2d", [lambda E: E.array(np.ones((1, 1, 3, 3), np.int64)), 2], {},
     "avg_pool2d: argument `x` has dtype int64; expected a floating dtype (float32)"),
    ("rnn", [f(2, 3, 4), f(2, 5), f(4, 4), f(5, 5), f(5)], {},
     "rnn: argument `w_ih` has shape (4, 4); expected (4, 5): (C, 1H)"),
    ("rnn", [f(2, 0, 4), f(2, 5), f(4, 5), f(5, 5), f(5)], {},
     "rnn: argument `x` has shape (2, 0, 4); expected at least one time step"),
    ("lstm", [f(2, 3, 4), f(2, 5), f(4, 20), f(5, 20), f(20)], {},
     "lstm: argument `state` has type "),
    ("gru", [f(2, 3, 4), f(3, 5), f(4, 15), f(5, 15), f(15), f(15)], {},
     "gru: argument `state` has shape (3, 5); expected (2, 5): (N, H)"),
    ("attention", [f(2, 4, 3), f(2, 5, 2), f(2, 5, 2)], {},
     "attention: argument `k` has shape (2, 5, 2); expected (2, 5, 3): the axes and D of `q`"),
    ("attention", [f(4, 3), f(4, 3), f(4, 3), f(4, 4)], {},
     "attention: argument `mask` has dtype float32; expected bool, True = attend"),
    ("attention", [f(4, 3), f(4, 3), f(4, 3), truth(3, 3)], {},
     "attention: argument `mask` has shape (3, 3); expected a shape that broadcasts to (4, 4)"),
    ("cross_entropy", [f(), ints(0)], {},
     "cross_entropy: argument `logits` has shape (); expected (..., C): one logit per class, last"),
    ("pick", [f(2, 3), ints(0, 1)], {"axis": 2},
     "pick: argument `axis` has the value 2; expected an axis of shape (2, 3)"),
    ("batch_norm", [f(3), f(3), f(3)], {},
     "batch_norm: argument `x` has shape (3,); expected at least 2 axes (N, C, ...)"),
    ("attention", [f(3), f(3), f(3)], {},
     "attention: argument `q` has shape (3,); expected at least 2 axes (..., T, D)"),
    ("attention", [f(2, 0), f(3, 0), f(3, 2)], {},
     "attention: argument `q` has shape (2, 0); expected at least one feature"),
    ("attention", [f(2, 3), f(0, 3), f(0, 2)], {},
     "attention: argument `k` has shape (0, 3); expected at least one key to attend to"),
    ("concat", [[f(2), f(2, dtype="float64")]], {},
     "concat: argument `arrays[1]` has dtype float64; expected float32, the dtype of `arrays[0]`"),
    ("concat", [[f(2, 3), f(3, 3)]], {"axis": 1},
     "concat: argument `arrays[1]` has shape (3, 3); expected (2, 3) but for axis 1"),
    ("stack", [[f(2), f(3)]], {},
     "stack: argument `arrays[1]` has shape (3,); expected (2,)"),
    ("pad", [f(2), 1], {},
     "pad: argument `pad_width` has the value 1; expected a pair (before, after) of whole "
     "numbers for each of 1 axes"),
    ("array", [["a", "b"]], {}, "array: argument `x` has dtype <U1; expected numbers or booleans"),
    ("array", [[1.0]], {"dtype": "float8"},
     "array: argument `dtype` has the value 'float8'; expected float32, float64, int64 or bool"),
    ("parameter", [[1.0]], {"dtype": "int8"},
     "array: argument `dtype` has the value 'int8'; expected float32, float64, int64 or bool"),
    ("assign", [f(2, 3), f(3)], {},
     "assign: argument `value` has shape (3,); expected (2, 3), the shape of `target`"),
]  # fmt: skip


def build(E, args):
    def put(arg):
        if isinstance(arg, list):
            return [put(a) for a in arg]
        return arg(E) if callable(arg) else arg

    return [put(arg) for arg in args]


def message_of(E, operator, args, options):
    with pytest.raises(ArgumentError) as caught:
        getattr(E, operator)(*build(E, args), **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("operator", "args", "options", "message"),
    REFUSED,
    ids=[f"{i}-{entry[0]}" for i, entry in enumerate(REFUSED)],
)
def test_refused_in_these_words(engine, operator, args, options, message):
    said = message_of(engine, operator, args, options)
    assert said.startswith(message)
    assert said == message or message.endswith("has type ")


def test_every_operator_refuses_something():
    assert {entry[0] for entry in REFUSED} >= set(base.OPERATORS)


def test_the_error_can_be_told_from_within_a_layer(engine):
    with pytest.raises(ArgumentError) as caught:
        engine.conv2d(*build(engine, [f(2, 3), f(4, 3, 3, 3)]))
    assert caught.value.argument == "x"
    assert str(caught.value.within("body.conv1")).startswith("body.conv1 > conv2d: argument `x`")


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        (lambda E, p: p, f(2), "`function` has a result of shape (2,); expected a scalar"),
        (lambda E, p: E.array(1.0), f(2), "`function` has a result that depends on no parameter"),
        (lambda E, p: 1.0, f(2), "`function` has a result that depends on no parameter"),
        (lambda E, p: E.sum(E.stop_gradient(p)), f(2), "a result that depends on no parameter"),
        (lambda E, p: E.sum(p["w"][0]), lambda E: {"w": [E.array([1, 2])]},
         "`params['w'][0]` has dtype int64; expected a float32 or float64"),
        (lambda E, p: E.sum(p["w"]), lambda E: {"w": 1.0}, "`params['w']` has dtype float"),
    ],
)  # fmt: skip
def test_misuse_of_value_and_grad(engine, function, params, message):
    with pytest.raises(ArgumentError) as caught:
        engine.value_and_grad(lambda p: function(engine, p))(params(engine))
    assert message in str(caught.value)


def test_no_gradient_of_a_gradient(engine):
    """Also of other parameters: the inner pass would use up the tape of the outer one."""
    w, other = engine.parameter([1.0, 2.0]), engine.parameter([3.0, 4.0])

    def inner(p):
        return engine.sum(engine.multiply(p, p))

    for function in (
        lambda p: engine.value_and_grad(inner)(p)[0],
        lambda p: engine.sum(p * engine.value_and_grad(lambda q: engine.sum(q * p))(other)[1]),
    ):
        with pytest.raises(ArgumentError) as caught:
            engine.value_and_grad(function)(w)
        assert str(caught.value) == (
            "value_and_grad: argument `function` has another value_and_grad inside; expected one "
            "at a time: no double backward"
        )
    _, grads = engine.value_and_grad(inner)(w)  # and nothing is left behind
    assert engine.asnumpy(grads).tolist() == [2, 4]


def test_after_a_refusal_the_engine_works_on(engine):
    w = engine.parameter(np.ones((3, 2)))

    def broken(p):
        return engine.sum(engine.matmul(p, p))

    with pytest.raises(ArgumentError, match="matmul: argument `b`"):
        engine.value_and_grad(broken)(w)
    value, grads = engine.value_and_grad(lambda p: engine.sum(engine.matmul(p, p.T)))(w)
    assert float(value) == 18
    assert engine.asnumpy(grads).tolist() == [[6, 6]] * 3


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_name_of_an_argument_is_a_type_error(name):
    E = lepton_ref.engine(name)
    with pytest.raises(TypeError, match="strides"):
        E.conv2d(E.array(np.ones((1, 1, 3, 3))), E.array(np.ones((1, 1, 2, 2))), strides=2)
