"""What a convolution costs and how far it sees, counted from shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lepton_ref.vision.convolution.windows import Size, output_size


class Conv2dCost(NamedTuple):
    """What one convolution costs, counted from the shapes alone."""

    forward_multiply_adds: int
    backward_multiply_adds: int
    minimum_bytes: int
    im2col_bytes: int


def conv2d_cost(
    x_shape: tuple[int, int, int, int],
    w_shape: tuple[int, int, int, int],
    stride: Size = 1,
    padding: Size = 0,
    itemsize: int = 4,
) -> Conv2dCost:
    """Count the work of :func:`conv2d`.

    M = N·O·Ho·Wo·C·kh·kw multiply-adds forward, 2M backward (dw and dx)   (eq. conv2d-cost)
    Bytes moved at least: input, weights and output once; im2col: its columns
    (eq. conv2d-bytes)

    Parameters
    ----------
    x_shape : (N, C, H, W)
    w_shape : (O, C, kh, kw)
    stride, padding : int or (int, int)
    itemsize : int
        Bytes of one number; 4 in float32.
    """
    N, C, H, W = x_shape
    O, _, kh, kw = w_shape
    Ho, Wo = output_size(x_shape, (kh, kw), stride, padding)
    forward = N * O * Ho * Wo * C * kh * kw
    moved = N * C * H * W + O * C * kh * kw + N * O * Ho * Wo
    columns = N * C * kh * kw * Ho * Wo
    return Conv2dCost(forward, 2 * forward, itemsize * moved, itemsize * columns)


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """How many rows of the input one output row depends on.

    R = 1 + Σ_l (k_l − 1) Π_{m<l} s_m   (eq. receptive-field)

    Parameters
    ----------
    layers : sequence of (kernel size, stride)
        From the input on; pooling counts as a layer.
    """
    rows, step = 1, 1
    for kernel, stride in layers:
        rows += (kernel - 1) * step
        step *= stride
    return rows
