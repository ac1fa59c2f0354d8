"""When two runs are the same run; and secrets, which count by their names."""

from __future__ import annotations

import base64
import json

import nbformat
import pytest

from lepton_ref.cloud.sweeps import notebooks, secrets
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.identity import identity, lock_digest
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.spec import SweepSpec
from tests.cloud.sweeps.sweep_tools import CHECK, DECLARED, SCORE, notebook, written


def name(folder, *cells: str, lock=None, **parameters) -> str:
    spec = SweepSpec(written(folder, *cells), "out", parameters=parameters)
    return open_sweep(spec, lock).runs[0].id


def test_the_same_in_other_words_is_the_same_run(tmp_path) -> None:
    plain = name(tmp_path)
    assert len(plain) == 20 and int(plain, 16) >= 0
    assert name(tmp_path, lr=0.1) == plain, "a default, said aloud"
    assert name(tmp_path, lr=1) == name(tmp_path, lr=1.0)
    assert name(tmp_path, seed=1, lr=0.2) == name(tmp_path, lr=0.2, seed=1)


def test_what_a_notebook_shows_does_not_count(tmp_path) -> None:
    made = notebooks.read(notebook(), "n")
    shown = notebooks.read(notebook(), "n")
    shown.cells[1].outputs = [nbformat.v4.new_output("stream", text="x")]
    shown.cells.insert(0, nbformat.v4.new_markdown_cell("# Words"))
    assert notebooks.code_digest(made) == notebooks.code_digest(shown)


def test_code_parameters_lock_and_version_count(tmp_path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text("# made today\nnumpy==1.26.4\n")
    plain = name(tmp_path, lock=str(lock))
    assert name(tmp_path, lock=str(lock), seed=1) != plain
    assert name(tmp_path, DECLARED, SCORE + " ", CHECK, lock=str(lock)) != plain
    other = tmp_path / "b.lock"
    other.write_text("numpy==2.4.6\n")
    assert name(tmp_path, lock=str(other)) != plain
    remade = tmp_path / "c.lock"
    remade.write_text("# made tomorrow\n\nnumpy==1.26.4\n")
    assert name(tmp_path, lock=str(remade)) == plain
    assert identity("c", {}, "l", "0.1.0") != identity("c", {}, "l", "0.2.0")


def test_without_a_lock_the_installed_versions_count(monkeypatch) -> None:
    from lepton_ref.cloud.sweeps import identity as module

    with_lock = lock_digest(None)
    monkeypatch.setattr(module, "_lock_of_the_clone", lambda: None)
    lock_digest.cache_clear()
    assert lock_digest(None) != with_lock
    lock_digest.cache_clear()


class TestSecrets:
    VALUE = 'p"ss/wörd+42'

    @pytest.fixture(autouse=True)
    def _set(self, monkeypatch) -> None:
        monkeypatch.setenv("LEPTON_SECRET_KEY", self.VALUE)

    def test_where_they_are_looked_for(self, monkeypatch, tmp_path) -> None:
        assert secrets.secret("KEY") == self.VALUE
        monkeypatch.setenv("OTHER", "plain-variable")
        assert secrets.secret("OTHER") == "plain-variable"
        (tmp_path / "MOUNTED").write_text("from-a-file\n")
        monkeypatch.setenv("LEPTON_SECRETS", str(tmp_path))
        assert secrets.secret("MOUNTED") == "from-a-file"

    def test_one_that_is_missing_or_too_short_says_what_to_do(self, monkeypatch) -> None:
        with pytest.raises(SweepError, match="LEPTON_SECRET_NONE_SUCH"):
            secrets.secret("NONE_SUCH")
        monkeypatch.setenv("LEPTON_SECRET_TINY", "abc")
        with pytest.raises(SweepError, match="shorter than 4"):
            secrets.secret("TINY")

    @pytest.mark.parametrize(
        "written_as",
        [
            lambda v: v,
            lambda v: json.dumps({"a": v}),
            lambda v: json.dumps(json.dumps(v)),
            lambda v: repr([v]),
            lambda v: base64.b64encode(f"user:{v}".encode()).decode(),
            lambda v: base64.b64encode(f"u:{v}!".encode()).decode(),
            lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
            lambda v: v.encode().hex(),
            lambda v: "https://host/?key=p%22ss%2Fw%C3%B6rd%2B42",
        ],
    )
    def test_the_value_is_found_however_it_is_written(self, written_as) -> None:
        assert secrets.leaked(f"before {written_as(self.VALUE)} after", ["KEY"]) == ["KEY"]

    def test_other_text_is_no_leak(self) -> None:
        assert secrets.leaked("p ss wörd 42, KEY, secret:KEY", ["KEY", "UNSET"]) == []

    def test_the_injected_cell_looks_up(self) -> None:
        source = '# Parameters\nlr = 0.1\ntoken = "secret:KEY"\n'
        made = secrets.injected_source(source, {"token": "KEY"})
        assert "secret:KEY" not in made and self.VALUE not in made
        space: dict = {}
        exec(made, space)
        assert (space["lr"], space["token"]) == (0.1, self.VALUE)
