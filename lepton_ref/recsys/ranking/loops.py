"""The sequential loops of BPR and WARP, one step after the other, and the sampling before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lepton_ref.framework.compiled import compiled

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@compiled
def bpr_pass(users, items, others, P, Q, b, lr, reg, bias_reg):
    """One step of BPR for each triple (u, i, j), in order; P, Q and b move in place.

    With x = b_i − b_j + p_u·(q_i − q_j) and g = σ(−x) (eq. bpr-gradient):
    p_u ← p_u + lr (g (q_i − q_j) − reg p_u), and so on.

    Returns
    -------
    loss, weight : float
        Means of ln(1 + e^−x) and of g over the triples, each before its own step.
    """
    loss = 0.0
    weight = 0.0
    for n in range(len(users)):
        u, i, j = users[n], items[n], others[n]
        x = b[i] - b[j]
        for f in range(P.shape[1]):
            x += P[u, f] * (Q[i, f] - Q[j, f])
        e = np.exp(-abs(x))  # at most 1: neither form overflows
        g = e / (1 + e) if x > 0 else 1 / (1 + e)
        loss += max(-x, 0.0) + np.log1p(e)
        weight += g
        b[i] += lr * (g - bias_reg * b[i])
        b[j] += lr * (-g - bias_reg * b[j])
        for f in range(P.shape[1]):
            p, qi, qj = P[u, f], Q[i, f], Q[j, f]
            P[u, f] += lr * (g * (qi - qj) - reg * p)
            Q[i, f] += lr * (g * p - reg * qi)
            Q[j, f] += lr * (-g * p - reg * qj)
    return loss / len(users), weight / len(users)


@compiled
def warp_pass(users, items, drawn, indptr, indices, P, Q, b, phi, lr, reg):
    """One step of WARP for each pair (u, i), in order; P, Q and b move in place.

    Of the items ``drawn[n]`` those that u has seen are passed over. The N-th of the others is the
    first whose score comes within 1 of that of i: the step is that of the hinge, times the weight
    Φ of the rank that N suggests (eqs. warp-estimate, warp-gradient). None: no step.

    Parameters
    ----------
    drawn : int array, shape (n, T)
    indptr, indices : int arrays
        What each user has seen, ascending (CSR).
    phi : float array, shape (n_items + 1,)
        Φ(r) for r = 0 … n_items.

    Returns
    -------
    found, trials : float
        Share of the pairs that took a step, and unseen items looked at per pair.
    """
    n_items = len(b)
    found = 0
    trials = 0
    for n in range(len(users)):
        u, i = users[n], items[n]
        seen = indices[indptr[u] : indptr[u + 1]]
        s = b[i]
        for f in range(P.shape[1]):
            s += P[u, f] * Q[i, f]
        N = 0
        for t in range(drawn.shape[1]):
            j = drawn[n, t]
            at = np.searchsorted(seen, j)
            if at < len(seen) and seen[at] == j:
                continue
            N += 1
            x = b[j]
            for f in range(P.shape[1]):
                x += P[u, f] * Q[j, f]
            if x > s - 1:
                w = phi[(n_items - len(seen)) // N]
                b[i] += lr * w
                b[j] -= lr * w
                for f in range(P.shape[1]):
                    p, qi, qj = P[u, f], Q[i, f], Q[j, f]
                    P[u, f] += lr * (w * (qi - qj) - reg * p)
                    Q[i, f] += lr * (w * p - reg * qi)
                    Q[j, f] += lr * (-w * p - reg * qj)
                found += 1
                break
        trials += N
    return found / len(users), trials / len(users)


def unseen_items(seen: csr_matrix, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One item for each of ``users`` (n,) that the user has not seen, all equally likely.

    Drawn from all items; those that were seen are drawn again. A user who has seen everything
    gets any item.
    """
    n_items = seen.shape[1]
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    known = rows * n_items + seen.indices  # ascending
    drawn = rng.integers(0, n_items, len(users))
    again = np.flatnonzero(np.diff(seen.indptr)[users] < n_items)
    while len(again):
        pairs = users[again] * n_items + drawn[again]
        at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
        again = again[known[at] == pairs]
        drawn[again] = rng.integers(0, n_items, len(again))
    return drawn
