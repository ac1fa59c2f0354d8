"""Vision: convolution and pooling, and the image models built from them."""
