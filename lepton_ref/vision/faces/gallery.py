"""A small gallery of people: enrol, verify, identify, forget; one file that is never half written.

A template is a unit vector. It is personal data: it leads back to a person wherever the same
model meets the face again. So the file names the model, holds a note of each person's consent, is
readable by its owner alone, and forgetting somebody rewrites it without the person.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import host
from lepton_ref.vision.faces.gallery_answers import Candidate, Enrolment, Match, Verification
from lepton_ref.vision.faces.gallery_checks import (
    checked_threshold,
    model_id,
    name_key,
    shown_consent,
    shown_name,
    utc_time,
)
from lepton_ref.vision.faces.gallery_file import (
    Content,
    GalleryFileError,
    Person,
    locked,
    read,
    replace,
)
from lepton_ref.vision.faces.verification import unit_vectors

_ROWS = 1024  # probes at a time, so that a long queue needs no large matrix


class Gallery:
    """People, known by templates of one model; every change is on the disk when it returns.

    Make one with :meth:`create`, read one with :meth:`open`. Two processes may use one file:
    a change to a gallery that somebody else has changed since it was opened is refused.
    """

    def __init__(self, path: Path, content: Content, digest: str, usable: bool) -> None:
        self.path, self._digest, self._usable = path, digest, usable
        self._hold(content)

    @classmethod
    def create(cls, path: str | Path, model: Any, dimension: int, threshold: float) -> Gallery:
        """A new, empty gallery.

        Parameters
        ----------
        path : str or Path
            The file; it must not exist.
        model : Model or str
            What makes the embeddings, or its :func:`fingerprint`.
        dimension : int
            D, the length of an embedding.
        threshold : float
            Least cosine of one person, in (−1, 1]; from :func:`choose_threshold`.

        Raises
        ------
        ArgumentError
            For a dimension or threshold out of range.
        GalleryFileError
            When the file exists or cannot be written.
        """
        whole("Gallery.create", dimension=dimension)
        content = Content(
            model_id(model),
            checked_threshold("Gallery.create", threshold),
            (),
            np.zeros((0, dimension), np.float32),
            np.zeros(0, np.int32),
        )
        file = Path(path)
        with locked(file):
            if file.exists():
                raise GalleryFileError(f"{file}: exists already; Gallery.open reads it")
            digest = replace(file, content)
        return cls(file, content, digest, True)

    @classmethod
    def open(cls, path: str | Path, model: Any = None) -> Gallery:
        """Read a gallery.

        Parameters
        ----------
        path : str or Path
        model : Model or str, optional
            The model that will make the embeddings, or its fingerprint. Without it people can
            be listed and forgotten, and nothing else: that right does not end with a model.

        Raises
        ------
        GalleryFileError
            When there is no such file, it is damaged or altered, or its templates are of another
            model: directions of two models do not compare.
        """
        file = Path(path)
        content, digest = read(file)
        if model is not None and model_id(model) != content.model:
            raise GalleryFileError(
                f"{file}: its templates are of the model {content.model[:12]}, yours is "
                f"{model_id(model)[:12]}; enrol the people again with your model"
            )
        return cls(file, content, digest, model is not None)

    @property
    def people(self) -> tuple[Person, ...]:
        """Everybody who is enrolled, in order of enrolment."""
        return self._content.people

    @property
    def threshold(self) -> float:
        """Least cosine that counts as one person."""
        return self._content.threshold

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return int(self._content.templates.shape[1])

    @property
    def model(self) -> str:
        """Fingerprint of the model whose embeddings this gallery holds."""
        return self._content.model

    def __len__(self) -> int:
        return len(self.people)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def enrol(
        self,
        name: str,
        embeddings: Any,
        consent: str,
        when: datetime.datetime | None = None,
    ) -> Enrolment:
        """Take somebody in.

        Parameters
        ----------
        name : str
            In any script. Names that differ in case, width or invisible characters alone are
            the same.
        embeddings : float array (n, D) or (D,)
            Of one or more pictures; any length, the direction is kept.
        consent : str
            To what the person said yes, and where that is on record.
        when : datetime.datetime, optional
            Of the consent, with its time zone; default: now.

        Raises
        ------
        ArgumentError
            For a name that is taken or empty, no consent, or embeddings of another size, zero or
            not finite.
        GalleryFileError
            When the file cannot be written, or was changed by somebody else.
        """
        where = "Gallery.enrol"
        new = self._embeddings(where, embeddings)
        shown = shown_name(where, name)
        if (there := self._find(shown)) is not None:
            raise ArgumentError(
                where, "name", f"the value {shown!r}, enrolled {self.people[there].enrolled}",
                "a new name; add(name, embeddings) takes further pictures of one person",
            )  # fmt: skip
        person = Person(shown, shown_consent(where, consent), utc_time(where, when))
        c = self._content
        resembles = self._resembles(new, None)
        owner = np.full(len(new), len(c.people), np.int32)
        self._write(
            c._replace(
                people=(*c.people, person),
                templates=np.concatenate([c.templates, new]),
                owners=np.concatenate([c.owners, owner]),
            )
        )
        return Enrolment(shown, len(new), resembles)

    def add(self, name: str, embeddings: Any) -> Enrolment:
        """Further pictures of somebody who is enrolled. Errors as :meth:`enrol`."""
        new = self._embeddings("Gallery.add", embeddings)
        k = self._known("Gallery.add", name)
        c = self._content
        resembles = self._resembles(new, k)
        at = int(np.searchsorted(c.owners, k, side="right"))  # behind the person's own
        templates = np.insert(c.templates, at, new, axis=0)
        owners = np.insert(c.owners, at, np.full(len(new), k, np.int32))
        self._write(c._replace(templates=templates, owners=owners))
        return Enrolment(self.people[k].name, int((owners == k).sum()), resembles)

    def forget(self, name: str) -> int:
        """Remove somebody from the file: name, consent and templates; returns how many templates.

        Copies that you made of the file, and the blocks that the disk has not yet used again,
        are beyond its reach.

        Raises
        ------
        ArgumentError
            When nobody of that name is enrolled.
        GalleryFileError
            As :meth:`enrol`.
        """
        k = self._known("Gallery.forget", name)
        c = self._content
        stay = c.owners != k
        owners = c.owners[stay]
        self._write(
            c._replace(
                people=c.people[:k] + c.people[k + 1 :],
                templates=c.templates[stay].copy(),
                owners=owners - (owners > k).astype(np.int32),
            )
        )
        return int((~stay).sum())

    def set_threshold(self, threshold: float) -> None:
        """Another least cosine, kept in the file."""
        self._write(
            self._content._replace(threshold=checked_threshold("Gallery.set_threshold", threshold))
        )

    def verify(self, name: str, embedding: Any) -> Verification:
        """1:1. Does the picture show the person of this name?

        Parameters
        ----------
        name : str
        embedding : float array (D,) or (1, D)

        Raises
        ------
        ArgumentError
            When nobody of that name is enrolled (which is not "refused"), or for an embedding as
            in :meth:`enrol`.
        """
        where = "Gallery.verify"
        probe = self._embeddings(where, embedding)
        if len(probe) != 1:
            raise ArgumentError(where, "embedding", f"{len(probe)} rows", "one picture at a time")
        k = self._known(where, name)
        own = self._content.templates[self._content.owners == k]
        score = float((own @ probe[0]).max())
        return Verification(score >= self.threshold, score, self.threshold)

    def identify(self, embeddings: Any, top: int = 1) -> list[Match]:
        """1:N. Who is on each picture, if anybody who is enrolled?

        Parameters
        ----------
        embeddings : float array (n, D) or (D,)
        top : int
            How many candidates to name.

        Returns
        -------
        list of Match
            One per picture. In an empty gallery nobody is known.

        Raises
        ------
        ArgumentError
            As :meth:`verify`.
        """
        whole("Gallery.identify", top=top)
        probes = self._embeddings("Gallery.identify", embeddings)
        if not self.people:
            return [Match(None, float("-inf"), ())] * len(probes)
        matches = []
        for start in range(0, len(probes), _ROWS):
            scores = self._scores(probes[start : start + _ROWS])  # (n, K)
            best = _best(scores, min(top, scores.shape[1]))
            values = np.take_along_axis(scores, best, axis=1)
            for row, score in zip(best.tolist(), values.tolist(), strict=True):
                found = tuple(
                    Candidate(self.people[k].name, s) for k, s in zip(row, score, strict=True)
                )
                passed = found[0].score >= self.threshold
                matches.append(Match(found[0].name if passed else None, found[0].score, found))
        return matches

    def _scores(self, probes: np.ndarray) -> np.ndarray:
        """Best cosine of each probe with each person: one matrix product, (n, K)."""
        c = self._content
        starts = np.searchsorted(c.owners, np.arange(len(c.people)))
        return np.maximum.reduceat(probes @ c.templates.T, starts, axis=1)

    def _resembles(self, new: np.ndarray, k: int | None) -> Candidate | None:
        """Who among the others passes for one of the new pictures, the most alike first."""
        if not self.people:
            return None
        scores = self._scores(new).max(axis=0)  # (K,)
        if k is not None:
            scores[k] = -np.inf
        best = int(scores.argmax())
        if scores[best] < self.threshold:
            return None
        return Candidate(self.people[best].name, float(scores[best]))

    def _embeddings(self, where: str, embeddings: Any) -> np.ndarray:
        """Unit vectors (n, D), float32."""
        if not self._usable:
            raise ArgumentError(
                where, "self", "no model", "Gallery.open(path, model), with the model it came from"
            )
        argument = "embedding" if where == "Gallery.verify" else "embeddings"
        x = host(embeddings)
        x = x[None] if x.ndim == 1 else x
        if x.ndim != 2 or len(x) == 0 or x.shape[1] != self.dimension:
            raise ArgumentError(
                where, argument, f"shape {host(embeddings).shape}",
                f"(n, {self.dimension}) or ({self.dimension},)",
            )  # fmt: skip
        return unit_vectors(x, where, argument).astype(np.float32)

    def _hold(self, content: Content) -> None:
        self._content = content
        self._index = {name_key(person.name): k for k, person in enumerate(content.people)}
        if len(self._index) < len(content.people):
            raise GalleryFileError(f"{self.path}: damaged: two people of one name")

    def _find(self, name: str) -> int | None:
        return self._index.get(name_key(name))

    def _known(self, where: str, name: Any) -> int:
        k = self._find(shown_name(where, name))
        if k is None:
            raise ArgumentError(where, "name", f"the value {name!r}", "somebody who is enrolled")
        return k

    def _write(self, content: Content) -> None:
        with locked(self.path):
            _, digest = read(self.path)
            if digest != self._digest:
                raise GalleryFileError(
                    f"{self.path}: changed by somebody else since it was opened; nothing was "
                    "written, open it again"
                )
            self._digest = replace(self.path, content)
        self._hold(content)  # only what is on the disk is believed


def _best(scores: np.ndarray, top: int) -> np.ndarray:
    """Columns of the `top` largest of each row, largest first."""
    if top == 1:
        return scores.argmax(axis=1)[:, None]
    some = np.argpartition(-scores, top - 1, axis=1)[:, :top]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)
