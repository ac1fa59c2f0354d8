"""record, check and check_parameters, inside IPython and outside."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError, EngineError
from lepton_ref.framework.evaluation import CheckError, check, check_parameters, record, recorded


@pytest.fixture(autouse=True)
def nothing_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = dict(recorded)
    recorded.clear()
    yield
    recorded.clear()
    recorded.update(kept)


@pytest.fixture
def shell():
    """An IPython shell that keeps what is displayed."""
    interactiveshell = pytest.importorskip("IPython.core.interactiveshell")
    from IPython.core.displaypub import CapturingDisplayPublisher

    class Shell(interactiveshell.InteractiveShell):
        pass

    Shell.clear_instance()
    shell = Shell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    yield shell
    shell.history_manager.end_session()
    Shell.clear_instance()


# --- record ------------------------------------------------------------------------------


def test_a_recorded_value_is_stored_as_myst_nb_stores_it(shell) -> None:
    glue = pytest.importorskip("myst_nb").glue
    values = {"a": 0.8612, "b": 3, "c": True, "d": "Shirt", "e": -1e-9}
    for name, value in values.items():
        record(name, value)
        glue(name, value, display=False)
    ours, theirs = shell.display_pub.outputs[::2], shell.display_pub.outputs[1::2]
    assert len(ours) == len(values)
    assert ours == theirs


def test_numbers_of_every_library_are_recorded_as_plain_ones(engine, shell) -> None:
    record("a", engine.sum(engine.array(np.array([0.5, 0.25]))))
    record("b", np.float64(0.5))
    record("c", np.int64(3))
    record("d", np.array([1.5]))
    record("e", np.bool_(True))
    assert recorded == {"a": 0.75, "b": 0.5, "c": 3, "d": 1.5, "e": True}
    assert {type(value) for value in recorded.values()} == {float, int, bool}
    texts = [
        o["data"]["application/papermill.record/text/plain"] for o in shell.display_pub.outputs
    ]
    assert texts == ["0.75", "0.5", "3", "1.5", "True"]


def test_recording_again_replaces() -> None:
    record("a", 1)
    record("a", 2)
    assert recorded == {"a": 2}


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a-b", "ä", None, 3])
def test_bad_names_are_refused(name) -> None:
    with pytest.raises(ArgumentError, match="argument `name`"):
        record(name, 1.0)
    assert not recorded


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), None, [1.0], {}, np.zeros(2), np.zeros(0), 1j, object()]
)
def test_what_is_no_result_is_refused(value) -> None:
    with pytest.raises(ArgumentError, match="one finite number, or a string"):
        record("a", value)
    assert not recorded


def test_an_engine_array_of_several_numbers_is_refused(engine) -> None:
    with pytest.raises(ArgumentError, match="shape .*one finite number"):
        record("a", engine.array(np.ones(3)))


def test_recording_does_not_import_ipython() -> None:
    code = (
        "import sys; from lepton_ref.framework.evaluation import record, check_parameters;"
        "record('a', 1); check_parameters(engine='numpy', device='cpu', seed=0, profile='quick');"
        "print([m for m in ('IPython', 'myst_nb', 'torch', 'mxnet') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- check -------------------------------------------------------------------------------


def test_met_bounds_are_printed(capsys) -> None:
    record("accuracy", 0.87)
    record("n", 5)
    record("hardest", "Shirt")
    check({"accuracy": (">=", 0.85), "n": ("==", 5), "hardest": ("==", "Shirt")})
    assert capsys.readouterr().out.splitlines() == [
        "accuracy  0.87  (>= 0.85)",
        "n         5  (== 5)",
        "hardest   Shirt  (== Shirt)",
    ]


@pytest.mark.parametrize(
    ("bound", "passes"),
    [
        ((">=", 0.5), True),
        ((">", 0.5), False),
        (("<=", 0.5), True),
        (("<", 0.5), False),
        (("==", 0.5), True),
        (("==", 0.4), False),
        (("within", 0.45, 0.06), True),
        (("within", 0.45, 0.04), False),
        ([">=", 0.4], True),
    ],
)
def test_each_relation(bound, passes: bool) -> None:
    record("a", 0.5)
    if passes:
        check({"a": bound})
    else:
        with pytest.raises(CheckError, match="a: 0.5 is not"):
            check({"a": bound})


def test_all_that_is_wrong_is_named_at_once() -> None:
    record("low", 0.1)
    record("forgotten", 1.0)
    record("word", "x")
    record("note", "strings need no bound")
    with pytest.raises(CheckError) as caught:
        check({"low": (">=", 0.2), "absent": ("<", 1), "word": ("==", 1)})
    assert str(caught.value).split("; ") == [
        "low: 0.1 is not >= 0.2",
        "absent: nothing was recorded under this name",
        "word: 'x' cannot be compared with 1",
        "forgotten: 1 was recorded and has no bound",
    ]


@pytest.mark.parametrize(
    "bound", [0.5, (), (">=",), ("=>", 1), (">=", 1, 2), ("within", 1), ("within", 1, -1)]
)
def test_a_bound_that_cannot_be_read_is_refused(bound) -> None:
    record("a", 0.5)
    with pytest.raises(ArgumentError, match="argument `a` has the bound"):
        check({"a": bound})


@pytest.mark.parametrize("bounds", [{}, None, [("a", ">=", 1)]])
def test_checking_nothing_is_refused(bounds) -> None:
    with pytest.raises(ArgumentError, match="a mapping of bounds"):
        check(bounds)


# --- check_parameters ----------------------------------------------------------------------

GOOD = {"engine": "numpy", "device": "cpu", "seed": 0, "profile": "quick"}


def test_the_engine_is_returned_and_active(engine) -> None:
    with check_parameters(**GOOD | {"engine": engine.name}) as chosen:
        assert chosen.name == engine.name == lepton_ref.engine().name


@pytest.mark.parametrize(
    "declared",
    [
        (3, int),
        (3, int, "[3, inf)"),
        (3, float),
        (0.5, float, "(0, 1]"),
        (1.0, float, "(0, 1]"),
        (True, bool),
        ("a", str),
        ("a", ("a", "b")),
        (2, (1, 2)),
    ],
)
def test_good_parameters_pass(declared) -> None:
    with check_parameters(**GOOD, other=declared):
        pass


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ((3.0, int), "the value 3.0 of type float; expected type int"),
        (("3", int), "the value '3' of type str; expected type int"),
        ((True, int), "the value True of type bool; expected type int"),
        ((1, bool), "expected type bool"),
        ((None, str), "of type NoneType; expected type str"),
        ((np.int64(3), int), "of type int64; expected type int"),
        (("x", float), "expected type float"),
        ((float("nan"), float), "a finite number"),
        ((float("nan"), float, "(0, 1)"), "a number in"),
        ((float("inf"), float), "a finite number"),
        ((0.0, float, "(0, 1]"), r"a number in \(0, 1\]"),
        ((1.5, float, "(0, 1]"), r"a number in \(0, 1\]"),
        ((1.0, float, "[0, 1)"), r"a number in \[0, 1\)"),
        ((0, int, "[1, inf)"), r"a number in \[1, inf\)"),
        (("c", ("a", "b")), "'a' or 'b'"),
        ((True, (1, 2)), "1 or 2"),
    ],
)
def test_bad_parameters_are_refused_by_name(declared, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"parameters: argument `other` has .*{message}"):
        check_parameters(**GOOD, other=declared)


@pytest.mark.parametrize(
    "declared", [3, (3,), (3, list), (3, int, "0..1"), (3, int, 1), (3, "int")]
)
def test_a_declaration_that_cannot_be_read_is_refused(declared) -> None:
    with pytest.raises(ArgumentError, match="check_parameters: argument `other`"):
        check_parameters(**GOOD, other=declared)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"engine": "nmupy"}, EngineError, "Did you mean 'numpy'"),
        ({"engine": 3}, ArgumentError, "argument `engine`"),
        ({"device": "gpu"}, EngineError, "no device 'gpu'"),
        ({"device": "tpu"}, EngineError, "unknown device 'tpu'"),
        ({"seed": -1}, ArgumentError, r"a number in \[0, inf\)"),
        ({"seed": 0.0}, ArgumentError, "type int"),
        ({"profile": "Quick"}, ArgumentError, "'quick' or 'full'"),
        ({"profile": "full", "profiles": ("quick",)}, ArgumentError, "expected 'quick'"),
    ],
)
def test_bad_engine_device_seed_profile(given, error, message: str) -> None:
    before = lepton_ref.engine().name
    with pytest.raises(error, match=message):
        check_parameters(**GOOD | given)
    assert lepton_ref.engine().name == before


INJECTED = "# Parameters\nengine = 'numpy'\nlerning_rate = 0.1\n"
CALL = (
    "from lepton_ref.framework.evaluation import check_parameters\n"
    "check_parameters(engine='numpy', device='cpu', seed=0, profile='quick', lr=(0.1, float))"
)


def test_a_parameter_that_the_notebook_does_not_have_is_refused(shell) -> None:
    shell.run_cell("lr = 0.1", store_history=True)
    shell.run_cell(INJECTED, store_history=True)
    result = shell.run_cell(CALL, store_history=True)
    assert isinstance(result.error_in_exec, ArgumentError)
    message = str(result.error_in_exec)
    assert "`lerning_rate` has been given to this run" in message and "lr" in message


def test_known_parameters_may_be_injected(shell) -> None:
    before = lepton_ref.engine()
    shell.run_cell(INJECTED.replace("lerning_rate", "lr"), store_history=True)
    result = shell.run_cell(CALL, store_history=True)
    assert result.success
    lepton_ref.engines._restore(before)
