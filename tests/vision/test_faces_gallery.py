"""The gallery of faces: enrol, verify, identify, forget."""

from __future__ import annotations

import datetime
import stat

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense
from lepton_ref.framework.models import save
from lepton_ref.vision.faces import gallery_file
from lepton_ref.vision.faces.gallery import Gallery
from lepton_ref.vision.faces.gallery_file import GalleryFileError, fingerprint, pack, read, unpack
from lepton_ref.vision.faces.identification import search
from tests.vision.faces_gallery import NAMES, D, faces


def test_verify_and_identify_who_was_enrolled(filled, rng):
    for k, name in enumerate(NAMES):
        probe = faces(rng, k, 1)[0]
        found = filled.verify(name, probe)
        assert found.accepted and found.score >= found.threshold == 0.8
        assert not filled.verify(NAMES[k - 1], probe).accepted
        (match,) = filled.identify(probe, top=2)
        assert match.name == name == match.candidates[0].name
        assert match.score == pytest.approx(found.score, abs=1e-6)
        assert match.candidates[0].score >= match.candidates[1].score
    stranger = filled.identify(np.eye(D)[5])[0]
    assert stranger.name is None and len(stranger.candidates) == 1 and stranger.score < 0.8


def test_length_of_an_embedding_says_nothing(filled, rng):
    probe = faces(rng, 1, 1)
    score = filled.verify(NAMES[1], probe).score
    assert filled.verify(NAMES[1], 1e6 * probe).score == pytest.approx(score, abs=1e-6)


def test_many_probes_at_once_are_one_search(rng, path, monkeypatch):
    """Against the page's 1:N evaluation; more probes than one matrix takes."""
    x = rng.normal(size=(30, D))
    owner = np.sort(rng.integers(0, 8, 30))
    gallery = Gallery.create(path, "3" * 64, D, 0.7)
    for k in np.unique(owner):
        gallery.enrol(f"person {k}", x[owner == k], "for this test")
    probes = rng.normal(size=(50, D))
    monkeypatch.setattr("lepton_ref.vision.faces.gallery._ROWS", 7)
    expected = search(x, owner, probes, np.zeros(50, int))
    for top in (1, 3, 99):
        matches = gallery.identify(probes, top)
        for match, scores in zip(matches, expected.scores, strict=True):
            order = np.argsort(-scores)[:top]
            names = [f"person {expected.people[k]}" for k in order]
            assert [c.name for c in match.candidates] == names
            np.testing.assert_allclose([c.score for c in match.candidates], scores[order], 1e-5)
            assert match.name == (names[0] if scores.max() >= 0.7 else None)


def test_everything_comes_back_from_the_file(filled, path, rng):
    again = Gallery.open(path, "1" * 64)
    assert [p.name for p in again.people] == list(NAMES[:3]) + ["Zoë “Z” O'Hara\\n"]
    assert again.people == filled.people and len(again) == 4
    assert (again.threshold, again.dimension, again.model) == (0.8, D, "1" * 64)
    probe = faces(rng, 2, 5)
    assert again.identify(probe, 3) == filled.identify(probe, 3)
    filled.set_threshold(0.9)
    assert Gallery.open(path).threshold == 0.9


def test_the_same_content_gives_the_same_bytes(filled, path):
    content, _ = read(path)
    assert pack(content) == path.read_bytes() == pack(unpack(path.read_bytes(), "x"))


def test_only_the_owner_may_read_the_file(filled, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_consent_and_its_time_are_kept(gallery):
    zone = datetime.timezone(datetime.timedelta(hours=8))
    when = datetime.datetime(2026, 1, 31, 6, 30, 15, 999, zone)
    gallery.enrol("李", np.eye(D)[0], " door of the laboratory, form 17 ", when)
    (person,) = Gallery.open(gallery.path).people
    assert person == ("李", "door of the laboratory, form 17", "2026-01-30T22:30:15+00:00")
    gallery.enrol("now", np.eye(D)[1], "yes")
    stored = datetime.datetime.fromisoformat(gallery.people[1].enrolled)
    assert abs(datetime.datetime.now(datetime.UTC) - stored) < datetime.timedelta(minutes=1)


def test_forgetting_removes_the_person_from_the_bytes(filled, path, rng):
    """Name, consent and every template: there before, not there after; the others stay."""
    filled.enrol("Nadia", faces(rng, 4, 2), "consent-of-Nadia")
    content, _ = read(path)
    gone = [row.tobytes() for row in content.templates[content.owners == 4]]
    kept = [row.tobytes() for row in content.templates[content.owners != 4]]
    secrets = [*gone, b"Nadia", b"consent-of-Nadia"]
    before = path.read_bytes()
    assert len(gone) == 2 and all(s in before for s in secrets)
    assert filled.forget("nadia") == 2
    after = path.read_bytes()
    assert not any(s in after for s in secrets) and all(row in after for row in kept)
    assert "Nadia" not in filled and "Nadia" not in Gallery.open(path)
    others = [f.read_bytes() for f in path.parent.iterdir() if f.is_file() and f != path]
    assert not any(s in content for s in secrets for content in others)
    assert filled.identify(faces(rng, 4, 1))[0].name is None
    assert filled.forget(NAMES[1]) == 3  # one in the middle: the indices of the others move up
    again = Gallery.open(path, "1" * 64)
    for k in (0, 2, 3):
        assert again.identify(faces(rng, k, 1))[0].name == again.people[k - (k > 1)].name
    for person in list(again.people):
        again.forget(person.name)
    assert len(again) == 0 and again.identify(np.eye(D)[0])[0] == (None, -np.inf, ())


def test_what_a_killed_writer_left_is_removed(filled, path, rng):
    left = path.parent / f".{path.name}.abc123"
    left.mkdir()
    (left / "new").write_bytes(path.read_bytes())
    other = path.parent / ".other.gallery.abc123"
    other.mkdir()
    filled.forget(NAMES[0])
    assert not left.exists() and other.exists()


def test_forgetting_needs_no_model(filled, path):
    lost = Gallery.open(path)
    with pytest.raises(ArgumentError, match=r"no model; expected Gallery.open\(path, model\)"):
        lost.identify(np.eye(D)[0])
    with pytest.raises(ArgumentError, match="Gallery.enrol: argument `self` has no model"):
        lost.enrol("new", np.eye(D)[0], "yes")
    assert lost.forget(NAMES[2]) == 3


def test_a_gallery_of_another_model_is_refused(filled, path):
    with pytest.raises(GalleryFileError, match="of the model 1{12}, yours is 2{12}; enrol"):
        Gallery.open(path, "2" * 64)


def test_fingerprint_is_of_the_model_and_not_of_the_engine(rng, path, tmp_path):
    made = {"rng": rng, "engine": "numpy"}
    model, other = Dense(3, D, **made), Dense(3, D, **made)
    save(model, tmp_path / "dense")
    prints = {
        fingerprint(lepton_ref.load_model("dense", path=tmp_path, engine=name))
        for name in lepton_ref.engines.installed()
    }
    assert prints == {fingerprint(model)} and fingerprint(other) not in prints
    Gallery.create(path, model, D, 0.5)
    assert Gallery.open(path, model).model == fingerprint(model)
    with pytest.raises(GalleryFileError, match="templates are of the model"):
        Gallery.open(path, other)
    with pytest.raises(ArgumentError, match=r"`model` has type int; expected a model with state"):
        Gallery.open(path, 7)


@pytest.mark.parametrize("twice", ["Jose\u0301", "JOSÉ", " José ", "Jo\u200bsé", "Ｊｏｓé"])
def test_the_same_name_twice_is_refused(gallery, twice):
    gallery.enrol("José", np.eye(D)[0], "yes")
    before = gallery.path.read_bytes()
    with pytest.raises(ArgumentError, match="enrolled 20.* a new name; add"):
        gallery.enrol(twice, np.eye(D)[1], "yes")
    assert gallery.path.read_bytes() == before and len(gallery) == 1
    assert gallery.add(twice, np.eye(D)[1]) == ("José", 2, None)
    assert gallery.verify(twice, np.eye(D)[1]).accepted
    gallery.enrol("Jose", np.eye(D)[2], "yes")  # another letter is another name


def test_one_person_under_two_names_is_pointed_out(filled, rng):
    found = filled.enrol("A. King", faces(rng, 0, 2), "yes")
    assert found.resembles is not None and found.resembles.name == "Ada Lovelace"
    assert filled.enrol("somebody else", np.eye(D)[5], "yes").resembles is None
    assert filled.add("somebody else", np.eye(D)[2]).resembles.name == NAMES[2]
    assert filled.add(NAMES[2], faces(rng, 2, 1)).resembles.name == "somebody else"


def test_pictures_added_to_one_in_the_middle_stay_with_that_person(filled, path, rng):
    assert filled.add(NAMES[1], np.eye(D)[5]) == (NAMES[1], 4, None)
    again = Gallery.open(path, "1" * 64)
    assert again.identify(np.eye(D)[5])[0].name == NAMES[1]
    for k, name in enumerate(NAMES):
        assert again.identify(faces(rng, k, 1))[0].name == name
        assert not again.verify(name, np.eye(D)[5]).accepted or k == 1


def test_an_empty_gallery_knows_nobody(gallery):
    assert gallery.identify(np.eye(D)[:3], top=5) == [(None, -np.inf, ())] * 3
    with pytest.raises(ArgumentError, match="'Ada'; expected somebody who is enrolled"):
        gallery.verify("Ada", np.eye(D)[0])
    with pytest.raises(ArgumentError, match="somebody who is enrolled"):
        gallery.forget("Ada")
    with pytest.raises(ArgumentError, match="somebody who is enrolled"):
        gallery.add("Ada", np.eye(D)[0])
    assert len(Gallery.open(gallery.path)) == 0


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones(D + 1), rf"shape \({D + 1},\); expected \(n, {D}\) or \({D},\)"),
        (np.ones((2, 2, D)), rf"shape \(2, 2, {D}\)"),
        (np.ones((0, D)), rf"shape \(0, {D}\)"),
        (np.float64(1.0), r"shape \(\)"),
        (np.zeros(D), "only zeros in row 0; expected vectors with a direction"),
        (np.full((2, D), np.nan), "NaN or infinity in row 0"),
        (np.r_[np.ones(D - 1), np.inf], "NaN or infinity in row 0"),
        (np.array(["a"] * D), "dtype <U1"),
    ],
)
def test_embeddings_that_are_none_are_refused(filled, embeddings, message):
    before = filled.path.read_bytes()
    for call, argument in (
        (lambda: filled.enrol("new", embeddings, "yes"), "embeddings"),
        (lambda: filled.add(NAMES[0], embeddings), "embeddings"),
        (lambda: filled.identify(embeddings), "embeddings"),
        (lambda: filled.verify(NAMES[0], embeddings), "embedding"),
    ):
        with pytest.raises(ArgumentError, match=f"`{argument}` has .*{message}"):
            call()
    assert filled.path.read_bytes() == before and len(filled) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.enrol("", np.ones(D), "yes"), "0 characters; expected 1 to 200"),
        (lambda g: g.enrol(" \u200b ", np.ones(D), "yes"), "1 to 200 that can be seen"),
        (lambda g: g.enrol("x" * 201, np.ones(D), "yes"), "201 characters"),
        (lambda g: g.enrol("a\x00b", np.ones(D), "yes"), "expected no control characters"),
        (lambda g: g.enrol("a\ud800", np.ones(D), "yes"), "expected no control characters"),
        (lambda g: g.enrol(7, np.ones(D), "yes"), "`name` has type int; expected a str"),
        (lambda g: g.enrol("a", np.ones(D), "  "), "`consent` has the value '  '"),
        (lambda g: g.enrol("a", np.ones(D), None), "`consent` has the value None"),
        (lambda g: g.enrol("a", np.ones(D), "\ud800"), "expected what was agreed to"),
        (
            lambda g: g.enrol("a", np.ones(D), "yes", datetime.datetime(2026, 1, 1)),
            "a datetime with its time zone",
        ),
        (lambda g: g.verify(NAMES[0], np.ones((2, D))), "2 rows; expected one picture"),
        (lambda g: g.identify(np.ones(D), top=0), "`top` has the value 0"),
        (lambda g: g.set_threshold(1.5), r"expected a cosine in \(-1, 1\]"),
        (lambda g: g.set_threshold(float("nan")), "the value nan"),
        (lambda g: g.set_threshold(True), "the value True"),
        (lambda g: Gallery.create("unused", "3" * 64, 0, 0.5), "`dimension` has the value 0"),
        (lambda g: Gallery.create("unused", "", 3, 0.5), "`model` has the value ''"),
        (
            lambda g: Gallery.create("unused", "face_recognition_model", 3, 0.5),
            "`model` has the value 'face_recognition_model'; expected a model, or the 64 hexadec",
        ),
    ],
)
def test_wrong_calls_are_refused_and_change_nothing(filled, call, message):
    before = filled.path.read_bytes()
    with pytest.raises(ArgumentError, match=message):
        call(filled)
    assert filled.path.read_bytes() == before and len(filled) == 4


def test_thousands_are_searched_by_one_product(rng, path):
    """5,000 people, 256 probes: every probe is found, with no loop over templates."""
    x = rng.normal(size=(5000, 64)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    people = tuple(gallery_file.Person(f"person {k}", "yes", "2026-01-01") for k in range(5000))
    gallery_file.replace(
        path, gallery_file.Content("3" * 64, 0.7, people, x, np.arange(5000, dtype=np.int32))
    )
    gallery = Gallery.open(path, "3" * 64)
    chosen = rng.choice(5000, 256, replace=False)
    probes = x[chosen] + 0.05 * rng.normal(size=(256, 64))
    assert [m.name for m in gallery.identify(probes)] == [f"person {k}" for k in chosen]
