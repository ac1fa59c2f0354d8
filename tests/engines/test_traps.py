"""Where a library is silently wrong or crashes, and the engine must not be.

The operators' own cases (``operator_cases.py``) hold most of them; here are those that need
more than one call.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import lepton_ref
import lepton_ref.engines
from lepton_ref.framework.errors import EngineError
from tests.engines.operator_cases import CASES, build
from tests.numeric import to_numpy

INSTALLED = lepton_ref.engines.installed()
needs_mxnet = pytest.mark.skipif("mxnet" not in INSTALLED, reason="MXNet is not installed")
needs_torch = pytest.mark.skipif("torch" not in INSTALLED, reason="PyTorch is not installed")
EMPTY = [
    case for case in CASES if any(0 in x.shape for x in build(case, np.random.default_rng(0))[0])
]


def python(code):
    root = Path(lepton_ref.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )


@needs_mxnet
def test_mxnet_leaves_numpy_as_it_was():
    """NumPy's names after MXNet are those before it, but for what NumPy itself loads late."""
    run = python(
        "import numpy; before = dict(vars(numpy)); import lepton_ref;"
        "lepton_ref.use('mxnet').array([1.0]);"
        "after = vars(numpy); names = set(before) | set(after);"
        "print(sorted(n for n in names if before.get(n) is not after.get(n)));"
        "import types; print({type(after[n]).__name__ for n in set(after) - set(before)})"
    )
    changed, kinds = run.stdout.splitlines()
    assert "'bool'" not in changed, run.stderr
    assert set(eval(kinds)) <= {"module"}, changed  # numpy.testing and the like, imported


@needs_mxnet
@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
def test_the_gradient_of_a_leaf_that_is_a_slice_stays_in_its_place(pool, rng):
    """MXNet's max-pooling alone puts it at other places."""
    x, weight = rng.normal(size=(3, 2, 6, 6)), rng.normal(size=(2, 2, 3, 3))
    found = []
    for name in ("numpy", "mxnet"):
        E = lepton_ref.engine(name)
        w, f = E.array(weight, "float64"), getattr(E, pool)
        _, dx = E.value_and_grad(lambda a, E=E, w=w, f=f: E.sum(E.multiply(f(a, 2), w)))(
            E.array(x, "float64")[1:]
        )
        found.append(E.asnumpy(dx))
    np.testing.assert_allclose(found[1], found[0], atol=1e-12)


@needs_mxnet
def test_a_bool_that_numpy_had_stays():
    run = python(
        "import numpy; numpy.bool = kept = object(); import lepton_ref;"
        "lepton_ref.use('mxnet'); print(numpy.bool is kept)"
    )
    # MXNet cannot work with that object: the engine says so and still leaves it in place.
    assert "True" in run.stdout or "cannot be imported beside NumPy" in run.stderr


@needs_mxnet
def test_a_failed_import_takes_the_name_back(monkeypatch):
    from lepton_ref.engines.mxnet_library import import_mxnet

    before = "bool" in vars(np)
    monkeypatch.setitem(sys.modules, "mxnet", None)
    with pytest.raises(EngineError, match=r"cannot be imported beside NumPy .*needs NumPy 1\.26"):
        import_mxnet()
    assert ("bool" in vars(np)) is before


@needs_mxnet
@pytest.mark.parametrize("chosen, policy", [("", "PASSIVE"), ("active", "ACTIVE")])
def test_threads_wait_passively_unless_told_otherwise(chosen, policy):
    """Threads that spin take the cores from whoever has work. The environment stays as it was."""
    told = f"os.environ['OMP_WAIT_POLICY'] = {chosen!r}" if chosen else "0"
    run = python(
        "import os; os.environ.pop('OMP_WAIT_POLICY', None);"
        f"os.environ['OMP_DISPLAY_ENV'] = 'true'; {told};"
        "import lepton_ref; lepton_ref.use('mxnet');"
        "print(os.environ.get('OMP_WAIT_POLICY', ''))"
    )
    assert run.stdout.strip() == chosen
    assert set(re.findall(r"OMP_WAIT_POLICY = '(\w+)'", run.stderr)) == {policy}


@needs_mxnet
def test_numpy_semantics_reach_the_calling_thread_alone():
    from lepton_ref.engines.mxnet import mx

    seen = []

    def idle():
        seen.append(mx.util.is_np_array())

    def busy():
        lepton_ref.engine("mxnet").array([1.0])
        seen.append(mx.util.is_np_array())

    for work in (busy, idle):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [True, False]


@needs_mxnet
def test_mxnet_keeps_its_default_dtype():
    from lepton_ref.engines.mxnet import mx

    E = lepton_ref.engine("mxnet")
    E.array([1.0], dtype="float64")
    assert mx.np.zeros((1,)).dtype == np.float32


@pytest.mark.parametrize("case", EMPTY, ids=str)
def test_gradients_beside_empty_arrays_are_written(engine, case):
    """Memory that was never written shows as the 7s that lay there before."""
    floats, wrt, call = build(case, np.random.default_rng(0))
    arrays = [engine.parameter(x) for x in floats]
    chosen = [i for i, asked in enumerate(wrt) if asked]

    def loss(params):
        values = list(arrays)
        for i, p in zip(chosen, params, strict=True):
            values[i] = p
        out = call(engine, values)
        first = out[0] if isinstance(out, tuple) else out
        # Through every other argument too, so that each gradient is asked for.
        return engine.sum(first) + engine.sum(
            engine.concat([engine.reshape(p, -1) for p in params])
        )

    for _ in range(3):
        litter = [engine.array(np.full(n, 7.0)) for n in (1, 2, 4, 8, 16, 24, 32, 64) for _ in "ab"]
        del litter
        _, grads = engine.value_and_grad(loss)([arrays[i] for i in chosen])
        for i, gradient in zip(chosen, grads, strict=True):
            got = to_numpy(gradient)
            assert got.shape == floats[i].shape
            if 0 in to_numpy(first_output(call(engine, arrays))).shape:
                np.testing.assert_array_equal(got, 1)


def first_output(out):
    return out[0] if isinstance(out, tuple) else out


def test_features_as_a_leaf(engine):
    """The gradient of a head with respect to features: the head alone is differentiated.

    Asked on the intermediate result of the whole network instead, MXNet would leave zeros.
    """
    rng = np.random.default_rng(3)
    x, w, v = (engine.parameter(rng.standard_normal(s)) for s in ((2, 3), (3, 4), (4, 1)))
    features = engine.tanh(engine.matmul(x, w))
    _, at_features = engine.value_and_grad(lambda h: engine.sum(engine.matmul(h, v)))(features)
    np.testing.assert_allclose(to_numpy(at_features), np.tile(to_numpy(v).T, (2, 1)), rtol=1e-6)
    _, at_w = engine.value_and_grad(
        lambda p: engine.sum(engine.matmul(engine.tanh(engine.matmul(x, p)), v))
    )(w)
    expected = to_numpy(x).T @ ((1 - to_numpy(features) ** 2) * to_numpy(v).T)
    np.testing.assert_allclose(to_numpy(at_w), expected, rtol=1e-5)


def test_variance_composed_has_a_gradient(engine):
    """mx.np.var has none; the mean of the squared deviations has."""
    x = engine.parameter([1.0, 2.0, 4.0])

    def variance(p):
        return engine.mean(engine.power(engine.subtract(p, engine.mean(p)), 2))

    value, gradient = engine.value_and_grad(variance)(x)
    assert float(value) == pytest.approx(np.var([1, 2, 4]))
    np.testing.assert_allclose(to_numpy(gradient), 2 / 3 * (np.array([1, 2, 4]) - 7 / 3), rtol=1e-5)


def test_a_negative_index_array_in_a_gradient_repeatedly(engine):
    """In MXNet, −1 in an index array makes the gradient write outside of its memory."""
    x = engine.parameter(np.arange(6.0).reshape(2, 3))
    for _ in range(50):
        _, gradient = engine.value_and_grad(
            lambda p: engine.sum(engine.getitem(p, (slice(None), [0, -1, -1])))
        )(x)
    assert to_numpy(gradient).tolist() == [[1, 0, 2], [1, 0, 2]]


def test_whole_numbers_stay_whole_while_recording(engine):
    labels, kinds = engine.array([2, 7, 5]), []

    def loss(p):
        kinds.append(to_numpy(engine.max(labels)).dtype.kind)
        kinds.append(to_numpy(engine.add(labels, 1)).dtype.kind)
        return engine.sum(p)

    engine.value_and_grad(loss)(engine.parameter([1.0]))
    assert kinds == ["i", "i"]


def test_a_number_keeps_its_digits(engine):
    """Beside float64 a Python number counts in full, not as float32."""
    third, x = 1 / 3, engine.array([1.0], dtype="float64")
    for y in (engine.multiply(x, third), engine.add(x, third - 1), engine.where(x > 0, third, x)):
        assert engine.asnumpy(y)[0] == pytest.approx(third, rel=1e-15)
    assert engine.asnumpy(engine.pad(x, ((1, 0),), value=third))[0] == third


def test_a_long_sum_stays_exact(engine):
    """Ten million float32 numbers add up to 1e-5 relative."""
    x = np.random.default_rng(0).random(10_000_000, dtype=np.float32)
    for operator, exact in (("sum", x.sum(dtype=np.float64)), ("mean", x.mean(dtype=np.float64))):
        assert float(getattr(engine, operator)(engine.array(x))) == pytest.approx(exact, rel=1e-5)


@needs_torch
def test_a_gpu_of_torch_is_asked_to_be_deterministic(monkeypatch):
    """The settings alone; nothing runs on a GPU here."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    E = lepton_ref.engine("torch", device="gpu")
    assert (E.device, E._device.type) == ("gpu", "cuda")
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32


@needs_mxnet
def test_a_gpu_of_mxnet_is_the_first(monkeypatch):
    from lepton_ref.engines.mxnet import mx

    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    E = lepton_ref.engine("mxnet", device="gpu")
    assert (E.device, E._ctx) == ("gpu", mx.gpu(0))


@pytest.mark.parametrize("engine", [n for n in INSTALLED if n != "numpy"], indirect=True)
def test_an_array_of_the_engine_keeps_its_dtype(engine):
    x = engine.array([1.5], dtype="float64")
    assert engine.asnumpy(engine.array(x)).dtype == np.float64
    assert engine.asnumpy(engine.array(x, dtype="float32")).dtype == np.float32
    assert engine.asnumpy(1.5) == 1.5
