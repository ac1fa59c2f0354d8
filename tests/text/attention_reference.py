"""Attention and the Transformer block written a second time: loops, float64, nothing shared."""

from __future__ import annotations

import math

import numpy as np


def softmax_row(z):
    e = [math.exp(value) for value in z]
    return np.array([value / sum(e) for value in e])


def attention_rows(q, k, v, allowed=None):
    """Row by row, key by key: (T, d), (S, d), (S, e) -> (T, e), (T, S)."""
    t_steps, d = q.shape
    weights, out = np.zeros((t_steps, len(k))), np.zeros((t_steps, v.shape[1]))
    for t in range(t_steps):
        keys = [s for s in range(len(k)) if allowed is None or allowed[t, s]]
        scores = [sum(q[t, i] * k[s, i] for i in range(d)) / math.sqrt(d) for s in keys]
        total = sum(math.exp(z) for z in scores)
        for s, z in zip(keys, scores):
            weights[t, s] = math.exp(z) / total
            out[t] += weights[t, s] * v[s]
    return out, weights


def layer_norm(x, gamma, beta, eps=1e-5):
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape[:-1]):
        row = x[index]
        mean = sum(row) / len(row)
        variance = sum((value - mean) ** 2 for value in row) / len(row)
        y[index] = gamma * (row - mean) / math.sqrt(variance + eps) + beta
    return y


def multi_head(state, x, num_heads, allowed=None, prefix=""):
    """One sequence (T, D); the heads' results are added, one after the other."""
    w = {n: state[f"{prefix}{n}.weight"] for n in ("query", "key", "value", "output")}
    b = {n: state[f"{prefix}{n}.bias"] for n in w}
    d = x.shape[1] // num_heads
    y = np.tile(b["output"], (len(x), 1))
    for head in range(num_heads):
        at = slice(head * d, (head + 1) * d)
        q, k, v = (x @ w[n][:, at] + b[n][at] for n in ("query", "key", "value"))
        y = y + attention_rows(q, k, v, allowed)[0] @ w["output"][at]
    return y


def network(state, x, prefix=""):
    hidden = np.maximum(x @ state[f"{prefix}expand.weight"] + state[f"{prefix}expand.bias"], 0)
    return hidden @ state[f"{prefix}contract.weight"] + state[f"{prefix}contract.bias"]


def parts(state, num_heads, allowed=None, prefix=""):
    """The two parts of a block and their two normalisations, as functions of (T, D)."""

    def norm(i):
        gamma, beta = state[f"{prefix}norm_{i}.gamma"], state[f"{prefix}norm_{i}.beta"]
        return lambda x: layer_norm(x, gamma, beta)

    attend = lambda x: multi_head(state, x, num_heads, allowed, f"{prefix}attention.")
    return [(attend, norm(1)), (lambda x: network(state, x, prefix), norm(2))]


def jacobian_of(f, x, eps=1e-6):
    """Entry by entry, central differences: (outputs, inputs)."""
    columns = []
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = eps
        columns.append((f(x + step) - f(x - step)).ravel() / (2 * eps))
    return np.array(columns).T
