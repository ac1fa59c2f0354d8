"""Fashion-MNIST as shipped: right bytes in, right arrays out, and nothing from a wrong file."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets import catalog, fetch, loaders
from lepton_ref.datasets.idx import parse_idx, read_idx
from lepton_ref.framework.errors import ArgumentError, DataError

FILES = fetch.SHIPPED / "fashion-mnist"
LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture(scope="module")
def fashion():
    return datasets.load("fashion-mnist")


@pytest.fixture
def folder(tmp_path):
    """A folder with the four original files, three of them as links."""
    for file in FILES.glob("*.gz"):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / LABELS).unlink()
    shutil.copy(FILES / LABELS, tmp_path / LABELS)
    return tmp_path


def test_fashion_mnist_is_the_published_data(fashion):
    assert fashion.train_images.shape == (60_000, 28, 28)
    assert fashion.test_images.shape == (10_000, 28, 28)
    assert fashion.train_images.dtype == np.uint8 and fashion.train_labels.dtype == np.int64
    assert np.array_equal(np.bincount(fashion.train_labels), np.full(10, 6_000))
    assert np.array_equal(np.bincount(fashion.test_labels), np.full(10, 1_000))
    assert fashion.classes[fashion.test_labels[0]] == "Ankle boot"
    # The mean and deviation that every tutorial normalises with.
    assert round(float(fashion.train_images.mean() / 255), 4) == 0.2860
    assert round(float(fashion.train_images.std() / 255), 4) == 0.3530


def test_dataset_tells_what_it_holds(fashion):
    assert "train_images" in dir(fashion) and "MIT" in repr(fashion)
    assert len(fashion.sha256) == 64
    assert fashion.entry.size == sum(f.stat().st_size for f in FILES.glob("*.gz"))
    with pytest.raises(AttributeError, match="has no array 'images'; it has train_images"):
        fashion.images  # noqa: B018


def test_the_licence_is_shipped_beside_the_files():
    text = (FILES / "LICENSE").read_text()
    assert "MIT License" in text and "Zalando SE" in text


def test_every_entry_has_a_loader_and_a_full_description():
    assert set(loaders.LOADERS) == set(datasets.names())
    for entry in catalog.CATALOG.values():
        assert entry.licence and entry.citation and entry.arrays and entry.version
        assert all(len(member.sha256) == 64 and member.size > 0 for member in entry.members)
        if not entry.shipped:
            assert len(entry.archive_sha256) == 64 and entry.version in entry.archive


def test_unknown_name_lists_what_exists():
    with pytest.raises(ArgumentError, match="'fashion'.*fashion-mnist, .*mnist-5k"):
        datasets.load("fashion")


def test_folder_of_originals_is_accepted(folder):
    assert datasets.load("fashion-mnist", path=folder).test_labels[0] == 9


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:3000], "has 3000 bytes, expected 5125"),
        (lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:], "SHA-256 is .* expected 8d3605d"),
        (lambda b: b"", "has 0 bytes"),
    ],
)
def test_damaged_file_is_refused_by_name(folder, damage, message):
    file = folder / LABELS
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        datasets.load("fashion-mnist", path=folder)
    assert LABELS in str(caught.value) and "put the original of" in str(caught.value)


def test_missing_file_is_named(folder):
    (folder / LABELS).unlink()
    with pytest.raises(DataError, match=f"{LABELS}: cannot be read .*put the original"):
        datasets.load("fashion-mnist", path=folder)


def idx(array, code=0x08, magic=None, lengths=None):
    head = struct.pack(">HBB", 0, code, array.ndim) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *(lengths or array.shape)) + array.tobytes()


def test_idx_round_trip_in_every_dtype():
    for code, dtype in [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4")]:
        array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
        back = parse_idx(idx(array, code), "x")
        assert back.dtype.isnative and back.flags.owndata or back.base is not None
        np.testing.assert_array_equal(back, array)
        back[0] = 0  # a copy that may be written to


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00", "2 bytes, too short"),
        (idx(np.zeros(3, "u1"), magic=b"\x89PNG"), "starts with bytes 89 50 4e 47, not an IDX"),
        (idx(np.zeros(3, "u1"), code=0x07), "not an IDX"),
        (b"\x00\x00\x08\x03\x00\x00", "announces 3 axes but ends before their lengths"),
        (idx(np.zeros((2, 3), "u1"), lengths=(2, 4)), r"shape \(2, 4\), that is 20 bytes, .* 18"),
        (idx(np.zeros(3, "u1")) + b"x", r"shape \(3,\), that is 11 bytes, but the file has 12"),
        (idx(np.zeros(1, "u1"), lengths=(2**32 - 1,)), "4294967303 bytes"),
    ],
)
def test_bad_idx_header_is_explained(content, message):
    with pytest.raises(DataError, match=message):
        parse_idx(content, "labels")


def test_gzip_faults_are_explained(tmp_path):
    whole = gzip.compress(idx(np.arange(250, dtype="u1")))
    file = tmp_path / "a.gz"
    cases = {"cut short": whole[:-20], "not a whole gzip": b"hello", "CRC": whole[:-8] + bytes(8)}
    for message, content in cases.items():
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_idx(file)
    file.write_bytes(whole)
    assert read_idx(file).sum() == np.arange(250).sum()
    (tmp_path / "plain").write_bytes(gzip.decompress(whole))
    assert read_idx(tmp_path / "plain").shape == (250,)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "none")


def test_arrays_that_are_not_the_announced_ones_are_refused():
    images, labels = np.zeros((4, 28, 28), "u1"), np.arange(4)
    loaders.expect_images(images, labels, (4, 28, 28), 4, "x")
    with pytest.raises(DataError, match=r"images are uint8 \(4, 28, 28\), expected uint8 \(5"):
        loaders.expect_images(images, labels, (5, 28, 28), 4, "x")
    with pytest.raises(DataError, match=r"labels have shape \(3,\)"):
        loaders.expect_images(images, labels[:3], (4, 28, 28), 4, "x")
    with pytest.raises(DataError, match="labels run from 0 to 3, expected 0 to 2"):
        loaders.expect_images(images, labels, (4, 28, 28), 3, "x")


def test_csv_that_is_no_table_of_grey_levels_is_refused():
    with pytest.raises(DataError, match="not a table of grey levels"):
        loaders.mnist_5k([gzip.compress(b"1,2,x\n")], ["digits.csv.gz"])
