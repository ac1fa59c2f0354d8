"""Judging identification: one picture against everybody in a gallery, known or not.

Source: Phillips, Grother and Micheals (2011), *Evaluation methods in face recognition*, in the
Handbook of Face Recognition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import Interval, bootstrap_interval
from lepton_ref.vision.faces.verification import _subjects, cosine_similarity


class OpenSetPoint(NamedTuple):
    """Identification with strangers at the door.

    Attributes
    ----------
    threshold : float
    detection : float
        DIR: share of the known probes whose best match is the right person *and* passes.
    false_alarm : float
        FPIR: share of the strangers whose best match passes.
    resolved : bool
        Whether there are strangers enough to see the rate that was asked for.
    """

    threshold: float
    detection: float
    false_alarm: float
    resolved: bool


@dataclass(frozen=True)
class Search:
    """Probes against a gallery: one score per probe and person.

    Attributes
    ----------
    scores : float64 (M, K)
        The best over the person's templates.
    people : array (K,)
        Sorted.
    truth : array (M,)
        Who each probe shows; a probe of somebody who is not in `people` is a stranger's.
    """

    scores: np.ndarray
    people: np.ndarray
    truth: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """bool (M,): the person of the probe is in the gallery."""
        return np.isin(self.truth, self.people)

    @property
    def ranks(self) -> np.ndarray:
        """Rank of the right person for each known probe, from 1; others at a tie go first."""
        scores, truth = self.scores[self.known], self.truth[self.known]
        own = scores[np.arange(len(scores)), np.searchsorted(self.people, truth)]
        return (scores >= own[:, None]).sum(axis=1)

    def cmc(self) -> np.ndarray:
        """Cumulative match curve (K,): share of known probes whose person is in the best r.

        Raises
        ------
        ArgumentError
            When no probe shows anybody of the gallery.
        """
        ranks = self.ranks
        if not len(ranks):
            raise ArgumentError("Search.cmc", "truth", "strangers only", "somebody who is known")
        return np.cumsum(np.bincount(ranks - 1, minlength=len(self.people))) / len(ranks)

    def rank1(self) -> float:
        """Share of known probes whose best match is the right person."""
        return float(self.cmc()[0])

    def rank1_interval(self, rng: np.random.Generator, resamples: int = 1000) -> Interval:
        """95 % interval of :meth:`rank1`: probes of one person are drawn together."""
        hits, who = self.ranks == 1, self.truth[self.known]
        _, k = np.unique(who, return_inverse=True)
        columns = np.bincount(k, hits), np.bincount(k)
        return bootstrap_interval(lambda h, n: h.sum() / n.sum(), columns, rng, resamples)

    def detection_at(self, threshold: float) -> tuple[float, float]:
        """DIR and FPIR at a threshold.

        Raises
        ------
        ArgumentError
            When there are no known probes, or no strangers.
        """
        known = self.known
        if known.all() or not known.any():
            raise ArgumentError(
                "Search.detection_at", "truth", "one kind of probe only",
                "people of the gallery and strangers",
            )  # fmt: skip
        best = self.scores.max(axis=1)
        found = (self.ranks == 1) & (best[known] >= threshold)
        return float(found.mean()), float((best[~known] >= threshold).mean())

    def detection_at_far(self, far: float) -> OpenSetPoint:
        """DIR at the lowest threshold that lets at most a share `far` of the strangers pass."""
        where = "Search.detection_at_far"
        if not isinstance(far, float | int) or isinstance(far, bool) or not 0 <= far <= 1:
            raise ArgumentError(where, "far", f"the value {far!r}", "a rate, 0 to 1")
        best = self.scores.max(axis=1)
        strangers = np.sort(best[~self.known])[::-1]
        if not len(strangers):
            raise ArgumentError(where, "truth", "nobody unknown", "some strangers")
        pass_at_most = int(far * len(strangers) + 1e-9)
        if pass_at_most == len(strangers):
            threshold = float(best.min())
        else:  # half-way from the first stranger who must stay out to the next better probe
            outside = float(strangers[pass_at_most])
            better = best[best > outside]
            middle = outside + (float(better.min()) - outside) / 2 if len(better) else np.inf
            threshold = float(np.clip(middle, np.nextafter(outside, np.inf), outside + 1.0))
        return OpenSetPoint(
            threshold, *self.detection_at(threshold), far * len(strangers) >= 1 - 1e-9
        )


def search(templates: Any, template_subjects: Any, probes: Any, probe_subjects: Any) -> Search:
    """Compare every probe with every template by the cosine, and keep the best of each person.

    Parameters
    ----------
    templates, probes : float array (T, D) and (M, D)
    template_subjects, probe_subjects : int array (T,) and (M,)

    Raises
    ------
    ArgumentError
        For labels that do not fit, or vectors as :func:`cosine_similarity` refuses them.
    """
    similarity = cosine_similarity(probes, templates)  # (M, T)
    owner = _subjects("search", template_subjects, similarity.shape[1])
    truth = _subjects("search", probe_subjects, similarity.shape[0])
    order = np.argsort(owner, kind="stable")
    people, starts = np.unique(owner[order], return_index=True)
    return Search(np.maximum.reduceat(similarity[:, order], starts, axis=1), people, truth)
