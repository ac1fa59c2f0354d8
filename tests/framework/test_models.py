"""Saved models: the page's equations, the round trip, and where they are looked for."""

import hashlib
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load as safetensors_load

import lepton_ref
from lepton_ref.framework import models
from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    ReLU,
    Sequential,
)
from lepton_ref.framework.models import format as file_format
from lepton_ref.framework.models import load_model, read_description, register, save

DESCRIPTION = {"text": "tiny", "recipe": {"lr": 0.1}, "data": "ab" * 32, "figures": {"acc": 0.5}}


def network(rng, engine=None):
    layers = [Conv2d(1, 3, 3, rng=rng), BatchNorm(3), ReLU(), Flatten(), Dense(108, 4, rng=rng)]
    return Sequential(*layers, engine=engine)


@pytest.fixture
def model(rng):
    with lepton_ref.use("numpy"):
        made = network(rng)
        made(rng.standard_normal((9, 1, 8, 8)).astype(np.float32), rng)  # moves the statistics
        return made


@pytest.fixture
def file(model, tmp_path):
    return save(model, tmp_path / "tiny", DESCRIPTION)


@pytest.fixture(autouse=True)
def no_other_folders(monkeypatch):
    monkeypatch.delenv("LEPTON_MODELS", raising=False)


# --- equations ------------------------------------------------------------------------------


@pytest.mark.equation("models-parameters")
@pytest.mark.parametrize("widths", [(784, 32, 10), (3, 1), (5, 4, 3, 2, 7)])
def test_parameters_of_dense_layers(rng, prove, widths):
    net = Sequential(*(Dense(a, b, rng=rng) for a, b in itertools.pairwise(widths)))
    counted = sum(array.size for array in net.state().values())
    said = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    prove(float(said), float(counted), oracle="counting", tol=0)


@pytest.mark.equation("models-size")
def test_bytes_of_a_file(file, model, prove):
    with safe_open(file, "numpy") as opened:  # the format's own library counts the tensors
        tensors = [opened.get_tensor(name) for name in opened.keys()]
    header = int.from_bytes(file.read_bytes()[:8], "little")
    said = 8 + header + sum(t.itemsize * math.prod(t.shape) for t in tensors)
    assert len(tensors) == len(model.state()) and header % 8 == 0
    prove(float(said), float(file.stat().st_size), oracle="the file system", tol=0)


@pytest.mark.equation("models-undetected")
def test_share_of_changes_that_a_short_hash_misses(file, prove):
    """Every change of one byte of a file's first 600, seen through 8 bits of SHA-256."""
    content = bytearray(file.read_bytes()[:600])
    original = hashlib.sha256(content).digest()[0]
    missed = total = 0
    for place, value in enumerate(bytes(content)):
        for other in range(256):
            if other != value:
                content[place] = other
                missed += hashlib.sha256(content).digest()[0] == original
                total += 1
        content[place] = value
    prove(2.0**-8, missed / total, oracle="all changes of one byte", tol=0.12)


@pytest.mark.equation("models-birthday")
def test_collisions_exactly_and_by_the_formula(prove):
    exact, said = [], []
    for b, n in [(32, 2_000), (32, 77_163), (40, 300_000)]:
        exact.append(-np.expm1(np.sum(np.log1p(-np.arange(n) / 2.0**b))))
        said.append(-math.expm1(-n * (n - 1) / 2.0 ** (b + 1)))
    prove(np.array(said), np.array(exact), oracle="closed form", tol=1e-5)


@pytest.mark.equation("models-birthday")
def test_collisions_of_a_real_hash(prove):
    """First 16 bits of SHA-256, 200 names at a time, 4,000 times."""
    trials, n, hit = 4_000, 200, 0
    for trial in range(trials):
        names = [hashlib.sha256(f"{trial}/{i}".encode()).digest()[:2] for i in range(n)]
        hit += len(set(names)) < n
    said = -math.expm1(-n * (n - 1) / 2**17)
    prove(said, hit / trials, oracle="SHA-256", tol=0.12)


# --- round trip -----------------------------------------------------------------------------


def test_weights_come_back_bit_by_bit_on_every_engine(engine, file, model, rng):
    loaded = load_model("tiny", path=file.parent)
    assert loaded.E.name == engine.name
    for name, array in model.state().items():
        got = loaded.state()[name]
        assert got.dtype == array.dtype and np.array_equal(got, array)
    x = rng.standard_normal((5, 1, 8, 8)).astype(np.float32)
    ours = loaded.E.asnumpy(loaded(loaded.E.array(x)))
    assert np.abs(ours - model(x)).max() <= 1e-5
    assert loaded.description["figures"] == {"acc": 0.5}


@pytest.mark.parametrize("other", lepton_ref.engines.installed())
def test_saved_by_any_engine_the_file_is_the_same(file, model, other, tmp_path):
    loaded = load_model("tiny", path=file, engine=other)
    again = save(loaded, tmp_path / "again", DESCRIPTION)
    assert again.read_bytes() == file.read_bytes()


def test_two_saves_in_two_processes_give_the_same_bytes():
    code = (
        "import hashlib, numpy as np;"
        "from lepton_ref.framework.models.format import pack;"
        "a = {'w': np.ones((2, 3), 'f4'), 'n': np.ones(1, 'i8'), 'b': np.array(True)};"
        "print(hashlib.sha256(pack(a, {'z': 1, 'a': {'y': 2, 'b': 3}})).hexdigest())"
    )
    root = Path(lepton_ref.__file__).parents[1]
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1 and len(seen.pop()) == 65


def test_the_description_says_what_the_file_is(file):
    found = read_description("tiny", path=file)
    assert found["class"] == "Sequential" and found["recipe"] == {"lr": 0.1}
    assert found["package"] == f"lepton-ref {lepton_ref.__version__}"
    assert found["config"]["layers"][0]["config"]["kernel_size"] == 3
    assert found["weights_sha256"] == file_format.weights_digest(
        safetensors_load(file.read_bytes())
    )


def test_float64_and_scalars_survive(rng, tmp_path):
    double = Sequential(Dense(3, 2, rng=rng)).astype("float64")
    loaded = load_model("double", path=save(double, tmp_path / "double"))
    assert loaded.state()["0.weight"].dtype == np.float64
    assert np.array_equal(loaded.state()["0.weight"], double.state()["0.weight"])


@pytest.fixture
def table():
    """A model that is no layer, registered for one test."""

    @register
    class Table:
        def __init__(self, rows=2, bias=0.5):
            self.rows, self.bias, self.values = rows, bias, np.zeros(rows, np.int64)

        def config(self):
            return {"rows": self.rows, "bias": self.bias}

        def state(self):
            return {"values": self.values.copy(), "seen": np.array(True)}

        def load_state(self, state):
            self.values = state["values"].copy()

    yield Table
    del models.MODELS["Table"]


def test_a_model_that_is_no_layer(table, tmp_path):
    one = table(rows=3)
    one.values += [1, -2, 2**60]
    loaded = load_model("t", path=save(one, tmp_path / "t"))
    assert type(loaded) is table and loaded.values.tolist() == [1, -2, 2**60]
    with pytest.raises(ModelFileError, match="it holds a Table, expected a Sequential"):
        load_model("t", path=tmp_path, expected=Sequential)


# --- finding --------------------------------------------------------------------------------


def test_search_order_path_environment_package(model, tmp_path, monkeypatch):
    places = {name: tmp_path / name for name in ("given", "first", "second", "package")}
    for name, folder in places.items():
        save(model, folder / "m", {"text": name})
    monkeypatch.setattr("lepton_ref.framework.models.storage.SHIPPED", places["package"])
    listed = os.pathsep.join(map(str, [places["first"], "", tmp_path / "none", places["second"]]))
    monkeypatch.setenv("LEPTON_MODELS", listed)
    for name in places:
        path = places["given"] if name == "given" else None
        assert load_model("m", path=path).description["text"] == name
        (places[name] / "m.safetensors").unlink()
    save(model, places["second"] / "other")
    with pytest.raises(ModelFileError, match="no model 'm' in .*given.*package; .* other$"):
        load_model("m", path=places["given"])
    assert models.available() == ["other"]
    assert models.folders()[-1] == places["package"]


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/b", "a\\b", "/etc/passwd", "", ".hidden", "a..b", "x" * 101, None, "a\n"],
)
def test_names_that_are_paths_are_refused(name, tmp_path):
    with pytest.raises(ArgumentError, match="a plain name"):
        load_model(name, path=tmp_path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ModelFileError, match="no such file or folder"):
        load_model("m", path=tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="models there:"):
        load_model("m", path=tmp_path)
