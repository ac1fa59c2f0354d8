"""Every way in which a model file, or a model, is refused."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as safetensors_load

import lepton_ref
from lepton_ref.framework import models
from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import (
    LAYER_CLASSES,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Layer,
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


# --- refusing files -------------------------------------------------------------------------


def rewritten(file, change, header=None):
    """The file with its parsed header changed; digests stay as they were."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    parsed = json.loads(content[8 : 8 + length])
    change(parsed)
    text = json.dumps(parsed).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def forged(file, arrays=None, **changes):
    """A file with fresh, valid digests: what a careful forger would write."""
    content = file.read_bytes()
    kept, description = file_format.unpack(content, "x")
    file.write_bytes(file_format.pack(kept if arrays is None else arrays, description | changes))


def test_every_truncation_is_refused(file):
    content = file.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, 1000, len(content) // 2, len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="tiny.safetensors: truncated"):
            load_model("tiny", path=file)


def test_every_flipped_bit_is_refused(file, rng):
    content = file.read_bytes()
    for place in [*range(0, 8), *rng.integers(8, len(content), 300)]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        try:
            load_model("tiny", path=file)
        except ModelFileError as error:
            assert "tiny.safetensors" in str(error)
        else:  # padding and the spelling of the header carry nothing
            assert 8 <= place < 8 + int.from_bytes(content[:8], "little")
            assert file_format.unpack(bytes(changed), "x")[1] == read_description("tiny", file)


def test_changed_weight_and_changed_description(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match="altered since it was written"):
        load_model("tiny", path=file)
    content[-1] ^= 1
    file.write_bytes(bytes(content).replace(b'\\"acc\\": 0.5', b'\\"acc\\": 0.9'))
    with pytest.raises(ModelFileError, match="altered since it was written"):
        load_model("tiny", path=file)


def npz():
    box = io.BytesIO()
    np.savez(box, w=np.ones(3))
    return box.getvalue()


class Payload:
    ran = False

    def __reduce__(self):
        return setattr, (Payload, "ran", True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"w": [1, 2]}), "a pickle, and opening a pickle runs"),
        (npz(), "a zip archive"),
        (b"\x93NUMPY" + bytes(90), "a NumPy array file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
        (b"hello, I am a model" * 9, "foreign: not a safetensors file"),
        ((9).to_bytes(8, "little") + b"{nonsense" + bytes(9), "header is not readable"),
        (
            (2).to_bytes(8, "little") + b"{}" + bytes(9),
            "foreign: a safetensors file of format None",
        ),
        ((9**9).to_bytes(8, "little") + b"{}", "truncated: its header alone"),
        ((60_000).to_bytes(8, "little") + b'{"a":' * 12_000, "header is not readable"),
    ],
)
def test_foreign_files_are_refused_with_what_they_are(content, message, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        load_model("m", path=tmp_path)


def test_a_pickle_is_refused_before_it_runs(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelFileError, match="refused"):
        load_model("m", path=tmp_path)
    assert not Payload.ran
    pickle.loads(pickle.dumps(Payload()))  # the same bytes, the other way
    assert Payload.ran


def test_header_of_another_version_or_format(file):
    kept = file.read_bytes()
    cases = [
        (lambda h: h["__metadata__"].update(version="2"), "format 2, this package reads up to 1"),
        (lambda h: h["__metadata__"].update(version="x"), "format version is 'x'"),
        (lambda h: h["__metadata__"].update(format="pt"), "foreign: .* of format 'pt'"),
        (lambda h: h.pop("__metadata__"), "foreign: .* of format None"),
        (lambda h: h["4.bias"].update(dtype="BF16"), "dtype BF16, which is not accepted"),
        (lambda h: h["4.bias"].pop("dtype"), "no proper entry for tensor 4.bias"),
        (lambda h: h["4.bias"].update(shape=[5]), "damaged: its table of tensors is wrong"),
        (lambda h: h["4.bias"].update(data_offsets=[0, 10**9]), "truncated: .* bytes of 1000"),
    ]
    for change, message in cases:
        rewritten(file, change)
        with pytest.raises(ModelFileError, match=message):
            load_model("tiny", path=file)
        file.write_bytes(kept)
    file.write_bytes(kept + b"more")
    with pytest.raises(ModelFileError, match="altered: 4 bytes follow"):
        load_model("tiny", path=file)


def test_wrong_tensors_behind_valid_digests(file):
    kept = file.read_bytes()
    arrays = safetensors_load(kept)
    bias = arrays["4.bias"]
    cases = [
        ({k: v for k, v in arrays.items() if k != "4.bias"}, "tensors are missing: 4.bias"),
        (arrays | {"9.weight": bias}, "tensors that the model lacks: 9.weight"),
        (
            arrays | {"4.bias": bias[:3].copy()},
            r"4.bias has shape \(3,\), the model expects \(4,\)",
        ),
        (arrays | {"4.bias": bias.astype(np.int32)}, "4.bias has dtype int32, .* float32"),
        (arrays | {"4.bias": bias.astype(np.float16)}, "4.bias has dtype float16"),
    ]
    for changed, message in cases:
        forged(file, arrays=changed)
        with pytest.raises(ModelFileError, match=message):
            load_model("tiny", path=file)
        file.write_bytes(kept)


def test_another_class_or_none(file):
    with pytest.raises(ModelFileError, match="it holds a Sequential, expected a Dense"):
        load_model("tiny", path=file, expected=Dense)
    assert load_model("tiny", path=file, expected=Layer)
    kept = file.read_bytes()
    for name in ("NoSuchClass", "os.system", None, ["Dense"]):
        forged(file, **{"class": name})
        with pytest.raises(ModelFileError, match="no class of that name is registered"):
            load_model("tiny", path=file)
    file.write_bytes(kept)
    for config in ({"nonsense": 1}, {"layers": [{"class": "X", "config": {}}]}, {"layers": [3]}):
        forged(file, config=config)
        with pytest.raises(ModelFileError, match="this version's Sequential cannot be built"):
            load_model("tiny", path=file)


def test_a_digest_that_came_another_way(file):
    known = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_model("tiny", path=file, sha256=known.upper())
    forged(file, text="better")
    assert load_model("tiny", path=file)
    with pytest.raises(ModelFileError, match="not the file you asked for"):
        load_model("tiny", path=file, sha256=known)


# --- refusing to save -----------------------------------------------------------------------


def test_what_cannot_be_saved(model, table, tmp_path):
    with pytest.raises(ArgumentError, match="type dict; expected state"):
        save({"w": np.ones(3)}, tmp_path / "m")
    with pytest.raises(ArgumentError, match="the key 'class'"):
        save(model, tmp_path / "m", {"class": "Mine"})
    with pytest.raises(ModelFileError, match="does not fit into JSON"):
        save(model, tmp_path / "m", {"figures": {"acc": float("nan")}})
    with pytest.raises(ModelFileError, match="does not fit into JSON"):
        save(model, tmp_path / "m", {"recipe": object()})

    class Unknown(Dense):
        pass

    with pytest.raises(ArgumentError, match="unregistered class Unknown"):
        save(Unknown(2, 2, rng=np.random.default_rng(0)), tmp_path / "m")
    odd = table()
    odd.values = np.zeros(2, np.complex64)
    with pytest.raises(ModelFileError, match="values has dtype complex64"):
        save(odd, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_model_is_not_saved_and_the_old_file_stays(model, file):
    before = file.read_bytes()
    state = model.state()
    state["4.weight"][0, :2] = np.nan, np.inf
    model.load_state(state)
    with pytest.raises(ModelFileError, match="tensor 4.weight has 2 of 432 .* not finite"):
        save(model, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_loses_nothing(model, file, monkeypatch, moment, fault):
    before = file.read_bytes()

    def stop(*_):
        raise fault

    monkeypatch.setattr(moment, stop)
    expected = ModelFileError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save(model, file, {"text": "new"})
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written(model, file):
    with pytest.raises(ModelFileError, match="cannot be written"):
        save(model, file / "below" / "a-file")


# --- registry -------------------------------------------------------------------------------


def test_register_refuses_what_cannot_be_saved_and_taken_names(table):
    with pytest.raises(ArgumentError, match="no state, load_state, config"):
        register(int)
    with pytest.raises(ArgumentError, match="a name that .* does not use"):
        register(type("Dense", (Dense,), {}))
    assert register(table) is table  # defining a class again, as a notebook does


def test_a_registered_layer_may_stand_inside_another(rng, tmp_path):
    @register
    class Double(Layer):
        def forward(self, x, rng=None):
            return self.E.multiply(x, 2.0)

    try:
        made = Sequential(Double(), Dense(3, 2, rng=rng))
        loaded = load_model("d", path=save(made, tmp_path / "d"))
        assert isinstance(loaded[0], Double)
    finally:
        del models.MODELS["Double"], LAYER_CLASSES["Double"]


def test_models_of_the_package_need_no_import(tmp_path):
    """A fresh process that never imported the class loads it by name."""
    code = (
        "import numpy as np, sys, lepton_ref;"
        "from lepton_ref.framework.models.registry import HOMES, resolve;"
        "assert all(resolve(name, 'x').__name__ == name for name in HOMES)"
    )
    root = Path(lepton_ref.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
