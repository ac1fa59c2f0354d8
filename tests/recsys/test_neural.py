"""Page recsys/neural: equations on every engine, models, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.losses import binary_cross_entropy_with_logits
from lepton_ref.framework.optimizers import SGD
from lepton_ref.recsys.evaluation import (
    BiasBaseline,
    Popularity,
    Ratings,
    movielens,
    ranking_report,
    rmse,
    stratified_split,
)
from lepton_ref.recsys.neural import (
    Autoencoder,
    AutoRec,
    LightGCN,
    NeuMF,
    NeuralCF,
    Propagation,
    Tower,
    TwoTowers,
    in_batch_softmax,
    labelled_pairs,
    masked_loss,
    minimise,
    normalised,
    triples,
)
from tests.data import load_or_skip
from tests.numeric import numerical_gradient, relative_error
from tests.recsys.test_ranking import table

SMALL = {
    LightGCN: {"num_factors": 4, "epochs": 2, "batch_size": 64},
    NeuralCF: {"num_factors": 4, "hidden": (6, 4), "epochs": 2, "batch_size": 64},
    TwoTowers: {"num_factors": 4, "epochs": 2, "batch_size": 32},
    AutoRec: {"hidden_size": 4, "epochs": 2, "batch_size": 5},
}
MODELS = list(SMALL)


def quick(model, **options):
    return model(**{**SMALL[model], **options})


def binary_loss(logits, labels, engine):
    return binary_cross_entropy_with_logits(logits, labels, engine=engine)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def grads_of(engine, loss, params):
    """Value and gradients, in NumPy, of float64 parameters."""
    leaves = {k: engine.parameter(v, dtype="float64") for k, v in params.items()}
    value, grads = engine.value_and_grad(loss)(leaves)
    return float(value), {k: engine.asnumpy(g) for k, g in grads.items()}


# --- a yes or no ---------------------------------------------------------------------------


@pytest.mark.equation("neural-binary", "neural-binary-gradient")
def test_binary_loss(engine, rng, prove):
    """Logarithms of probabilities, one by one; and σ(z) − y."""
    z, y = 3 * rng.normal(size=9), (rng.random(9) < 0.4).astype(float)
    wanted = -np.mean([np.log(sigmoid(a) if b else 1 - sigmoid(a)) for a, b in zip(z, y)])
    labels = engine.array(y, dtype="float64")
    value, grads = grads_of(engine, lambda p: binary_loss(p["z"], labels, engine), {"z": z})
    prove(value, wanted, oracle="logarithms", label="neural-binary", tol=1e-12)
    prove(
        9 * grads["z"], sigmoid(z) - y, oracle="closed form",
        label="neural-binary-gradient", tol=1e-12,
    )  # fmt: skip


@pytest.mark.equation("neural-twice")
def test_a_sigmoid_twice(engine, rng, prove):
    """The gradient that is left, against differences; and no probability below one half."""
    z, y = 3 * rng.normal(size=9), (rng.random(9) < 0.4).astype(float)
    labels = engine.array(y, dtype="float64")
    _, grads = grads_of(
        engine, lambda p: binary_loss(engine.sigmoid(p["z"]), labels, engine), {"z": z}
    )
    once, twice = sigmoid(z), sigmoid(sigmoid(z))
    prove(9 * grads["z"], (twice - y) * once * (1 - once), oracle="closed form", tol=1e-12)

    def by_hand(x):
        p = sigmoid(sigmoid(x))
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    prove(grads["z"], numerical_gradient(by_hand, z), tol=1e-6)
    assert twice.min() > 0.5 and twice.max() < sigmoid(1.0)


def test_labelled_pairs_and_triples(rng):
    data = table(rng)
    seen = data.matrix()
    had = seen.toarray() != 0
    pairs = list(labelled_pairs(data, seen, 2, 50, 3, rng))
    users, items, labels = (np.concatenate(c) for c in zip(*pairs))
    np.testing.assert_array_equal(had[users, items], labels == 1)
    assert len(labels) == 2 * 4 * len(data) and labels.sum() == 2 * len(data)
    users, items, others = (np.concatenate(c) for c in zip(*triples(data, seen, 3, 40, rng)))
    assert had[users, items].all() and not had[users, others].any()
    assert len(users) == 3 * len(data)


# --- neural collaborative filtering ----------------------------------------------------------


@pytest.mark.equation("neural-neumf")
def test_neumf_by_hand(engine, rng, prove):
    net = NeuMF(5, 6, 3, (4, 2), rng=rng).astype("float64")
    s = net.state()
    u, i = np.array([0, 4, 2, 2]), np.array([5, 0, 3, 5])
    wanted = []
    for a, b in zip(u, i):
        h = np.concatenate([s["deep_user"][a], s["deep_item"][b]])
        for k in range(2):
            h = np.maximum(h @ s[f"layers.{k}.weight"] + s[f"layers.{k}.bias"], 0)
        both = np.concatenate([s["user"][a] * s["item"][b], h])
        wanted.append(both @ s["head.weight"][:, 0] + s["head.bias"][0])
    found = engine.asnumpy(net(engine.array(u), items=engine.array(i)))
    prove(found, np.array(wanted), oracle="one by one", tol=1e-12)


# --- two towers ------------------------------------------------------------------------------


def softmax_by_hand(u, v, items, log_q, temperature):
    total = 0.0
    for a in range(len(u)):
        logits = [
            u[a] @ v[b] / temperature - log_q[b]
            for b in range(len(u))
            if b == a or items[b] != items[a]
        ]
        own = u[a] @ v[a] / temperature - log_q[a]
        total += np.log(np.sum(np.exp(logits))) - own
    return total / len(u)


@pytest.mark.equation("neural-logq", "neural-softmax-gradient")
def test_in_batch_softmax(engine, rng, prove):
    """Row by row, an item that is there twice among them; gradients from softmax − 1."""
    u, v = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    items, log_q = np.array([7, 2, 7, 1, 0]), np.log(rng.random(5))
    lq = engine.array(log_q, dtype="float64")

    def loss(p):
        return in_batch_softmax(p["u"], p["v"], engine.array(items), lq, 0.7, engine)

    value, grads = grads_of(engine, loss, {"u": u, "v": v})
    wanted = softmax_by_hand(u, v, items, log_q, 0.7)
    prove(value, wanted, oracle="loops", label="neural-logq", tol=1e-10)
    S = u @ v.T / 0.7 - log_q
    S[0, 2] = S[2, 0] = -np.inf
    dS = (np.exp(S) / np.exp(S).sum(1, keepdims=True) - np.eye(5)) / 5 / 0.7
    by_hand = {"u": dS @ v, "v": dS.T @ u}
    prove(grads, by_hand, oracle="closed form", label="neural-softmax-gradient", tol=1e-10)
    numeric = numerical_gradient(
        lambda p: softmax_by_hand(p["u"], p["v"], items, log_q, 0.7), {"u": u, "v": v}
    )
    prove(grads, numeric, label="neural-softmax-gradient", tol=1e-6)


@pytest.mark.equation("neural-partition")
def test_dividing_by_q_makes_the_partition_sum_unbiased(rng, prove):
    """All 4³ batches of three items, each with its probability."""
    s, q = rng.normal(size=4), np.array([0.5, 0.3, 0.15, 0.05])
    mean = 0.0
    for batch in np.ndindex(4, 4, 4):
        rows = list(batch)
        mean += np.prod(q[rows]) * np.mean(np.exp(s[rows] - np.log(q[rows])))
    prove(mean, np.exp(s).sum(), oracle="all batches", tol=1e-12)


def test_features_reach_items_that_nobody_has(rng):
    """Items of two kinds; of one kind the last has no row, and is still told from the other."""
    data = table(rng, 120, 16)  # even items for one taste, odd for the other; 15 is cold
    kind = np.stack([np.arange(16) % 2 == 0, np.arange(16) % 2 == 1], 1)
    options = {"num_factors": 8, "epochs": 60, "batch_size": 64, "lr": 0.02}
    with_features = TwoTowers(item_features=kind, **options).fit(data)
    scores = with_features.scores()[:-1]
    odd = scores[:, [1, 3, 5]].mean(1) > scores[:, [0, 2, 4]].mean(1)
    cold = scores[:, 15] - scores[:, :15].mean(1)
    assert cold[odd].mean() > cold[~odd].mean() + 0.2
    without = TwoTowers(**options).fit(data).scores()
    assert (without.argmin(1) == 15).all(), "nothing is known: last"
    both = quick(TwoTowers, item_features=kind, user_features=np.eye(120)).fit(data)
    assert np.isfinite(both.scores()).all()


# --- AutoRec ---------------------------------------------------------------------------------


def autorec_by_hand(p, x, mask, reg):
    out = sigmoid(x @ p["encoder.weight"] + p["encoder.bias"]) @ p["decoder.weight"]
    out = out + p["decoder.bias"]
    total = sum(
        (out[n, d] - x[n, d]) ** 2 for n in range(len(x)) for d in range(x.shape[1]) if mask[n, d]
    )
    squares = (p["encoder.weight"] ** 2).sum() + (p["decoder.weight"] ** 2).sum()
    return (total + reg / 2 * squares) / len(x)


@pytest.mark.equation("neural-autorec", "neural-autorec-gradient")
def test_autorec_loss_and_gradient(engine, rng, prove):
    """Loops over known entries; the backward pass written out; differences."""
    net = Autoencoder(6, 3, rng=rng).astype("float64")
    mask = rng.random((4, 6)) < 0.5
    x, reg = rng.normal(size=(4, 6)) * mask, 0.4
    p = net.state()
    X, M = (engine.array(a.astype(float), dtype="float64") for a in (x, mask))
    value, grads = grads_of(engine, lambda q: masked_loss(net, q, X, M, reg), p)
    prove(
        value, autorec_by_hand(p, x, mask, reg), oracle="loops", label="neural-autorec", tol=1e-12
    )
    h = sigmoid(x @ p["encoder.weight"] + p["encoder.bias"])
    dout = 2 * (h @ p["decoder.weight"] + p["decoder.bias"] - x) * mask / 4
    dz = dout @ p["decoder.weight"].T * h * (1 - h)
    by_hand = {
        "decoder.weight": h.T @ dout + reg / 4 * p["decoder.weight"], "decoder.bias": dout.sum(0),
        "encoder.weight": x.T @ dz + reg / 4 * p["encoder.weight"], "encoder.bias": dz.sum(0),
    }  # fmt: skip
    prove(grads, by_hand, oracle="closed form", label="neural-autorec-gradient", tol=1e-10)
    numeric = numerical_gradient(lambda q: autorec_by_hand(q, x, mask, reg), p)
    prove(grads, numeric, label="neural-autorec-gradient", tol=1e-6)


# --- LightGCN --------------------------------------------------------------------------------


@pytest.mark.equation("lightgcn-propagation")
def test_propagation_is_a_sum_over_neighbours(prove, rng):
    """One layer by loops over the rows of the table; and as scipy's sparse product."""
    data = table(rng)
    seen, R = data.matrix(), normalised(data.matrix())
    items, by_hand = rng.normal(size=(12, 3)), np.zeros((30, 3))
    of_user = np.bincount(data.users, minlength=30)
    of_item = np.bincount(data.items, minlength=12)
    for u, i in zip(data.users, data.items):
        by_hand[u] += items[i] / np.sqrt(of_user[u]) / np.sqrt(of_item[i])
    prove(R.astype(np.float64) @ items, by_hand, oracle="loops", tol=1e-6)
    sparse = seen.copy()
    sparse.data[:] = (
        1 / np.sqrt(of_user[data.users] * of_item[data.items])[np.lexsort((data.items, data.users))]
    )
    prove(R.astype(np.float64) @ items, sparse @ items, oracle="scipy", tol=1e-6)


def filter_of(R, K):
    U, I = R.shape
    A = np.block([[np.zeros((U, U)), R], [R.T, np.zeros((I, I))]])
    return sum(np.linalg.matrix_power(A, k) for k in range(K + 1)) / (K + 1)


@pytest.mark.equation("lightgcn-mean", "lightgcn-filter", "lightgcn-gradient")
@pytest.mark.parametrize("K", [0, 1, 3])
def test_lightgcn_is_one_symmetric_matrix(engine, rng, prove, K):
    """The layers against powers of the whole adjacency; the gradient is the same matrix."""
    R = normalised(table(rng, 7, 5).matrix()).astype(np.float64)
    net = Propagation(R, 3, K, rng=rng).astype("float64")
    s, M = net.state(), filter_of(R, K)
    start = np.concatenate([s["users"], s["items"]])
    u, i = net(None)
    found = np.concatenate([engine.asnumpy(u), engine.asnumpy(i)])
    prove(found, M @ start, oracle="matrix powers", label="lightgcn-mean", tol=1e-6)
    whole = Propagation(R, 12, K, rng=rng).astype("float64")
    whole.load_state({"users": np.eye(12)[:7], "items": np.eye(12)[7:], "adjacency": R})
    itself = np.concatenate([engine.asnumpy(e) for e in whole(None)])  # of the identity
    prove(itself, M, oracle="matrix powers", label="lightgcn-filter", tol=1e-6)
    np.testing.assert_allclose(itself, itself.T, atol=1e-7)
    dy = rng.normal(size=(12, 3))
    du, di = (engine.array(a, dtype="float64") for a in (dy[:7], dy[7:]))

    def loss(p):
        a, b = net.apply(p, None)
        return engine.sum(a * du) + engine.sum(b * di)

    _, grads = grads_of(engine, loss, {k: s[k] for k in ("users", "items")})
    got = np.concatenate([grads["users"], grads["items"]])
    prove(got, M @ dy, oracle="closed form", label="lightgcn-gradient", tol=1e-6)


@pytest.mark.equation("lightgcn-oversmoothing")
def test_many_layers_leave_the_degrees(prove):
    """On a connected graph, two layers at a time: rank one on each side, √degree."""
    rng = np.random.default_rng(5)
    data = Ratings.of(*np.nonzero(rng.random((6, 5)) < 0.7))
    R = normalised(data.matrix()).astype(np.float64)
    start = rng.normal(size=6)
    root = np.sqrt(np.bincount(data.users))
    wanted = root * (root @ start) / (root @ root)
    prove(np.linalg.matrix_power(R @ R.T, 300) @ start, wanted, oracle="closed form", tol=1e-5)


def test_lightgcn_loss_by_hand(engine, rng):
    R = normalised(table(rng, 7, 5).matrix()).astype(np.float64)
    net = Propagation(R, 3, 2, rng=rng).astype("float64")
    s, (u, i, j) = net.state(), np.array([[0, 3, 3], [1, 0, 2], [4, 1, 1]])
    final = filter_of(R, 2) @ np.concatenate([s["users"], s["items"]])
    x = (final[u] * (final[7 + i] - final[7 + j])).sum(1)
    raw = sum((s["users"][a] ** 2).sum() for a in u)
    raw += sum((s["items"][a] ** 2).sum() for a in np.concatenate([i, j]))
    wanted = np.logaddexp(0, -x).mean() + 0.3 / 2 * raw / 3
    params = net.parameters()
    found = net.bpr(params, *(engine.array(a) for a in (u, i, j)), 0.3)
    assert relative_error(engine.asnumpy(found), wanted) < 1e-6


# --- all models ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_engines_agree(model, rng):
    """The same seed on every engine: losses and scores after training."""
    data, found = table(rng), {}
    for name in lepton_ref.engines.installed():
        fitted = quick(model, engine=name).fit(data)
        found[name] = np.array(fitted.losses), fitted.scores()
    for losses, scores in found.values():
        np.testing.assert_allclose(losses, found["numpy"][0], rtol=1e-3)
        np.testing.assert_allclose(scores, found["numpy"][1], atol=2e-3)


@pytest.mark.parametrize("model", MODELS)
def test_shapes_seeds_and_cold_rows(model, rng):
    data = table(rng)
    fitted = quick(model).fit(data)
    scores = fitted.scores()
    assert scores.shape == (30, 12) and scores.dtype == np.float64 and np.isfinite(scores).all()
    np.testing.assert_array_equal(quick(model).fit(data).scores(), scores)
    assert np.abs(quick(model, seed=3).fit(data).scores() - scores).max() > 1e-4
    popular = np.argsort(-np.bincount(data.items, minlength=12), kind="stable")
    assert fitted.recommend([29], k=12)[0].tolist() == popular.tolist(), "no history"
    assert (fitted.recommend(k=12, exclude_seen=False)[:, -1] == 11).all(), "no row: last"
    seen = data.matrix().toarray() != 0
    best = fitted.recommend(k=3)
    assert not any(seen[u, i] for u in range(30) for i in best[u] if i >= 0)


def test_a_step_goes_downhill(engine, rng):
    """``minimise`` with plain descent on one batch: the loss falls and parameters move."""
    net = NeuMF(5, 6, 3, (4, 2), rng=rng)
    batch = np.array([0, 1, 4]), np.array([5, 2, 2]), np.array([1, 0, 1], np.float32)

    def loss(p, u, i, y):
        return binary_loss(net.apply(p, u, items=i), y, engine)

    losses = minimise(net, loss, [batch] * 30, SGD(0.5, engine=engine))
    assert losses[-1] < 0.7 * losses[0] and len(losses) == 30


def test_autorec_predicts_ratings(rng):
    data = table(rng)
    model = quick(AutoRec).fit(data)
    r = model.predict([0, 29, 3, 29], [2, 2, 11, 11])
    assert r.shape == (4,) and (r >= 1).all() and (r <= 5).all()
    assert np.isclose(r[3], model.mean), "neither is known: the mean of all"
    assert np.isclose(r[1], np.clip(model.mean + model.item_bias[2], 1, 5))
    loose = quick(AutoRec, clip=False).fit(data)
    np.testing.assert_allclose(
        loose.predict([0, 1], [1, 2]), loose.scores([0, 1])[[0, 1], [1, 2]], rtol=1e-12
    )
    with pytest.raises(ArgumentError, match=r"`items` has shape \(1,\); expected \(2,\)"):
        model.predict([0, 1], [1])


@pytest.mark.parametrize("model", MODELS)
def test_learns_real_films(model):
    """A few epochs on MovieLens, numpy: far better than what is popular (0.243)."""
    train, test = stratified_split(movielens(load_or_skip("movielens-100k")), seed=0)
    if model is AutoRec:
        fitted = AutoRec(epochs=12, hidden_size=40, engine="numpy").fit(train)
        base = BiasBaseline().fit(train)
        error = rmse(fitted.predict(test.users, test.items), test.values)
        assert error < rmse(base.predict(test.users, test.items), test.values) - 0.003
        return
    options = {
        LightGCN: {"epochs": 4, "num_factors": 16, "lr": 0.06},
        NeuralCF: {"epochs": 2, "negatives": 2, "lr": 0.01},
        TwoTowers: {"epochs": 1, "lr": 0.03, "num_factors": 16},
    }[model]
    fitted = model(**options, engine="numpy").fit(train)
    popular = ranking_report(Popularity().fit(train).recommend(), test).ndcg
    assert ranking_report(fitted.recommend(), test).ndcg > popular + 0.05


# --- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LightGCN(num_layers=-1), "`num_layers` has the value -1"),
        (lambda: LightGCN(lr=0), "`lr` has the value 0"),
        (lambda: LightGCN().scores(), "no training set yet"),
        (lambda: Propagation(np.eye(2)), "`rng` has no value"),
        (lambda: NeuralCF(negatives=0), "`negatives` has the value 0"),
        (lambda: NeuMF(2, 2, 2, (), np.random.default_rng(0)), r"`hidden` has the value \(\)"),
        (lambda: NeuMF(2, 2, 2, (1,), np.random.default_rng(0)), "widths from 2"),
        (lambda: NeuMF(2, 2), "`rng` has no value"),
        (lambda: Tower(2, 2), "`rng` has no value"),
        (lambda: TwoTowers(temperature=0.0), "`temperature` has the value 0.0"),
        (lambda: AutoRec(reg=np.inf), "`reg` has the value inf"),
        (
            lambda: TwoTowers(item_features=np.zeros((3, 2))).fit(Ratings.of([0, 1], [0, 1])),
            r"`item_features` has shape \(3, 2\); expected finite numbers \(2, C\)",
        ),
        (
            lambda: TwoTowers(user_features=[[np.nan], [0]]).fit(Ratings.of([0, 1], [0, 1])),
            "NaN or infinity",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_a_graph_too_large_for_a_dense_matrix():
    from scipy.sparse import csr_matrix

    with pytest.raises(ArgumentError, match="at most 100,000,000 cells"):
        normalised(csr_matrix((20_000, 20_000)))


@pytest.mark.parametrize("model", MODELS)
def test_names_as_ids_and_a_user_who_has_everything(model):
    people, things = ["ann"] * 3 + ["bob", "cy", "cy"], ["x", "y", "z", "x", "y", "z"]
    train = Ratings.of(
        people, things, [5.0, 4, 1, 2, 4, 3], scale=(1, 5),
        user_ids=["ann", "bob", "cy", "dora"], item_ids=["x", "y", "z"],
    )  # fmt: skip
    lists = quick(model, engine="numpy").fit(train).recommend(k=5)  # more than there are
    assert lists.shape == (4, 5) and (lists[train.user("ann")] == -1).all()
    assert sorted(lists[train.user("dora")][:3]) == [0, 1, 2]
    assert set(lists[train.user("bob")][:2]) == {train.item("y"), train.item("z")}
