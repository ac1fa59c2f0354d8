"""The models of the book as tasks: what is explained, what is absent, who explains.

Pictures are explained in patches of 4 × 4 pixels, reviews and sentences in words, patients in
measurements, recommendations in rated films. The reader of sentences is the one that attends. A
method that needs gradients is not offered where there are none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import lepton_ref
import lepton_ref.explain as explain
from lepton_ref.engines.base import Engine
from lepton_ref.explain.attention import WordModel, attention_to_vectors, transformer_reader
from lepton_ref.explain.attention.training import film_reviews
from lepton_ref.explain.evaluation.people import RatedByMany
from lepton_ref.explain.evaluation.players import patches, words
from lepton_ref.explain.evaluation.ranking import Task
from lepton_ref.explain.evaluation.sanity import edge_detector, random_attribution
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.explain.gradients.models import (
    FashionModel,
    PatientModel,
    ReviewModel,
    fashion_model,
    patient_model,
    review_model,
)

Explainer = Callable[..., Attribution]
PATCH, RATED, LONGEST = 4, 16, 40
SENTENCE, NUM_TEST = 20, 3000  # words; sentences kept from training, as on the page on attention


def _gradients(baseline: Any, engine: Any, steps: int) -> dict[str, Explainer]:
    """What asks for gradients alone, by name."""
    return {
        "saliency": partial(explain.saliency, engine=engine),
        "gradient_x_input": partial(explain.gradient_x_input, engine=engine),
        "smoothgrad": partial(explain.smoothgrad, samples=steps, engine=engine),
        "integrated_gradients": partial(
            explain.integrated_gradients, baseline=baseline, steps=steps, engine=engine
        ),
    }


def _controls(baseline: Any) -> dict[str, Explainer]:
    return {
        "random": partial(random_attribution, baseline=baseline),
        "edge_detector": partial(edge_detector, baseline=baseline),
    }


def _coalitions(players: Any, baseline: Any, samples: int) -> dict[str, Explainer]:
    """What asks for the output of some players at a time."""

    def mine(function: Explainer, **settings: Any) -> Explainer:
        def run(model: Any, x: Any, target: Any = None) -> Attribution:
            own = players
            if own is not None and own.ndim == np.ndim(x):
                own = own[: len(x)]
            return function(model, x, target, players=own, baseline=baseline, **settings)

        return run

    return {
        "lime": mine(explain.lime, samples=samples),
        "kernel_shap": mine(explain.kernel_shap, samples=samples),
    }


def image_task(
    count: int = 40, engine: str | Engine | None = None, samples: int = 128, seed: int = 0
) -> Task:
    """Pictures of clothes that the shipped network names; a black picture is absence.

    Parameters
    ----------
    count : int
        Test pictures, drawn at random.
    engine : str or Engine, optional
    samples : int
        Coalitions that LIME and KernelSHAP may ask for.
    seed : int
    """
    fashion: FashionModel = fashion_model(engine)
    rows = np.sort(np.random.default_rng(seed).choice(len(fashion.x), count, replace=False))
    x, model = fashion.x[rows], fashion.model
    players = patches(x.shape[1:], PATCH)
    # To the last digit: else an empty pixel would be a little off its baseline, and contribute.
    black = float(fashion.x.min())
    explainers: dict[str, Explainer] = {
        **_controls(black),
        **_gradients(black, None, 24),
        "deeplift": partial(explain.deeplift, baseline=black),
        "guided_backpropagation": explain.guided_backpropagation,
        "grad_cam": explain.grad_cam,
        "occlusion": partial(explain.occlusion, window=(1, PATCH, PATCH), baseline=black),
        **_coalitions(players, black, samples),
    }
    return Task(
        "image", model, x, black_box(model)(x).argmax(axis=1), black, explainers, players,
        model, extras={"fashion": fashion, "rows": rows},
    )  # fmt: skip


def review_task(
    count: int = 40, engine: str | Engine | None = None, samples: int = 128, seed: int = 0
) -> Task:
    """Food reviews that the shipped network has never seen; a missing word is a row of zeros.

    Parameters as in :func:`image_task`; reviews of 8 to 40 words.
    """
    review: ReviewModel = review_model(engine)
    data = lepton_ref.load("fine-foods")
    fit = [i for i, t in enumerate(data.test_texts) if 8 <= len(review.words(t)) <= LONGEST]
    rows = np.sort(np.random.default_rng(seed).choice(fit, count, replace=False))
    texts = [str(data.test_texts[i]) for i in rows]
    ids = review.tokens(texts)
    x, model = review.embed(ids), review.given(ids)
    players = words(ids != 0, review.dim)
    explainers: dict[str, Explainer] = {
        **_controls(0.0),
        **_gradients(0.0, None, 24),
        "occlusion": partial(explain.occlusion, window=(1, review.dim), baseline=0.0),
        **_coalitions(players, 0.0, samples),
    }
    return Task(
        "review", model, x, black_box(model, batch_size=len(x))(x).argmax(axis=1), 0.0, explainers,
        players, review.network,
        extras={"review": review, "texts": texts, "ids": ids, "labels": data.test_labels[rows]},
    )  # fmt: skip


def sentence_task(
    count: int = 40, engine: str | Engine | None = None, samples: int = 128, seed: int = 0
) -> Task:
    """Sentences of film reviews, and the Transformer that attends to their words.

    The model is trained as on the page on attention, with one block. A missing word is a row of
    zeros, and stays in its place.

    Saliency is not offered: this network normalises its layers, so it does not see what is added
    to all coordinates of a word alike, and the gradient of a word sums to zero.

    Parameters as in :func:`image_task`; test sentences of 8 to 20 words.
    """
    film = film_reviews(seed, NUM_TEST)
    lengths = (film.test_ids != 0).sum(axis=1)
    fit = np.flatnonzero((lengths >= 8) & (lengths <= SENTENCE))
    rows = np.sort(np.random.default_rng(seed).choice(fit, count, replace=False))
    ids = film.test_ids[rows, : lengths[rows].max()]
    reader = transformer_reader(seed, engine, NUM_TEST, num_layers=1)
    model = WordModel(reader, ids)
    x = model.vectors
    players = words(ids != 0, x.shape[2])
    explainers: dict[str, Explainer] = {
        **_controls(0.0),
        "attention_weights": attention_to_vectors,
        "attention_rollout": partial(attention_to_vectors, rolled=True),
        "gradient_x_input": explain.gradient_x_input,
        "integrated_gradients": partial(explain.integrated_gradients, baseline=0.0, steps=24),
        "occlusion": partial(explain.occlusion, window=(1, x.shape[2]), baseline=0.0),
        **_coalitions(players, 0.0, samples),
    }
    return Task(
        "sentence", model, x, black_box(model, batch_size=len(x))(x).argmax(axis=1), 0.0,
        explainers, players, reader,
        extras={"film": film, "rows": rows, "ids": ids, "labels": film.test_labels[rows]},
    )  # fmt: skip


def patient_task(
    count: int | None = None, engine: str | Engine | None = None, samples: int = 256, seed: int = 0
) -> Task:
    """All patients of the test set, 30 measurements each; absent means the mean patient.

    Parameters as in :func:`image_task`.
    """
    patients: PatientModel = patient_model(seed, engine)
    x, model = patients.test_x[:count], patients.model
    explainers: dict[str, Explainer] = {
        **_controls(0.0),
        **_gradients(0.0, None, 24),
        "deeplift": partial(explain.deeplift, baseline=0.0),
        "guided_backpropagation": explain.guided_backpropagation,
        "occlusion": partial(explain.occlusion, baseline=0.0),
        **_coalitions(None, 0.0, samples),
    }
    return Task(
        "patient", model, x, black_box(model)(x).argmax(axis=1), 0.0, explainers, None, model,
        extras={"patients": patients},
    )  # fmt: skip


def recommendation_task(count: int = 120, samples: int = 96, seed: int = 0) -> Task:
    """People's ratings of 16 films, and the film suggested to them; absent means not rated.

    The recommender computes with NumPy and has no gradient: it is a black box. The edge detector's
    place takes how far a rating is from none, that is the rating itself.

    Parameters as in :func:`image_task`.
    """
    data = lepton_ref.load("movielens-100k")
    model: Any = copy.copy(lepton_ref.load_model("matrix_factorization_model"))
    model.scale = None  # predictions cut at five stars could neither rise nor fall
    rng = np.random.default_rng(seed)
    column = {item: i for i, item in enumerate(np.asarray(model.item_ids).tolist())}
    often = np.unique(data.users)[np.unique(data.users, return_counts=True)[1] >= RATED]
    people = np.sort(rng.choice(often, count, replace=False))
    columns, ratings = np.empty((count, RATED), np.int64), np.empty((count, RATED))
    for i, person in enumerate(people):
        rows = np.flatnonzero(data.users == person)
        rows = rows[np.argsort(data.times[rows], kind="stable")][-RATED:]
        columns[i] = [column[item] for item in data.items[rows].tolist()]
        ratings[i] = data.ratings[rows]
    box = RatedByMany(model, columns)
    suggested = box(ratings).argmax(axis=1)
    explainers: dict[str, Explainer] = {
        **_controls(0.0),
        "occlusion": partial(explain.occlusion, baseline=0.0),
        **_coalitions(None, 0.0, samples),
        "permutation_shapley": partial(
            explain.permutation_shapley,
            permutations=max(2, samples // RATED // 2 * 2),
            baseline=0.0,
        ),
    }
    return Task(
        "recommendation", box, ratings, suggested, 0.0, explainers, None, model,
        "score", extras={"titles": data.titles, "people": people, "columns": columns, "data": data},
    )  # fmt: skip
