"""The command line: what is typed, what it prints, and its exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from lepton_ref import cli
from lepton_ref.cloud.sweeps import launch as launch_module
from lepton_ref.cloud.sweeps import options, runs
from lepton_ref.cloud.sweeps.driver import run_sweep
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.progress import Bar, shown
from lepton_ref.cloud.sweeps.runs import Task
from lepton_ref.cloud.sweeps.spec import Range, SweepSpec
from lepton_ref.cloud.sweeps.state import State
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps.command_tools import said, typed
from tests.cloud.sweeps.sweep_tools import DECLARED, SCORE, Played, outcome, written

# Consoles that do not break lines.
pytestmark = pytest.mark.usefixtures("wide")


class TestSweep:
    def test_a_grid_ends_in_tables_and_a_report(self, tmp_path, played) -> None:
        store = tmp_path / "store"
        grid = ("--grid", "lr=0.1,0.01", "--grid", "seed=0:3")
        result = typed("sweep", written(tmp_path), *grid, "-p", "mode", "x", "-o", str(store))
        assert result.exit_code == 0, said(result)
        assert "6 of 6 runs are complete" in said(result)
        table = pd.read_parquet(store / "results.parquet")
        assert list(table["p.lr"]) == [0.1] * 3 + [0.01] * 3
        assert list(table["p.seed"]) == [0, 1, 2] * 2 and set(table["p.mode"]) == {"x"}
        assert (store / "results.csv").is_file()
        assert "trial" in (store / "report.html").read_text()
        again = typed("sweep", written(tmp_path), *grid, "-p", "mode=x", "-o", str(store))
        assert again.exit_code == 0 and "nothing was executed" in said(again)

    def test_what_failed_is_listed_and_the_code_is_not_zero(self, tmp_path, played) -> None:
        played.play = lambda task, n: outcome(
            task, runs.FAILED if task.parameters["seed"] == 1 else runs.FINISHED
        )
        result = typed("sweep", written(tmp_path), "--grid", "seed=0:3", "-o", str(tmp_path / "s"))
        assert result.exit_code == 1
        assert "2 of 3 runs are complete" in said(result)
        assert "seed=1" in said(result) and "made to be failed" in said(result)

    def test_below_bounds_fails_unless_accepted(self, tmp_path, played) -> None:
        played.play = lambda task, n: outcome(task, runs.BELOW_BOUNDS)
        given = ("sweep", written(tmp_path), "--grid", "seed=0:2", "-o", str(tmp_path / "s"))
        assert typed(*given).exit_code == 1
        accepted = typed(*given, "--accept-below-bounds")
        assert accepted.exit_code == 0 and "nothing was executed" in said(accepted)

    def test_only_failed_runs_still_make_a_report(self, tmp_path, played) -> None:
        played.play = lambda task, n: outcome(task, runs.FAILED)
        result = typed("sweep", written(tmp_path), "--grid", "seed=0:2", "-o", str(tmp_path / "s"))
        assert result.exit_code == 1
        assert "made to be failed" in (tmp_path / "s/report.html").read_text()

    def test_interrupted_it_says_how_to_go_on(self, tmp_path, played) -> None:
        import signal

        def play(task: Task, n: int):
            signal.raise_signal(signal.SIGTERM)
            return outcome(task)

        played.play = play
        result = typed("sweep", written(tmp_path), "--grid", "seed=0:9", "-o", str(tmp_path / "s"))
        assert result.exit_code == 128 + signal.SIGTERM
        assert "runs to go; the same command goes on" in said(result)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--grid", "lrr=0.1"), "no parameter `lrr`; .* Did you mean `lr`?"),
            (("--grid", "lr=fast"), "`lr` has the value 'fast'"),
            (("--grid", "lr=0.1,2"), "`lr` has the value 2"),
            (("--grid", "lr"), "--grid has the value 'lr'; accepted: NAME=VALUES"),
            (("-p", "lr"), "-p has the value 'lr' alone"),
            (("-p", "engine", "caffe"), "there are numpy, mxnet, torch"),
            (("--space", "lr=0.1..1"), "add --random N or --search N"),
            (("--random", "3", "--search", "3", "--space", "lr=0.1"), "give one"),
            (("--search", "3", "--space", "lr=0.1"), "--search needs --metric"),
            (("--random", "3", "--space", "lr=0.1..x"), "accepted: 1e-4..0.1:log"),
            (("--random", "3", "--space", "lr=0.1..1:lin"), "neither `log` nor"),
            (("--timeout", "0"), "--timeout has the value 0; it is above 0"),
            (("--address", "auto"), "add --backend ray"),
            (("--backend", "slurm"), "accepted: local, ray, kubernetes"),
            (("--spot",), "`machine` is missing"),
            (("--machine", "aws:none"), "is not in the price file"),
            (("--backend", "kubernetes"), "needs a sweep file"),
        ],
    )
    def test_what_cannot_start_is_refused(self, tmp_path, arguments, message: str) -> None:
        result = typed("sweep", written(tmp_path), *arguments, "-o", str(tmp_path / "s"))
        assert result.exit_code == 2
        import re

        assert re.search(message, said(result)), said(result)
        assert not (tmp_path / "s/runs").exists()

    def test_without_a_store(self, tmp_path) -> None:
        result = typed("sweep", written(tmp_path), "--grid", "seed=0:2")
        assert result.exit_code == 2 and "`output` is missing" in said(result)

    def test_a_secret_that_is_not_set_here(self, tmp_path) -> None:
        result = typed("sweep", written(tmp_path), "-p", "token", "secret:NOT_SET", "-o", "x")
        assert result.exit_code == 2 and "LEPTON_SECRET_NOT_SET" in said(result)

    def test_a_file_with_overrides(self, tmp_path, played) -> None:
        written(tmp_path)
        (tmp_path / "s.yaml").write_text(
            f"notebook: trial.ipynb\noutput: {tmp_path}/a\ngrid: {{lr: [1e-1, 1e-2]}}\n"
        )
        more = ("-o", f"{tmp_path}/b", "--grid", "seed=0:2")
        result = typed("sweep", str(tmp_path / "s.yaml"), *more)
        assert result.exit_code == 0, said(result)
        assert len(pd.read_csv(tmp_path / "b/results.csv")) == 4 and not (tmp_path / "a").exists()

    def test_malformed_yaml_names_its_line(self, tmp_path) -> None:
        (tmp_path / "s.yaml").write_text("notebook: n\noutput: [\n")
        result = typed("sweep", str(tmp_path / "s.yaml"))
        assert result.exit_code == 2 and "s.yaml, line 3: not YAML" in said(result)

    def test_runs_that_are_asked_for_twice_are_told(self, tmp_path, played) -> None:
        result = typed("sweep", written(tmp_path), "--grid", "seed=1,1,2", "-o", f"{tmp_path}/s")
        assert "1 runs are asked for more than once" in said(result) and len(played.tasks) == 2

    def test_random_and_search(self, tmp_path, played) -> None:
        space = ("--space", "lr=1e-3..0.5:log", "--space", "seed=0..4")
        one = typed("sweep", written(tmp_path), "--random", "5", *space, "-o", f"{tmp_path}/r")
        assert one.exit_code == 0 and len(played.tasks) == 5
        two = typed(
            "sweep", written(tmp_path), "--search", "6", *space, "--metric", "score", "--minimize",
            "-o", f"{tmp_path}/s",
        )  # fmt: skip
        assert two.exit_code == 0, said(two)
        assert (tmp_path / "s/search.journal").is_file()


class TestReport:
    def test_is_made_again_from_what_the_store_holds(self, tmp_path, played) -> None:
        played.play = lambda task, n: outcome(
            task, runs.FAILED if task.parameters["seed"] == 2 else runs.FINISHED
        )
        typed("sweep", written(tmp_path), "--grid", "seed=0:3", "-o", f"{tmp_path}/s")
        for name in ("report.html", "results.csv", "index.json"):
            (tmp_path / "s" / name).unlink()
        result = typed("report", f"{tmp_path}/s")
        assert result.exit_code == 0 and "3 runs" in said(result)
        assert "made to be failed" in (tmp_path / "s/report.html").read_text()
        elsewhere = typed("report", f"{tmp_path}/s", "--to", f"{tmp_path}/r.html")
        assert elsewhere.exit_code == 0 and (tmp_path / "r.html").is_file()

    def test_of_nothing(self, tmp_path) -> None:
        (tmp_path / "empty").mkdir()
        assert "holds no run" in said(typed("report", f"{tmp_path}/empty"))
        assert typed("report", f"{tmp_path}/none").exit_code == 2


class TestRun:
    def test_once(self, tmp_path) -> None:
        target = tmp_path / "out/done.ipynb"
        result = typed("run", written(tmp_path), "-p", "seed", "2", "-o", str(target))
        assert result.exit_code == 0, said(result)
        assert "score = 0.3" in said(result) and target.is_file()

    def test_from_and_to_a_store(self, tmp_path) -> None:
        import fsspec

        memory = fsspec.filesystem("memory")
        memory.pipe("/run/trial.ipynb", (Path(written(tmp_path))).read_bytes())
        result = typed("run", "memory://run/trial.ipynb", "-o", "memory://run/out/done.ipynb")
        assert result.exit_code == 0, said(result)
        assert b"score" in memory.cat("/run/out/done.ipynb")

    def test_an_error_keeps_the_notebook_and_names_the_cell(self, tmp_path) -> None:
        path = written(tmp_path, DECLARED, "1 / 0", SCORE)
        result = typed("run", path, "-o", f"{tmp_path}/part.ipynb")
        assert result.exit_code == 1
        assert "failed in cell 3: ZeroDivisionError" in said(result)
        assert "as far as it came" in said(result) and (tmp_path / "part.ipynb").is_file()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (("-p", "sed", "1"), "Did you mean `seed`?"),
            (("-p", "seed", "one"), "the notebook accepts type int"),
            (("-o", "SAME"), "`output` is the notebook itself"),
        ],
    )
    def test_bad_input_runs_nothing(self, tmp_path, given, message: str) -> None:
        path = written(tmp_path)
        result = typed("run", path, *(path if part == "SAME" else part for part in given))
        assert result.exit_code == 2 and message in said(result)


class TestEntryPoint:
    def test_both_forms_of_a_parameter(self) -> None:
        assert cli.joined(["run", "n", "-p", "lr", "0.1", "-p", "a=b", "x"]) == [
            "run", "n", "-p", "lr=0.1", "-p", "a=b", "x",
        ]  # fmt: skip
        assert cli.joined(["-p"]) == ["-p"] and cli.joined(["-p", "lr"]) == ["-p", "lr"]
        assert cli.joined(["-p", "lr", "-o", "x"]) == ["-p", "lr", "-o", "x"]
        assert cli.joined(["-p", "lr", "-1"]) == ["-p", "lr=-1"]

    def test_as_a_program(self, tmp_path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "lepton_ref.cli", "sweep", f"{tmp_path}/none.ipynb", "-o", "x"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 2 and "does not exist" in done.stderr
        assert "Traceback" not in done.stderr

    def test_without_the_extra_it_says_what_to_install(self, tmp_path) -> None:
        code = textwrap.dedent(
            """
            import sys
            sys.modules["typer"] = None
            from lepton_ref import cli
            cli.main()
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "pip install 'lepton-ref[cloud]'" in done.stderr


def test_limits_of_the_command_line_replace_those_of_the_file() -> None:
    spec = options.limit(SweepSpec("n", "o"), timeout=5, cpus=2, memory_mb=100, system=1)
    assert (spec.limits.timeout, spec.limits.cpus, spec.limits.memory) == (5, 2, 100_000_000)
    assert (spec.limits.threads, spec.retries.system, spec.retries.error) == (1, 1, 0)


def test_domains_of_the_command_line(tmp_path) -> None:
    known = options.known_parameters(SweepSpec(written(tmp_path), "o"))
    assert options._domain(known["lr"], "1e-4..0.1:log") == Range(1e-4, 0.1, log=True)
    assert options._domain(known["seed"], "32..256:step=32") == Range(32, 256, step=32)
    assert options._domain(known["seed"], "0:3") == (0, 1, 2)
    assert options._domain(known["mode"], "a,b") == ("a", "b")


class TestBar:
    def bar(self, terminal: bool, **more) -> tuple[Bar, io.StringIO]:
        out = io.StringIO()
        return Bar(Console(file=out, force_terminal=terminal, width=200), "trial", **more), out

    def test_on_a_terminal_there_is_one_bar(self) -> None:
        bar, out = self.bar(True, cost_per_second=0.01, currency="EUR")
        bar.begin(10, 2)
        state = State(10, 4, running=2, failed=1, retried=3, busy_seconds=50.0, notice="no node")
        bar.update(state)
        bar.end()
        text = out.getvalue()
        words = ("2 running", "1 failed", "3 retried", "left", "0.50 EUR", "no node")
        for part in ("trial", "4/10", *words):
            assert part in text

    def test_in_a_log_there_is_a_line_now_and_then(self) -> None:
        bar, out = self.bar(False)
        bar.begin(10, 0)
        for done in range(1, 10):
            bar.update(State(10, done=done, running=1))
        bar.end()
        assert out.getvalue().count("\n") == 1 and "trial: 1/10" in out.getvalue()

    def test_a_failure_is_a_line_of_its_own(self) -> None:
        bar, out = self.bar(False)
        given = Task("ab" * 10, 0, "", "n", {"lr": 0.1, "seed": "[red]"})
        failed = runs.Outcome(given.id, 0, given.parameters, runs.FAILED)
        failed.error = {"name": "ValueError", "value": "no [bold]\nsecond line", "cell": 7}
        bar.note(failed, again=True)
        line = "again abababab lr=0.1, seed=[red]: ValueError in cell 7: no [bold]"
        assert out.getvalue().strip() == line

    @pytest.mark.parametrize(
        ("seconds", "words"), [(3.4, "3 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (-1, "0 s")]
    )
    def test_times_in_words(self, seconds: float, words: str) -> None:
        assert shown(seconds) == words


def test_kubernetes_gets_the_sweep_file_without_what_is_of_this_machine(
    tmp_path, monkeypatch
) -> None:
    from lepton_ref.cloud.sweeps.backends import kubernetes

    written(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "notebook: trial.ipynb\noutput: s3://bucket/sweep\nbackend: kubernetes\n"
        "grid: {seed: '0:3'}\noptions: {image: 'registry.example.com/lepton:0.1.0'}\n"
    )
    sent: list = []

    def submit(built, **more):
        sent.extend(built)
        more["on_progress"](kubernetes.Progress("Running", "RUNNING", 2, 1.0))
        return kubernetes.JobResult("s", "default", "succeeded", "all complete")

    monkeypatch.setattr(kubernetes, "submit_sweep", submit)
    result = typed("sweep", str(tmp_path / "s.yaml"))
    assert result.exit_code == 0, said(result)
    assert "Running RUNNING, 2 runs stored" in said(result) and "all complete" in said(result)
    files = sent[0]["data"]
    assert "backend" not in files["s.yaml"] and "options" not in files["s.yaml"]
    assert "trial.ipynb" in files
    sent.clear()
    for more, field in (
        (["--grid", "seed=0:9"], "grid"),
        (["-p", "lr", "0.5"], "parameters"),
        (["--timeout", "60"], "limits"),
        (["--system-retries", "9"], "retries"),
        (["--accept-below-bounds"], "below_bounds"),
    ):
        result = typed("sweep", str(tmp_path / "s.yaml"), *more)
        assert result.exit_code != 0 and not sent
        assert f"the command line changes its {field}: write that into the file" in said(result)


def test_a_report_of_a_sweep_made_in_python(tmp_path) -> None:
    from lepton_ref.cloud.sweeps.finish import finish

    spec = SweepSpec(written(tmp_path), f"{tmp_path}/s", grid={"seed": (0, 1)})
    plan, store = open_sweep(spec), Store(f"{tmp_path}/s")
    frame = finish(plan, run_sweep(plan, Played(), store), store)
    assert list(frame["r.score"]) == [0.1, 0.2]
    with pytest.raises(StoreError, match="is gone"):
        launch_module.report_again(f"{tmp_path}/none")
