"""The elementary operators of the NumPy engine; the fused ones live with their topics.

Importing this package gives :class:`~lepton_ref.framework.autograd.Tensor` its arithmetic.
"""

from lepton_ref.framework.autograd import Tensor
from lepton_ref.framework.operators.arithmetic import (
    add,
    divide,
    matmul,
    multiply,
    negative,
    power,
    subtract,
)
from lepton_ref.framework.operators.elementwise import (
    abs,
    exp,
    gelu,
    log,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)
from lepton_ref.framework.operators.indexing import getitem, pick, take
from lepton_ref.framework.operators.normalization import batch_norm, layer_norm
from lepton_ref.framework.operators.probability import cross_entropy, log_softmax, softmax
from lepton_ref.framework.operators.reductions import max, mean, sum
from lepton_ref.framework.operators.shaping import concat, pad, reshape, stack, transpose

__all__ = [
    "abs", "add", "batch_norm", "concat", "cross_entropy", "divide", "exp", "gelu", "getitem",
    "layer_norm", "log", "log_softmax", "matmul", "max", "mean", "multiply", "negative", "pad",
    "pick", "power", "relu", "reshape", "sigmoid", "softmax", "softplus", "sqrt", "stack",
    "subtract", "sum", "take", "tanh", "transpose", "where",
]  # fmt: skip


def _bind_arithmetic() -> None:
    methods = {
        "__add__": add,
        "__radd__": lambda a, b: add(b, a),
        "__sub__": subtract,
        "__rsub__": lambda a, b: subtract(b, a),
        "__mul__": multiply,
        "__rmul__": lambda a, b: multiply(b, a),
        "__truediv__": divide,
        "__rtruediv__": lambda a, b: divide(b, a),
        "__matmul__": matmul,
        "__rmatmul__": lambda a, b: matmul(b, a),
        "__neg__": negative,
        "__pow__": power,
        "__getitem__": getitem,
        "T": property(transpose),
    }
    for name, method in methods.items():
        setattr(Tensor, name, method)


_bind_arithmetic()
