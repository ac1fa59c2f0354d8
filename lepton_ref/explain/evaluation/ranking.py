"""One table for all: every explainer on every model, with intervals that say what is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.explain.evaluation.fidelity import infidelity, output_changes, removals
from lepton_ref.explain.evaluation.metrics import deletion_curve, insertion_curve
from lepton_ref.explain.evaluation.players import player_values
from lepton_ref.explain.evaluation.sanity import cascade, randomisation_test
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import Interval, bootstrap_interval

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
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    """Mean of the examples' values, and a 95 % interval from drawing the examples again."""
    rng = np.random.default_rng(seed)
    interval: Interval = bootstrap_interval(
        lambda v: float(v.mean()), (np.asarray(values, np.float64),), rng, resamples
    )
    return Estimate(float(np.mean(values)), *interval)


def evaluate(
    task: Task,
    *,
    steps: int = 12,
    perturbations: int = 64,
    sanity_examples: int = 4,
    draws: int = 6,
    seed: int = 0,
    progress: Callable[[str], Any] | None = None,
) -> tuple[list[Score], dict[str, np.ndarray]]:
    """Every explainer of a task, judged by all measures.

    Parameters
    ----------
    task : Task
    steps : int
        Of the removal curves.
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
    scores : list of Score
        Best deletion area first.
    values : dict of str to float64 (N, P)
        What each explainer gave to the players.

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
    stages = None
    if task.weights is not None:
        stages = [("all", [name for _, names in cascade(task.weights) for name in names])]
    model, few, goal, whose = task.part(slice(0, sanity_examples))
    scores, values = [], {}
    for name, explainer in task.explainers.items():
        if progress is not None:
            progress(name)
        found = explainer(task.model, task.x, task.target)
        values[name] = player_values(found.values, task.players)
        rules: dict[str, Any] = {
            "baseline": task.baseline, "players": task.players, "steps": steps,
            "scale": task.scale, "seed": seed,
        }  # fmt: skip
        gone = deletion_curve(task.model, found, **rules).area
        back = insertion_curve(task.model, found, **rules).area
        missed = infidelity(task.model, found, plan, scaled=True, changes=changes)
        signed = size = absolute = float("nan")
        if stages is not None:
            random = randomisation_test(
                explainer, model, few, goal, weights=task.weights, stages=stages,
                players=whose, draws=draws, seed=seed,
            )  # fmt: skip
            signed, size = float(random.signed.mean()), float(random.size.mean())
            absolute = float(random.absolute.mean())
        share = np.divide(missed, power, out=np.zeros_like(missed), where=power > 0)
        scores.append(
            Score(
                task.name, name, estimate(gone, seed), estimate(back, seed),
                estimate(share, seed), signed, size, absolute,
            )
        )  # fmt: skip
    return sorted(scores, key=lambda s: s.deletion.mean), values


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
    """The ranking of one task as text, best first."""
    head = f"{'explainer':<24}{'deletion':<24}{'insertion':<24}{'infidelity':>10}{'random':>8}"
    lines = [head]
    for s in scores:
        mark = "control: " if s.control else ""
        lines.append(
            f"{mark + s.explainer:<24}{s.deletion!s:<24}{s.insertion!s:<24}"
            f"{s.infidelity.mean:>10.2f}{s.signed:>8.2f}"
        )
    return "\n".join(lines)
