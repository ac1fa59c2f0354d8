"""Sweep files: what they mean, and every complaint with its line."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.spec import Random, Range, Search, SweepSpec, check_space, draw, expand
from lepton_ref.cloud.sweeps.yaml_file import load_spec, parse_spec, whole_span
from tests.cloud.sweeps.sweep_tools import DECLARED, SCORE, written

HEAD = "notebook: n.ipynb\noutput: out\n"


def parse(text: str, **overrides):
    return parse_spec(textwrap.dedent(text), "s.yaml", overrides)


def test_a_whole_file() -> None:
    spec = parse(
        """\
        notebook: n.ipynb
        output: s3://bucket/sweep
        name: rates
        parameters: {profile: quick}
        grid:
          lr: [0.1, 0.01]
          seed: "0:3"
        runs:
          - {lr: 0.5}
        backend: ray
        address: auto
        workers: 4
        limits: {timeout: 60, cpus: 2, gpus: 0.5, memory_mb: 512, threads: 2, output_mb: 5}
        retries: {system: 5, error: 1}
        warm: false
        below_bounds: accept
        """
    )
    assert spec.grid == {"lr": (0.1, 0.01), "seed": (0, 1, 2)}
    assert spec.runs == ({"lr": 0.5},)
    assert (spec.limits.timeout, spec.limits.cpus, spec.limits.gpus) == (60, 2, 0.5)
    assert (spec.limits.memory, spec.limits.output_bytes) == (512_000_000, 5_000_000)
    assert (spec.retries.system, spec.retries.error, spec.warm) == (5, 1, False)
    assert len(expand(spec, {})) == 7


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("notebook: n.ipynb\n", 1, "`output` is missing"),
        ("- a\n- b\n", 1, "a sweep is a mapping"),
        ("", 1, "a sweep is a mapping"),
        (HEAD + "grids: {lr: [1]}\n", 3, "unknown key `grids`; .* Did you mean `grid`?"),
        (HEAD + "grid:\n  lr: 0.1\n", 4, "`lr` has the value 0.1; it is a list of values"),
        (HEAD + "grid:\n  lr: []\n", 4, "it is a list of values"),
        (HEAD + "grid: [1]\n", 3, "`grid` has the value"),
        (HEAD + "grid:\n  lr: [1]\n  lr: [2]\n", 5, "`lr` stands here a second time"),
        (HEAD + "grid: {lr: [1\nname: x\n", 4, "not YAML"),
        (HEAD + "a: \tb\n", 3, "not YAML: found character"),
        (HEAD + "backend: rya\n", 3, "accepted: local, ray, kubernetes. Did you mean `ray`?"),
        (HEAD + "workers: -1\n", 3, "workers has the value -1"),
        (HEAD + "limits:\n  timeout: soon\n", 4, "`timeout` has the value 'soon'; it is a number"),
        (HEAD + "limits:\n  timeout: 0\n", 4, "`timeout` has the value 0; it is above 0"),
        (HEAD + "limits:\n  gpu: 1\n", 4, "unknown key `gpu`.* Did you mean `gpus`?"),
        (HEAD + "retries: {system: -1}\n", 3, "`system` has the value -1"),
        (HEAD + "runs: 3\n", 3, "`runs` is a list of mappings"),
        (HEAD + "random:\n  n: 0\n  space: {lr: [1]}\n", 4, "random: n has the value 0"),
        (HEAD + "random:\n  n: 3\n", 3, "`random` has no `space`"),
        (HEAD + "random: {n: 3, space: {}}\n", 3, "names no parameter"),
        (HEAD + "random:\n  n: 3\n  space:\n    lr: {low: 1}\n", 6, "needs `low` and `high`"),
        (HEAD + "random:\n  n: 3\n  space:\n    lr: {low: 2, high: 1}\n", 6, "is empty"),
        (
            HEAD + "random:\n  n: 3\n  space:\n    lr: {low: 0, high: 1, log: true}\n", 6,
            "no logarithm",
        ),
        (
            HEAD + "search: {n: 3, metric: m, direction: up, space: {lr: [1]}}\n", 3,
            "search: direction has the value 'up'",
        ),
    ],
)  # fmt: skip
def test_complaints_name_the_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SweepError, match=message) as caught:
        parse_spec(text, "s.yaml")
    assert str(caught.value).startswith(f"s.yaml, line {line}: ")


def test_a_search_proposes_its_runs_itself() -> None:
    with pytest.raises(SweepError, match="`search` proposes the runs itself"):
        parse(HEAD + "grid: {seed: [1]}\nsearch: {n: 2, metric: m, space: {lr: [1]}}\n")


def test_an_unreadable_file(tmp_path) -> None:
    with pytest.raises(SweepError, match="cannot be read: No such file"):
        load_spec(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SweepError, match="not UTF-8"):
        load_spec(tmp_path / "bad.yaml")


def test_the_notebook_is_meant_from_the_folder_of_the_file(tmp_path) -> None:
    (tmp_path / "s.yaml").write_text(HEAD)
    assert load_spec(tmp_path / "s.yaml").notebook == str(tmp_path / "n.ipynb")
    assert load_spec(tmp_path / "s.yaml", {"output": "else"}).output == "else"


@pytest.mark.parametrize(
    ("text", "span"),
    [("0:5", [0, 1, 2, 3, 4]), ("1:10:4", [1, 5, 9]), ("a:b", None), ("5", None), ("3:3", None)],
)
def test_spans(text: str, span) -> None:
    found = whole_span(text)
    assert (list(found) if found else None) == span


def test_grid_lines_run_in_order_inside_random_points() -> None:
    spec = SweepSpec(
        "n", "o", parameters={"a": 0}, grid={"x": (1, 2), "y": (3, 4)},
        random=Random(2, {"z": (7,)}),
    )  # fmt: skip
    found = expand(spec, {})
    assert [(p["z"], p["x"], p["y"]) for p in found] == [
        (7, x, y) for _ in range(2) for x in (1, 2) for y in (3, 4)
    ]


def test_random_points_are_seeded_and_stay_inside() -> None:
    space = {
        "lr": Range(1e-4, 1e-1, log=True), "size": Range(32, 256, step=32), "n": Range(1, 3),
        "kind": ("a", "b"),
    }  # fmt: skip
    points = draw(Random(400, space, seed=3), {})
    assert points == draw(Random(400, space, seed=3), {})
    assert points != draw(Random(400, space, seed=4), {})
    lr = np.array([p["lr"] for p in points])
    assert 1e-4 <= lr.min() and lr.max() <= 1e-1
    # Evenly in the logarithm: a third in each decade, within four standard errors.
    assert abs(np.mean(lr < 1e-3) - 1 / 3) < 4 * (2 / 9 / 400) ** 0.5
    assert {p["size"] for p in points} == set(range(32, 257, 32))
    assert {p["n"] for p in points} == {1, 2, 3}
    assert {p["kind"] for p in points} == {"a", "b"}


@pytest.fixture
def known(tmp_path):
    return open_sweep(SweepSpec(written(tmp_path), "out")).known


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lrr": (0.1,)}, "no parameter `lrr`.* Did you mean `lr`?"),
        ({"mode": Range(0, 1)}, "`mode` has a range"),
        ({"lr": Range(0.5, 2)}, "`lr` has the value 2"),
        ({"seed": Range(0.5, 2)}, "whole number"),
        ({"lr": ()}, "no value to choose from"),
        ({"lr": ("x",)}, "of type str"),
    ],
)
def test_a_space_outside_the_notebook_is_refused(known, space, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        check_space(space, known, "random")


class TestPlan:
    def test_runs_are_checked_named_and_made_once(self, tmp_path) -> None:
        spec = SweepSpec(
            written(tmp_path), "out", grid={"lr": (0.1, 0.2, 0.1)}, runs=({"lr": 0.2}, {"lr": 0.3})
        )
        plan = open_sweep(spec)
        assert [run.parameters["lr"] for run in plan.runs] == [0.1, 0.2, 0.3]
        assert plan.repeated == 2
        assert plan.varied == ["lr"] and plan.title == "trial"

    def test_numbers_that_yaml_takes_for_words(self, tmp_path) -> None:
        path = written(tmp_path)
        spec = parse(f"notebook: {path}\noutput: out\ngrid:\n  lr: [1e-3, 1e-2]\n")
        assert spec.grid["lr"] == ("1e-3", "1e-2")  # YAML 1.1
        assert [run.parameters["lr"] for run in open_sweep(spec).runs] == [0.001, 0.01]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"grid": {"lrr": (1,)}}, "no parameter `lrr`"),
            ({"grid": {"lr": (0.1, 7.0)}}, "`lr` has the value 7.0"),
            ({"grid": {"engine": ("numpi",)}}, "'numpi'.* Did you mean `numpy`?"),
            ({"grid": {"lr": (0.1,)}, "parameters": {"lr": 0.2}}, "`lr` is given a value in"),
            ({"random": Random(2, {"lr": (0.1,)}), "parameters": {"lr": 0.2}}, "elsewhere too"),
            ({"search": Search(2, "score", {"sed": (1,)})}, "search: .*`sed`"),
        ],
    )
    def test_what_cannot_start_is_refused(self, tmp_path, change, message: str) -> None:
        with pytest.raises(SweepError, match=message):
            open_sweep(SweepSpec(written(tmp_path), "out", **change))

    def test_a_missing_engine(self, tmp_path, monkeypatch) -> None:
        from lepton_ref.cloud.sweeps import plan

        monkeypatch.setattr(plan, "installed", lambda: ["numpy"])
        spec = SweepSpec(written(tmp_path), "out", parameters={"engine": "torch"})
        with pytest.raises(SweepError, match=r"'torch' is not installed here: pip install"):
            open_sweep(spec)
        given = {"parameters": {"engine": "torch"}, "backend": "ray"}
        with pytest.raises(SweepError, match=r"'torch' is not installed here"):
            open_sweep(SweepSpec(written(tmp_path), "out", **given))
        # The nodes of a cluster may have it.
        assert open_sweep(SweepSpec(written(tmp_path), "out", address="auto", **given)).runs

    def test_a_gpu_that_is_not_here(self, tmp_path) -> None:
        cells = [DECLARED.replace('device="cpu"', "device=device"), SCORE]
        path = written(
            tmp_path, *cells,
            parameters='engine = "numpy"\ndevice = "cpu"\nseed = 0\nlr = 0.1\nmode = token = ""',
        )  # fmt: skip
        with pytest.raises(SweepError, match="`device`: .*no device 'gpu'"):
            open_sweep(SweepSpec(path, "out", parameters={"device": "gpu"}))

    def test_a_missing_notebook_names_a_near_one(self, tmp_path) -> None:
        written(tmp_path)
        with pytest.raises(SweepError, match="does not exist. Did you mean `trial.ipynb`?"):
            open_sweep(SweepSpec(str(tmp_path / "trail.ipynb"), "out"))

    def test_a_notebook_from_a_store(self, tmp_path) -> None:
        import fsspec

        path = written(tmp_path)
        with fsspec.open("memory://books/trial.ipynb", "wt") as file:
            file.write((tmp_path / "trial.ipynb").read_text())
        near, far = (open_sweep(SweepSpec(p, "out")) for p in (path, "memory://books/trial.ipynb"))
        assert near.runs[0].id == far.runs[0].id
        with pytest.raises(SweepError, match="does not exist"):
            open_sweep(SweepSpec("memory://books/none.ipynb", "out"))


def test_the_example_is_a_notebook_that_can_be_swept() -> None:
    from lepton_ref.cloud.sweeps.examples import TRIAL

    plan = open_sweep(SweepSpec(str(TRIAL), "out", grid={"learning_rate": (0.1, 0.01)}))
    assert len(plan.runs) == 2
    assert {p.kind for p in plan.known.values()} <= {int, float, str, None}
