"""From verified bytes to typed arrays: one small function per data set."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from lepton_ref.datasets import faces, photographs, ratings, text_loaders
from lepton_ref.datasets.idx import decompress, parse_idx
from lepton_ref.framework.errors import DataError

Arrays = dict[str, np.ndarray]
Loader = Callable[[list[bytes], list[str]], tuple[Arrays, tuple[str, ...]]]

FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def fashion_mnist(contents: list[bytes], files: list[str]) -> tuple[Arrays, tuple[str, ...]]:
    """Four gzipped IDX files -> uint8 images (N, 28, 28) and int64 labels (N,), twice."""
    raw = [parse_idx(decompress(c, f), f) for c, f in zip(contents, files, strict=True)]
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = dict(zip(keys, raw, strict=True))
    for part, count in (("train", 60_000), ("test", 10_000)):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        expect_images(images, labels, (count, 28, 28), len(FASHION_CLASSES), f"{part} part")
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays, FASHION_CLASSES


def mnist_5k(contents: list[bytes], files: list[str]) -> tuple[Arrays, tuple[str, ...]]:
    """Gzipped CSV, 784 pixels and the digit on each line -> images (5000, 28, 28), labels."""
    text = decompress(contents[0], files[0])
    try:
        rows = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    except ValueError as error:
        raise DataError(f"{files[0]}: not a table of grey levels 0 to 255 ({error})") from None
    images, labels = rows[:, :-1].reshape(len(rows), -1, 28), rows[:, -1]
    expect_images(images, labels, (5000, 28, 28), 10, files[0])
    return {"images": images, "labels": labels.astype(np.int64)}, tuple("0123456789")


def expect_images(
    images: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], classes: int, where: str
) -> None:
    """Raise DataError unless images and labels have the announced shapes, dtype and range."""
    if images.shape != shape or images.dtype != np.uint8:
        raise DataError(
            f"{where}: images are {images.dtype} {images.shape}, expected uint8 {shape}"
        )
    if labels.shape != shape[:1]:
        raise DataError(f"{where}: labels have shape {labels.shape}, expected {shape[:1]}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"{where}: labels run from {labels.min()} to {labels.max()}, "
            f"expected 0 to {classes - 1}"
        )


LOADERS: dict[str, Loader] = {
    "fashion-mnist": fashion_mnist,
    "mnist-5k": mnist_5k,
    "amazon-sentences": text_loaders.graded_reviews,
    "movie-sentences": text_loaders.graded,
    "tweets": text_loaders.graded,
    "fine-foods": text_loaders.fine_foods,
    "zh-reviews": text_loaders.zh_reviews,
    "sms-spam": text_loaders.sms_spam,
    "trec": text_loaders.trec,
    "movielens-100k": ratings.movielens_100k,
    "orl-faces": faces.orl_faces,
    "photographs": photographs.photographs,
}
