"""One table for all: every explainer on every model, with intervals that say what is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.explain.evaluation.asking import Asked
from lepton_ref.explain.evaluation.fidelity import infidelity, output_changes, removals
from lepton_ref.explain.evaluation.metrics import RemovalCurve, curve
from lepton_ref.explain.evaluation.players import player_values
from lepton_ref.explain.evaluation.sanity import Randomisation, forgotten
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError

CONTROLS = ("random", "edge_detector")


@dataclass(frozen=True, repr=False)
class Task:
    """A model, the examples it is explained on, and the explainers that it admits.

    Attributes
    ----------
    name : str
        ``"image"``.
    model : Layer or callable
        What the explainers are given.
    x : np.ndarray
        (N, *shape).
    target : np.ndarray
        int64 (N,), what the model decided.
    baseline : np.ndarray or number
        What "absent" means, broadcast to x.
    explainers : mapping of str to callable
        ``explainer(model, x, target) -> Attribution``; the two controls among them.
    players : np.ndarray, optional
        Which entries go together, of the shape of one example or of all.
    weights : Layer, or whatever has ``state()`` and ``load_state()``
        What the sanity check randomises.
    scale : {"probability", "score"}
    extras : mapping
        What a report needs of the data: texts, titles, pictures.
    """

    name: str
    model: Any
    x: np.ndarray
    target: np.ndarray
    baseline: Any
    explainers: Mapping[str, Callable[..., Attribution]]
    players: np.ndarray | None = None
    weights: Any = None
    scale: str = "probability"
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.name}: {len(self.x)} examples, {len(self.explainers)} explainers"

    def part(self, rows: slice) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray | None]:
        """Model, inputs, targets and players of some examples."""
        select = getattr(self.model, "select", None)
        model = self.model if select is None else select(np.arange(len(self.x))[rows])
        players = self.players
        if players is not None and players.shape == self.x.shape:
            players = players[rows]
        return model, self.x[rows], self.target[rows], players


class Estimate(NamedTuple):
    """A mean over examples with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Score(NamedTuple):
    """How one explainer did on one model."""

    task: str
    explainer: str
    deletion: Estimate  # the smaller the better
    insertion: Estimate  # the larger the better
    infidelity: Estimate  # best factor, as a share of the mean square of the changes; 0 is perfect
    signed: float  # mean rank correlation with the explanation of a random model
    size: float  # mean of its absolute value: signs that cancel between draws do not hide it
    absolute: float  # mean rank correlation of the absolute values

    @property
    def control(self) -> bool:
        return self.explainer in CONTROLS

    def beats(self, other: Score) -> bool:
        """Whether the deletion area is smaller, and the intervals do not overlap."""
        return self.deletion.high < other.deletion.low


def estimate(values: np.ndarray, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Mean of the examples' values, and a 95 % interval from drawing the examples again.

    The percentiles are those of :func:`~lepton_ref.framework.evaluation.bootstrap_interval`; the
    means of all resamples are taken at once.
    """
    v = real_array("estimate", "values", values)
    rows = np.random.default_rng(seed).integers(0, len(v), (resamples, len(v)))
    low, high = np.quantile(v[rows].mean(axis=1), [0.025, 0.975])
    return Estimate(float(v.mean()), float(low), float(high))


class Trial(NamedTuple):
    """What :func:`evaluate` found.

    Attributes
    ----------
    scores : list of Score
        Best deletion area first.
    values : dict of str to float64 (N, P)
        What each explainer gave to the players.
    attributions : dict of str to Attribution
    deletion : dict of str to RemovalCurve
        The curves behind the areas.
    """

    scores: list[Score]
    values: dict[str, np.ndarray]
    attributions: dict[str, Attribution]
    deletion: dict[str, RemovalCurve]


def evaluate(
    task: Task,
    *,
    steps: int = 8,
    perturbations: int = 64,
    sanity_examples: int = 4,
    draws: int = 6,
    seed: int = 0,
    progress: Callable[[str], Any] | None = None,
) -> Trial:
    """Every explainer of a task, judged by all measures.

    What the removal curves have in common is computed once, and all explainers meet the same
    random networks.

    Parameters
    ----------
    task : Task
    steps : int
        Of the removal curves. The trapezoids of fewer steps lie above a curve that falls steeply
        at first, by about as much for every explainer that is good.
    perturbations : int
        Random removals that the infidelity is measured on, the same for all explainers.
    sanity_examples : int
        The randomisation test looks at so many examples, the first.
    draws : int
        Of random weights.
    seed : int
    progress : callable, optional
        Told the name of each explainer before it runs.

    Returns
    -------
    Trial

    Raises
    ------
    ArgumentError
        For a task without the two controls.
    """
    missing = [name for name in CONTROLS if name not in task.explainers]
    if missing:
        raise ArgumentError(
            "evaluate", "task", f"no explainer {' or '.join(missing)}", "both controls"
        )
    plan = removals(task.x, task.baseline, task.players, perturbations, seed)
    changes = output_changes(task.model, task.x, task.target, plan.change)
    power = np.mean(changes**2, axis=0)
    empty = np.broadcast_to(task.baseline, task.x.shape).astype(task.x.dtype)
    asked = Asked(
        "evaluate", task.model, task.x, task.target, empty, task.players, task.scale
    )  # fmt: skip
    found: dict[str, Attribution] = {}
    for name, explainer in task.explainers.items():
        if progress is not None:
            progress(name)
        found[name] = explainer(task.model, task.x, task.target)
    survived: dict[str, Randomisation] = {}
    if task.weights is not None:
        model, few, goal, whose = task.part(slice(0, sanity_examples))
        survived = forgotten(
            task.explainers, {name: a.values[:sanity_examples] for name, a in found.items()},
            model, few, goal, weights=task.weights, players=whose, draws=draws, seed=seed,
        )  # fmt: skip
    scores, values, deletion = [], {}, {}
    for name, attribution in found.items():
        values[name] = player_values(attribution.values, task.players)
        deletion[name] = curve("deletion", asked, attribution, steps, seed)
        back = curve("insertion", asked, attribution, steps, seed)
        missed = infidelity(task.model, attribution, plan, scaled=True, changes=changes)
        share = np.divide(missed, power, out=np.zeros_like(missed), where=power > 0)
        kept = survived.get(name)
        random = (
            [float("nan")] * 3 if kept is None
            else [float(r.mean()) for r in (kept.signed, kept.size, kept.absolute)]
        )  # fmt: skip
        scores.append(
            Score(
                task.name, name, estimate(deletion[name].area, seed), estimate(back.area, seed),
                estimate(share, seed), *random,
            )
        )  # fmt: skip
    return Trial(sorted(scores, key=lambda s: s.deletion.mean), values, found, deletion)


def caught(scores: Sequence[Score], explainer: str, bound: float = 0.2) -> bool:
    """Whether an explainer shows that it does not look at the model: it survives random weights."""
    return any(abs(s.signed) > bound for s in scores if s.explainer == explainer)


def recommended(scores: Iterable[Score], bound: float = 0.2) -> list[str]:
    """Explainers that pass on every model they were tried on, controls left out.

    Passing is: a smaller deletion area than random's with intervals apart, and signed maps that
    correlate by at most ``bound`` once the weights are random.
    """
    rows = list(scores)
    random = {s.task: s for s in rows if s.explainer == "random"}
    good = []
    for name in dict.fromkeys(s.explainer for s in rows if not s.control):
        mine = [s for s in rows if s.explainer == name]
        if all(s.beats(random[s.task]) and abs(s.signed) <= bound for s in mine):
            good.append(name)
    return good


def winners(scores: Sequence[Score]) -> list[str]:
    """Explainers of one task that beat both controls in deletion area, intervals apart."""
    controls = [s for s in scores if s.control]
    return [s.explainer for s in scores if not s.control and all(s.beats(c) for c in controls)]


def table(scores: Sequence[Score]) -> str:
    """The ranking of one task as text, best first.

    ``signed`` and ``size`` are the mean rank correlation with random models and that of its
    absolute value.
    """
    head = f"{'explainer':<23}{'deletion':<18}{'insertion':<18}{'infidelity':<10}"
    head += f"{'signed':>7}{'size':>5}"
    lines = [head]
    for s in scores:
        mark = "control: " if s.control else ""
        lines.append(
            f"{mark + s.explainer:<23}{s.deletion!s:<18}{s.insertion!s:<18}"
            f"{s.infidelity.mean:>10.2f}{s.signed:>7.2f}{s.size:>5.2f}"
        )
    return "\n".join(lines)
