"""Proofs of the page framework/training: checkpoints resume to the bit, and are never torn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import BatchNorm, Dense, Dropout, ReLU, Sequential
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.optimizers import SGD, Adam, cosine
from lepton_ref.framework.training import Callback, Checkpoint, EarlyStopping, fit
from lepton_ref.framework.training.checkpoints import pack, unpack

ROOT = Path(__file__).parents[2]
STEPS = 4  # 50 rows in batches of 13


class Killed(RuntimeError):
    pass


class Kill(Callback):
    """Ends the run rudely after a number of steps, without a chance to save."""

    def __init__(self, after):
        self.left = after

    def on_step(self, run):
        self.left -= 1
        if self.left == 0:
            raise Killed


def shake(x, rng):
    return x + 0.1 * rng.standard_normal(x.shape).astype(np.float32)


def setting(generator="PCG64"):
    """A run that uses everything a checkpoint must hold, and its data."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 6)).astype(np.float32), rng.integers(0, 3, 50)
    layers = [Dense(6, 8, rng=rng), BatchNorm(8), ReLU(), Dropout(0.3), Dense(8, 3, rng=rng)]
    return {
        "model": Sequential(*layers),
        "loss": cross_entropy,
        "data": (x, y),
        "optimizer": Adam(cosine(0.03, 24, warmup=3)),
        "epochs": 6,
        "rng": np.random.Generator(getattr(np.random, generator)(7)),
        "batch_size": 13,
        "validation": (x[::-1].copy(), y[::-1].copy()),
        "l2": 0.001,
        "clip_norm": 0.8,
        "augment": shake,
        "callbacks": [EarlyStopping(patience=4)],
        "progress": False,
    }


def outcome(call, history):
    """Everything in which two runs could differ."""
    return {
        "model": call["model"].state(),
        "optimizer": call["optimizer"].state(),
        "losses": np.array(history.losses),
        "norms": np.array(history.norms),
        "rows": [np.array(list(row.values())) for row in history.rows],
        "best": np.array(call["callbacks"][0].best),
        "next draw": call["rng"].standard_normal(4),
    }


def resumed(path, killed_after, generator="PCG64", every_steps=1):
    """A run killed after some steps, and finished by another that knows only the file."""
    call = setting(generator)
    call["callbacks"].append(Kill(killed_after))
    with pytest.raises(Killed):
        fit(**call, checkpoint=Checkpoint(path, every_steps=every_steps))
    call = setting(generator)
    call["callbacks"].append(Kill(10**6))
    return outcome(call, fit(**call, checkpoint=Checkpoint(path, every_steps=every_steps)))


def assert_identical(a, b):
    """Equal to the bit, in every leaf."""
    from tests.numeric import leaves

    ours, theirs = dict(leaves(a)), dict(leaves(b))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        assert value.dtype == theirs[path].dtype, path
        np.testing.assert_array_equal(value, theirs[path], err_msg=path)


@pytest.fixture
def straight(engine):
    call = setting()
    call["callbacks"].append(Kill(10**6))
    return outcome(call, fit(**call))


@pytest.mark.equation("training-state")
@pytest.mark.parametrize("killed_after", [1, STEPS - 1, STEPS + 1, 3 * STEPS, 5 * STEPS + 2])
def test_resumed_is_uninterrupted_to_the_bit(engine, prove, straight, tmp_path, killed_after):
    """Killed inside the first, at the end of, and inside later epochs."""
    again = resumed(tmp_path / "run", killed_after)
    assert_identical(straight, again)
    prove(
        straight["model"], again["model"], oracle="uninterrupted run", engine=engine.name, tol=0.0
    )


@pytest.mark.parametrize("generator", ["MT19937", "Philox", "SFC64"])
def test_every_generator_resumes(tmp_path, generator):
    call = setting(generator)
    call["callbacks"].append(Kill(10**6))
    assert_identical(outcome(call, fit(**call)), resumed(tmp_path / "run", 7, generator))


def test_saving_changes_nothing(engine, straight, tmp_path):
    call = setting()
    call["callbacks"].append(Kill(10**6))
    history = fit(**call, checkpoint=Checkpoint(tmp_path / "a" / "run", every_steps=2))
    assert_identical(straight, outcome(call, history))
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["run"]


def test_steps_since_the_last_save_are_repeated(tmp_path, engine, straight):
    assert_identical(straight, resumed(tmp_path / "run", 11, every_steps=3))


def test_a_finished_run_comes_back_at_once(tmp_path):
    first, second = setting(), setting()
    checkpoint = Checkpoint(tmp_path / "run", every_epochs=4)  # the last epoch is saved anyway
    one = fit(**first, checkpoint=checkpoint)
    written = checkpoint.path.stat().st_mtime_ns
    two = fit(**second, checkpoint=checkpoint)
    assert_identical(outcome(first, one), outcome(second, two))
    assert checkpoint.path.stat().st_mtime_ns == written


def test_more_epochs_continue_a_finished_run(tmp_path):
    longer, first, second = setting(), setting(), setting()
    whole = fit(**longer)
    fit(**(first | {"epochs": 2}), checkpoint=Checkpoint(tmp_path / "run"))
    history = fit(**second, checkpoint=Checkpoint(tmp_path / "run"))
    assert_identical(outcome(longer, whole), outcome(second, history))


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    def run():
        call = setting() | {"optimizer": SGD(40.0), "callbacks": [EarlyStopping(patience=1)],
                            "epochs": 30}  # fmt: skip
        return outcome(call, fit(**call, checkpoint=Checkpoint(tmp_path / "run")))

    one, two = run(), run()
    assert_identical(one, two)
    assert len(one["rows"]) < 30


def test_starting_afresh_on_demand(tmp_path):
    path = tmp_path / "run"
    fit(**(setting() | {"epochs": 1}), checkpoint=Checkpoint(path))
    other = setting() | {"epochs": 1, "l2": 0.5}
    history = fit(**other, checkpoint=Checkpoint(path, resume=False))
    assert len(history.losses) == STEPS


# ------------------------------------------------------------------- files that lie


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run"
    fit(**(setting() | {"epochs": 1}), checkpoint=Checkpoint(path))
    return path


DIFFERENT = {
    "batch_size": lambda c: {"batch_size": 10},
    "l2": lambda c: {"l2": 0.5},
    "clip_norm": lambda c: {"clip_norm": None},
    "optimizer": lambda c: {"optimizer": Adam(0.1)},
    "loss": lambda c: {"loss": lambda o, t: cross_entropy(o, t)},
    "augment": lambda c: {"augment": None},
    "drop_last": lambda c: {"drop_last": True},
    "callbacks": lambda c: {"callbacks": []},
    "generator": lambda c: {"rng": np.random.Generator(np.random.MT19937(7))},
    "parameters": lambda c: {"model": Sequential(Dense(6, 3, rng=np.random.default_rng(0)))},
    "data": lambda c: {"data": (c["data"][0] + 1, c["data"][1])},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_run_is_not_continued(saved, what):
    call = setting()
    before = call["model"].state()
    with pytest.raises(ModelFileError, match=f"the checkpoint of another run: `{what}` was"):
        fit(**(call | DIFFERENT[what](call)), checkpoint=Checkpoint(saved))
    assert_identical(before, call["model"].state())


def refused(path, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        fit(**setting(), checkpoint=Checkpoint(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    refused(saved, "truncated")


def test_an_altered_file_is_refused(saved):
    content = bytearray(saved.read_bytes())
    content[-5] ^= 1
    saved.write_bytes(content)
    refused(saved, "altered since it was written")
    content[-5] ^= 1
    saved.write_bytes(bytes(content).replace(b'step_in_epoch\\": 0', b'step_in_epoch\\": 2'))
    refused(saved, "altered since it was written")


def test_foreign_files_are_refused(saved):
    from safetensors.numpy import save

    saved.write_bytes(save({"a": np.zeros(2)}))
    refused(saved, "not a checkpoint of a training run")
    saved.write_bytes(save({"a": np.zeros(2)}, {"format": "lepton-checkpoint", "version": "99"}))
    refused(saved, "format 99; this package reads 1")
    saved.write_bytes(b"\x80\x04\x95 a pickle is not even looked at")
    refused(saved, "a pickle.*refused")


def test_a_checkpoint_without_its_parts_is_refused(saved):
    arrays, about = unpack(saved.read_bytes(), "run")
    some = {k: v for k, v in arrays.items() if not k.startswith("model/")}
    saved.write_bytes(pack(some, about))
    refused(saved, "does not fit this run: 'model'")


def test_a_path_that_takes_no_file_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "run"):
        with pytest.raises(ArgumentError, match="Checkpoint: argument `path`"):
            fit(**setting(), checkpoint=Checkpoint(path))
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(ArgumentError, match="not writable"):
            fit(**setting(), checkpoint=Checkpoint(tmp_path / "run"))
        tmp_path.chmod(0o700)


def test_descriptions_hold_numbers_only(tmp_path):
    with pytest.raises(TypeError, match="object has no place"):
        pack({}, {"a": object()})
    arrays = {"s": np.array(2.5), "e": np.zeros((0, 3)), "b": np.array([True])}
    arrays["f"] = np.arange(6.0).reshape(2, 3).T
    back, about = unpack(pack(arrays, {"n": np.int64(3), "x": 0.1, "a": np.arange(2)}), "here")
    assert_identical(arrays, back)
    assert about["n"] == 3 and about["x"] == 0.1 and about["a"].tolist() == [0, 1]


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before, call = saved.read_bytes(), setting()

    def full(*names):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        fit(**call, checkpoint=Checkpoint(saved))
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


# ----------------------------------------------------------------- real signals


PROGRAM = """
    import sys, time
    sys.path.insert(0, {root!r})
    from tests.framework.test_training_checkpoints import *

    class Slow(Callback):
        def on_step(self, run):
            print("step", len(run.history.losses), flush=True)
            time.sleep(0.05)

    call = setting()
    call["callbacks"].append(Slow())
    fit(**(call | {{"epochs": 500}}), checkpoint=Checkpoint({path!r}))
"""


def start(program, path):
    code = textwrap.dedent(program).format(root=str(ROOT), path=str(path))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LEPTON_ENGINE": "numpy"}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, cwd=ROOT,
    )


def wait_for(process, word):
    for line in process.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"never said {word!r}: {process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path, number):
    """Ctrl-C, and the notice of a cloud machine: the checkpoint holds the very last step."""
    path = tmp_path / "run"
    process = start(PROGRAM, path)
    wait_for(process, "step 6")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT), err
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    arrays, about = unpack(path.read_bytes(), str(path))
    taken = about["epoch"] * STEPS + about["step_in_epoch"]
    last = [line for line in out.splitlines() if line.startswith("step")]
    assert taken == len(arrays["history/losses"]) == int(arrays["optimizer/steps"])
    assert taken == (int(last[-1].split()[1]) if last else 6)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_interrupted_by_a_signal_and_resumed(tmp_path, straight):
    """Ctrl-C in this process, then the rest of the run: the same weights."""
    path = tmp_path / "run"

    pressed = []

    class CtrlC(Callback):
        def on_step(self, run):
            if len(run.history.losses) == 6 and not pressed:
                pressed.append(True)
                os.kill(os.getpid(), signal.SIGINT)

    def finish():
        call = setting()
        call["callbacks"].append(CtrlC())
        return outcome(call, fit(**call, checkpoint=Checkpoint(path)))

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        finish()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert_identical(straight, finish())


def test_a_signal_in_the_last_step_of_an_epoch(tmp_path):
    path = tmp_path / "run"

    class CtrlC(Callback):
        def on_step(self, run):
            if len(run.history.losses) == STEPS:
                os.kill(os.getpid(), signal.SIGINT)

    call = setting()
    call["callbacks"].append(CtrlC())
    with pytest.raises(KeyboardInterrupt):
        fit(**call, checkpoint=Checkpoint(path, every_epochs=5))
    about = unpack(path.read_bytes(), "run")[1]
    assert (about["epoch"], about["step_in_epoch"]) == (1, 0) and len(about["rows"]) == 1


def test_the_second_ctrl_c_does_not_wait(tmp_path):
    class Impatient(Callback):
        def on_step(self, run):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second Ctrl-C was swallowed")

    call = setting() | {"callbacks": [Impatient()]}
    with pytest.raises(KeyboardInterrupt):
        fit(**call, checkpoint=Checkpoint(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_fit_in_a_thread_leaves_signals_alone(tmp_path):
    found = []
    handler = signal.getsignal(signal.SIGINT)

    class Look(Callback):
        def on_step(self, run):
            found.append(signal.getsignal(signal.SIGINT))

    call = setting() | {"callbacks": [Look()], "epochs": 1}
    thread = threading.Thread(
        target=lambda: fit(**call, checkpoint=Checkpoint(tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert set(found) == {handler} and (tmp_path / "run").exists()


WRITER = """
    import sys
    sys.path.insert(0, {root!r})
    import numpy as np
    from lepton_ref.framework.training import Checkpoint

    checkpoint, i = Checkpoint({path!r}), 0
    while True:                                  # 8 MB a time, as fast as it goes
        i += 1
        checkpoint.write({{"a": np.full(2_000_000, i, np.float32)}}, {{"i": i}})
        print("wrote", i, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011])
def test_kill_9_in_the_middle_of_a_write(tmp_path, delay):
    """SIGKILL leaves no time for anything: the file is an earlier checkpoint, whole."""
    path = tmp_path / "run"
    process = start(WRITER, path)
    wait_for(process, "wrote 3")
    for _ in range(2000):  # until a write is under way
        if list(tmp_path.glob(".run.*.part")):
            break
        time.sleep(0.0005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    arrays, about = Checkpoint(path).read()
    assert about["i"] >= 3 and np.all(arrays["a"] == about["i"])
    # a part that was left behind is swept up by the next run, and does not disturb it
    (tmp_path / ".run.1.part").write_bytes(b"half")
    Checkpoint(path).prepare()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_header_can_be_read_without_this_package(saved):
    content = saved.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    description = json.loads(header["__metadata__"]["description"])
    assert description["epoch"] == 1 and description["run"]["model"] == "Sequential"
