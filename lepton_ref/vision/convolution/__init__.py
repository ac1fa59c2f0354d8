"""Convolution, its transpose, and pooling, each one fused operator.

What a kernel entry (u, v) meets while the kernel slides over an image is a shifted, strided
view of that image. Pooling is written with these kh·kw views (:func:`shifted_views`): it takes
their maximum or mean. ``im2col`` lays the same windows side by side in two copies, first along
the rows, then down, which turns a convolution into one matrix product; ``col2im`` undoes the two
steps with sums, which is the transposed map.

Sizes: Ho = ⌊(H + 2p − kh) / s⌋ + 1, and the same for Wo.

Source: Chellapilla, Puri and Simard (2006), *High Performance Convolutional Neural Networks
for Document Processing*; Dumoulin and Visin (2016), *A guide to convolution arithmetic*.
"""

from lepton_ref.vision.convolution.cost import Conv2dCost, conv2d_cost, receptive_field
from lepton_ref.vision.convolution.operators import (
    avg_pool2d,
    conv2d,
    conv_transpose2d,
    max_pool2d,
)
from lepton_ref.vision.convolution.windows import (
    Size,
    col2im,
    crop_image,
    im2col,
    output_size,
    pad_image,
    pair,
    shifted_views,
)

__all__ = [
    "Conv2dCost",
    "Size",
    "avg_pool2d",
    "col2im",
    "conv2d",
    "conv2d_cost",
    "conv_transpose2d",
    "crop_image",
    "im2col",
    "max_pool2d",
    "output_size",
    "pad_image",
    "pair",
    "receptive_field",
    "shifted_views",
]
