"""The shipped texts: the counts their authors state, and nothing from a wrong file."""

import gzip

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets import fetch, text_loaders
from lepton_ref.framework.errors import DataError
from tests.data import load_or_skip

SHIPPED = [e for e in datasets.CATALOG.values() if e.shipped and e.name != "fashion-mnist"]


def test_graded_sentences_are_those_of_the_paper():
    for name, count in [("amazon-sentences", 3708), ("movie-sentences", 10605), ("tweets", 4200)]:
        data = datasets.load(name)
        assert data.texts.shape == data.grades.shape == (count,)
        assert data.grades.dtype == np.float64 and np.abs(data.grades).max() <= 4
        assert all(type(text) is str and text for text in data.texts)


def test_amazon_sentences_keep_their_review():
    data = datasets.load("amazon-sentences")
    assert data.reviews.dtype == np.int64 and data.reviews[0] == 1
    assert len(set(data.reviews)) == 300
    assert data.texts[0].startswith("troubleshooting ad-2500") and data.grades[0] == -0.9
    # With the paper's thresholds of 0.05 on grades brought to -1..1: three classes.
    scaled = data.grades / 4
    counts = (scaled <= -0.05).sum(), (np.abs(scaled) < 0.05).sum(), (scaled >= 0.05).sum()
    assert sum(counts) == 3708 and min(counts) == counts[1]
    assert np.abs(data.vader).max() <= 1 and 0.55 < np.corrcoef(data.vader, scaled)[0, 1] < 0.65


def test_fine_foods_parts_share_no_product():
    data = datasets.load("fine-foods")
    assert data.train_texts.shape == (4000,) and data.test_texts.shape == (1000,)
    assert not set(data.train_products) & set(data.test_products)
    assert data.classes == ("other", "great")
    assert data.train_labels.sum() == 2600 and data.test_labels.sum() == 658
    assert data.test_texts[0].startswith("These are the best tasting gummy fruits")


def test_chinese_reviews_are_raw_and_repeat():
    data = datasets.load("zh-reviews")
    assert data.texts.shape == (35_124,) and data.labels.sum() == 16_548
    negative, positive = (set(data.texts[data.labels == k]) for k in (0, 1))
    assert (len(negative), len(positive), len(negative & positive)) == (9_079, 8_379, 47)


def test_sms_messages_swallowed_by_quotation_marks_are_found_again():
    data = datasets.load("sms-spam")
    assert data.texts.shape == (5_574,) and data.labels.sum() == 747  # as Almeida et al. publish
    assert not any("\nham\t" in text or "\nspam\t" in text for text in data.texts)
    assert len(set(data.texts)) == 5_171


@pytest.fixture(scope="module")
def questions():
    return load_or_skip("trec")


def test_trec_has_six_kinds_and_fifty_finer_ones(questions):
    assert questions.texts.shape == (5_452,) and questions.texts.dtype == object
    # Li and Roth's training part: 86 ABBR, 1162 DESC, 1250 ENTY, 1223 HUM, 835 LOC, 896 NUM.
    assert np.bincount(questions.labels).tolist() == [86, 1162, 1250, 1223, 835, 896]
    assert len(questions.fine_classes) == 50 == questions.fine_labels.max() + 1
    first = questions.fine_classes[questions.fine_labels[0]]
    assert first == "DESC:manner" and questions.classes[questions.labels[0]] == "DESC"


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_licence_and_origin_lie_beside_the_files(entry):
    folder = fetch.SHIPPED / entry.name
    licence, origin = (folder / "LICENSE").read_text(), (folder / "README.md").read_text()
    assert "MIT License" in licence or "Creative Commons" in licence
    assert entry.source in origin and entry.version in origin


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_one_changed_byte_is_refused(entry, tmp_path):
    for member in entry.members:
        content = bytearray((fetch.SHIPPED / entry.name / member.path).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / member.path).write_bytes(content)
    with pytest.raises(DataError, match="SHA-256 is"):
        datasets.load(entry.name, path=tmp_path)


def packed(text):
    return gzip.compress(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("loader", "content", "message"),
    [
        ("graded", "id\tsentiment\ttext\n1\tgood\tyes\n", "a grade is no number"),
        ("graded", "id\tsentiment\ttext\n1\t5.0\tyes\n", "expected grades from -4 to 4"),
        ("graded", "id\tsentiment\ttext\n", "expected grades"),
        ("graded", "id\tsentiment\ttext\n1\tyes\n", "line 2 has 2 columns, expected 3"),
        ("graded", "a\tb\tc\n1\t1\t\u00e9\n".encode("latin-1"), "byte 10 is 0xe9, not UTF-8"),
        ("graded_reviews", "a\tb\tc\n1\t1.0\tyes\n", "ids of the form review_sentence"),
        ("graded_reviews", "a\tb\tc\n1_1\t1.0\tyes\n", "3 columns|scores for 1 sentences"),
        ("fine_foods", "2\tB0\tnice\n", "expected the label 0 or 1"),
        ("sms_spam", ",spam,text\n0,2,hello\n", "row 1 is not an id"),
        ("sms_spam", ",spam\n", "row 0 is not an id"),
    ],
)
def test_wrong_content_is_explained(loader, content, message):
    with pytest.raises(DataError, match=message):
        getattr(text_loaders, loader)([packed(content)] * 2, ["file"] * 2)


def test_questions_of_other_kinds_are_refused():
    with pytest.raises(DataError, match="expected the kinds ABBR, DESC"):
        text_loaders.trec([b"WHO:is this ?\n"], ["questions"])


def test_messages_inside_a_message_are_parted():
    csv = ',spam,text\n0,0,"a ""b\nspam\tWIN\nham\tc"\n1,1,now\n'
    arrays, classes = text_loaders.sms_spam([packed(csv)], ["sms"])
    assert arrays["texts"].tolist() == ['a "b', "WIN", "c", "now"]
    assert [classes[k] for k in arrays["labels"]] == ["ham", "spam", "ham", "spam"]
