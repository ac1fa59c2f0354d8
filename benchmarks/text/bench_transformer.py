"""A Transformer's training step: two pre-norm blocks, the mean over time, a dense layer."""

from __future__ import annotations

import numpy as np

from benchmarks.framework.bench_training import _ours, _torch
from benchmarks.rows import Arrays, Row, normal

N, T, D, HEADS, F, BLOCKS, CLASSES = 16, 64, 128, 4, 512, 2, 10
#: The arrays of a block in the order of our parameters: name, shape, scale (None: a gain of 1).
BLOCK: tuple[tuple[str, tuple[int, ...], float | None], ...] = (
    ("gamma_1", (D,), None), ("beta_1", (D,), 0.1),
    ("w_q", (D, D), D**-0.5), ("b_q", (D,), 0.1),
    ("w_k", (D, D), D**-0.5), ("b_k", (D,), 0.1),
    ("w_v", (D, D), D**-0.5), ("b_v", (D,), 0.1),
    ("w_o", (D, D), D**-0.5), ("b_o", (D,), 0.1),
    ("gamma_2", (D,), None), ("beta_2", (D,), 0.1),
    ("w_1", (D, F), D**-0.5), ("b_1", (F,), 0.1),
    ("w_2", (F, D), F**-0.5), ("b_2", (D,), 0.1),
)  # fmt: skip
LAST = (
    ("gamma", (D,), None),
    ("beta", (D,), 0.1),
    ("w", (D, CLASSES), 0.1),
    ("c", (CLASSES,), 0.1),
)
NAMES = [f"{name}.{i}" for i in range(BLOCKS) for name, _, _ in BLOCK] + [n for n, _, _ in LAST]


def _inputs(rng: np.random.Generator) -> Arrays:
    arrays = {"x": normal(rng, N, T, D), "labels": rng.integers(0, CLASSES, N)}
    made = [(f"{n}.{i}", s, scale) for i in range(BLOCKS) for n, s, scale in BLOCK] + list(LAST)
    for name, shape, scale in made:
        one = scale is None
        arrays[name] = normal(rng, *shape, scale=0.1 if one else scale) + np.float32(one)
    return arrays


row = Row(
    f"Transformer, 2 blocks of {D}, {HEADS} heads, T {T}, to dense {CLASSES}; batch {N}",
    "training step", 1.8, _inputs, "pre-norm, hidden 512, ReLU, mean over time",
)  # fmt: skip


@row.peer("numpy")
def ours(a):
    from lepton_ref.framework.layers import Dense, Layer, TransformerEncoder

    class Classifier(Layer):
        def __init__(self, rng):
            super().__init__("numpy")
            self.encoder = TransformerEncoder(D, HEADS, BLOCKS, F, positions=False, rng=rng)
            self.dense = Dense(D, CLASSES, rng=rng)

        def forward(self, x, rng=None):
            y, _ = self.encoder(x, rng)
            return self.dense(self.E.mean(y, axis=1), rng)

    return _ours(Classifier(np.random.default_rng(0)), [a[n] for n in NAMES], a)


@row.peer("torch")
def torch_(a):
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            block = {"dropout": 0.0, "batch_first": True, "norm_first": True}
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(D, HEADS, F, **block) for _ in range(BLOCKS)
            )
            self.last, self.dense = nn.LayerNorm(D), nn.Linear(D, CLASSES)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.dense(self.last(x).mean(1))

    model = Classifier()

    def arrays(m, read):
        """Ours by name, from torch's parameters or their places."""
        found = {
            "gamma": m.last.weight,
            "beta": m.last.bias,
            "w": m.dense.weight,
            "c": m.dense.bias,
        }
        for i, b in enumerate(m.blocks):
            w, bias = read(b.self_attn.in_proj_weight), read(b.self_attn.in_proj_bias)
            for j, n in enumerate("qkv"):
                found[f"w_{n}.{i}"] = w[j * D : (j + 1) * D]
                found[f"b_{n}.{i}"] = bias[j * D : (j + 1) * D]
            found |= {
                f"w_o.{i}": b.self_attn.out_proj.weight, f"b_o.{i}": b.self_attn.out_proj.bias,
                f"w_1.{i}": b.linear1.weight, f"b_1.{i}": b.linear1.bias,
                f"w_2.{i}": b.linear2.weight, f"b_2.{i}": b.linear2.bias,
                f"gamma_1.{i}": b.norm1.weight, f"beta_1.{i}": b.norm1.bias,
                f"gamma_2.{i}": b.norm2.weight, f"beta_2.{i}": b.norm2.bias,
            }  # fmt: skip
        return found

    with torch.no_grad():
        for name, place in arrays(model, lambda p: p).items():
            place.copy_(torch.tensor(a[name].T))
    return _torch(model, a, lambda m: [
        p.detach().numpy().T for p in map(arrays(m, lambda p: p.detach()).get, NAMES)
    ])  # fmt: skip


ROWS = [row]
