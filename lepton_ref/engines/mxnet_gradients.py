"""Differentiation by MXNet's ``autograd``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lepton_ref.engines import common
from lepton_ref.engines.mxnet_library import mx, numpy_semantics
from lepton_ref.framework.autograd import differentiating
from lepton_ref.framework.trees import flatten, map_tree, unflatten

np, autograd = mx.np, mx.autograd


def constant(x: Any) -> Any:
    """The value of ``x`` as a constant."""
    return map_tree(lambda a: a.detach() if isinstance(a, np.ndarray) else a, x)


def value_and_grad(function: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """As :func:`lepton_ref.framework.autograd.value_and_grad`, by this library.

    ``attach_grad`` is called on detached leaves alone: on an intermediate result MXNet
    would cut the graph there and leave zeros in the gradients below.
    """

    @numpy_semantics
    @functools.wraps(function)
    def run(params: Any, *args: Any, **kwargs: Any) -> Any:
        arrays, structure = flatten(params)
        common.check_parameters(arrays, np.ndarray, "MXNet")
        leaves = [array.detach() for _, array in arrays]
        for leaf in leaves:
            leaf.attach_grad()
        with differentiating(), autograd.record():
            result = function(unflatten(structure, leaves), *args, **kwargs)
            output, aux = result if has_aux else (result, None)
            common.check_result(output)
            if any(output is leaf for leaf in leaves):
                output = output + 0  # MXNet cannot differentiate a leaf by itself
        try:
            if not isinstance(output, np.ndarray):
                raise common.independent()
            output.backward()
        except mx.MXNetError as error:
            if "not in a computational graph" not in str(error):
                raise
            raise common.independent() from None
        value = output.detach()
        out = (value, constant(aux)) if has_aux else value
        return out, unflatten(structure, [leaf.grad for leaf in leaves])

    return run
