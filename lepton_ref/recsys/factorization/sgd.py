"""One pass of stochastic gradient descent over the ratings, for two models of a rating.

Source: Funk (2006), *Netflix update: try this at home*; Koren (2008), *Factorization meets the
neighborhood*; Koren, Bell and Volinsky (2009), *Matrix factorization techniques for recommender
systems*.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.compiled import compiled


@compiled
def biased_epoch(users, items, values, mean, bu, bi, P, Q, lr, reg_bias, reg):
    """Visit the ratings in the order given and update the model after each, in place.

    With e = r − (μ + b_u + b_i + p·q): b_u += η (e − λ_b b_u), b_i += η (e − λ_b b_i),
    p += η (e q − λ p), q += η (e p − λ q), both with the p and q of before
    (eqs. factorization-prediction, factorization-gradients, factorization-sgd).

    Parameters
    ----------
    users, items : int64 (n,)
    values : float64 (n,)
    mean : float
        μ.
    bu, bi : float64 (U,), (I,)
        Biases.
    P, Q : float64 (U, k), (I, k)
        Factors.
    lr, reg_bias, reg : float
        η, λ_b and λ.

    Returns
    -------
    float
        Sum of the squared errors, each as it was before its update.
    """
    k = P.shape[1]
    total = 0.0
    for row in range(len(users)):
        u = users[row]
        i = items[row]
        dot = 0.0
        for f in range(k):
            dot += Q[i, f] * P[u, f]
        e = values[row] - (mean + bu[u] + bi[i] + dot)
        total += e * e
        bu[u] += lr * (e - reg_bias * bu[u])
        bi[i] += lr * (e - reg_bias * bi[i])
        for f in range(k):
            p = P[u, f]
            q = Q[i, f]
            P[u, f] += lr * (e * q - reg * p)
            Q[i, f] += lr * (e * p - reg * q)
    return total


@compiled
def svdpp_epoch(
    order,
    indptr,
    items,
    days,
    values,
    mean,
    bu,
    bi,
    bd,
    P,
    Q,
    Y,
    lr,
    lr_day,
    reg_bias,
    reg_day,
    reg,
):
    """Visit the users in the order given, and all ratings of each, one after another.

    The user is p + |I|^-½ Σ_j y_j. A rating moves all y_j of the user alike: shrink by
    1 − η λ and add η e q |I|^-½. So their sum s is enough while the user lasts, and the y_j
    themselves are brought up to date at the end, at once: the same numbers as an update after
    every rating, for 1 / |I| of the work (eqs. svdpp-sum, svdpp-lazy).

    Parameters
    ----------
    order : int64 (m,)
        Users to visit.
    indptr, items, days, values : int64 (U + 1,), int64 (n,), int64 (n,), float64 (n,)
        The ratings, user by user, as a CSR matrix has them; ``days`` are positions in ``bd``.
    bd : float64 (D,)
        Bias of each day of each user (eq. svdpp-day); it stays at zero with ``lr_day`` 0.
    Y : float64 (I, k)
        What having rated an item says of a user. Others as in :func:`biased_epoch`.

    Returns
    -------
    float
        Sum of the squared errors, each as it was before its update.
    """
    k = P.shape[1]
    shrink = 1.0 - lr * reg
    s = np.empty(k)
    moved = np.empty(k)
    total = 0.0
    for u in order:
        start = indptr[u]
        end = indptr[u + 1]
        n = end - start
        if n == 0:
            continue
        root = 1.0 / np.sqrt(n)
        s[:] = 0.0
        moved[:] = 0.0
        for row in range(start, end):
            for f in range(k):
                s[f] += Y[items[row], f]
        for row in range(start, end):
            i = items[row]
            dot = 0.0
            for f in range(k):
                dot += Q[i, f] * (P[u, f] + root * s[f])
            day = days[row]
            e = values[row] - (mean + bu[u] + bi[i] + bd[day] + dot)
            total += e * e
            bu[u] += lr * (e - reg_bias * bu[u])
            bi[i] += lr * (e - reg_bias * bi[i])
            bd[day] += lr_day * (e - reg_day * bd[day])
            for f in range(k):
                p = P[u, f]
                q = Q[i, f]
                P[u, f] += lr * (e * q - reg * p)
                Q[i, f] += lr * (e * (p + root * s[f]) - reg * q)
                step = lr * e * q * root
                s[f] = shrink * s[f] + n * step
                moved[f] = shrink * moved[f] + step
        kept = shrink**n
        for row in range(start, end):
            for f in range(k):
                Y[items[row], f] = kept * Y[items[row], f] + moved[f]
    return total
