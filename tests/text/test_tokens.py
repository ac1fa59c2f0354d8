"""Texts to numbers: cleaning, words, vocabularies, padding and counts; and what is refused."""

from __future__ import annotations

import itertools
import math
import sys
import time

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens import (
    STOP_WORDS,
    TfIdf,
    Vocabulary,
    bag_of_words,
    best_segmentation,
    clean,
    distinct,
    masked_mean,
    pad,
    tf_idf,
    tokenize,
)
from tests.numeric import numerical_gradient

# --- cleaning ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        (" \t\n ", ""),
        ("Great<br /><br />value &amp; taste", "Great value & taste"),
        ('see <a href="http://x.y/?q=1">this</a>', "see this"),
        ("at https://a.b/c?d=e, WWW.F.ORG and 网址http://a.b/c很好", "at and 网址 很好"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ１２３！ ﬁne", "Full width123! fine"),
        ("a\x07b\x00 zero\u200bwidth \ufeffbom r\u202el", "a b zerowidth bom rl"),
        ("C\ufffdtes", "C tes"),
        ("I <3 it: 2 < 3 and 4 > 1", "I <3 it: 2 < 3 and 4 > 1"),
        ("&lt;#&gt; MiXeD Case 😀", "<#> MiXeD Case 😀"),
    ],
)  # fmt: skip
def test_clean(text, cleaned):
    assert clean(text) == cleaned


def test_distinct_keeps_each_text_once_and_no_contradiction():
    texts = ["Good!", "good!", "bad", "so so", "So  so", "fine", "<b>fine</b>"]
    assert distinct(texts).tolist() == [0, 2, 3, 5]
    assert distinct(texts, np.array([1, 1, 0, 0, 1, 1, 1])).tolist() == [0, 2, 5]
    assert distinct([]).tolist() == []


# --- words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("  \n", []),
        ("I don’t LOVE it!!!!!", ["i", "don't", "love", "it", "!!!"]),
        ("'quoted' rock'n'roll o'", ["'", "quoted", "'", "rock'n'roll", "o", "'"]),
        ("$5,000.50 at 10:30, 2nd", ["$", "5,000.50", "at", "10:30", ",", "2nd"]),
        ("well-made... a_b", ["well", "-", "made", "...", "a", "_", "b"]),
        (":) :-( <3 :p (see 8)", [":)", ":-(", "<3", ":p", "(", "see", "8", ")"]),
        ("😀😀 👍🏽 ❤️", ["😀", "😀", "👍🏽", "❤️"]),
        ("👨‍👩‍👧 🇨🇳🇫🇷 1️⃣", ["👨‍👩‍👧", "🇨🇳", "🇫🇷", "1️⃣"]),
        ("naïve cafe\u0301 Привет мир", ["naïve", "cafe\u0301", "привет", "мир"]),
    ],
)
def test_tokenize_english(text, tokens):
    assert tokenize(text, "en") == tokens
    assert tokenize(text) == tokens


def test_tokenize_chinese():
    pytest.importorskip("jieba")
    assert tokenize("质量不错，性价比高") == ["质量", "不错", "，", "性价比", "高"]
    mixed = tokenize("这个手机很好用！我买了iPhone 15 Pro😀 OK")
    assert mixed == ["这个", "手机", "很", "好", "用", "！", "我", "买", "了"] + [
        "iphone", "15", "pro", "😀", "ok"
    ]  # fmt: skip


def test_chinese_characters_without_a_dictionary():
    assert tokenize("很好用 good", "en") == ["很", "好", "用", "good"]


def test_chinese_without_jieba_says_what_to_install(monkeypatch):
    from lepton_ref.text.tokens import words

    monkeypatch.setitem(sys.modules, "jieba", None)
    words.jieba.cache_clear()
    try:
        with pytest.raises(ImportError, match=r"pip install 'lepton-ref\[text\]'"):
            tokenize("很好")
    finally:
        words.jieba.cache_clear()
    assert tokenize("good") == ["good"], "English needs nothing"


def test_stop_words_leave_negation_alone():
    assert {"the", "of", "and"} <= STOP_WORDS["en"] and {"的", "了"} <= STOP_WORDS["zh"]
    assert not STOP_WORDS["en"] & {"not", "no", "never", "don't", "good", "bad"}
    assert not STOP_WORDS["zh"] & {"不", "没", "没有", "好"}


@pytest.mark.parametrize(
    "unit", ["a", "word ", "好", "ab <", "<a", "😀", "a\u0301", "'", "http://"]
)
def test_a_hundred_thousand_characters(unit):
    """No pattern goes back over the text again and again; nothing is quadratic."""
    if unit == "好":
        pytest.importorskip("jieba")
        tokenize("好")  # loads the dictionary
    text = (unit * 100_000)[:100_000]
    began = time.thread_time()
    tokens = tokenize(clean(text))
    assert time.thread_time() - began < 5
    assert len("".join(tokens)) <= len(text)
    ids, mask = pad([Vocabulary(["word"]).encode(tokens)], 50)
    assert ids.shape == mask.shape == (1, 50)


# --- refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("function", [clean, tokenize])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("好".encode("gbk"), r'type bytes; expected a str; decode it .* text.decode\("utf-8"\)'),
        (None, "type NoneType; expected a str"),
        (["a", "b"], "type list"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"half a surrogate pair, U\+DCE9, at 3"),
    ],
)
def test_what_is_no_text_is_refused(function, text, message):
    with pytest.raises(ArgumentError, match=message):
        function(text)


def test_text_in_the_wrong_encoding_is_still_text():
    """GBK read as Latin-1 is legible to nobody; it becomes unknown words, not an error."""
    tokens = tokenize(clean("质量很好".encode("gbk").decode("latin-1")))
    assert tokens and set(Vocabulary(["质量"]).encode(tokens)) == {1}


def test_unknown_language_is_refused():
    with pytest.raises(ArgumentError, match="the value 'fr'; expected one of auto, en, zh"):
        tokenize("bonjour", "fr")


# --- Chinese words, the idea -------------------------------------------------------------

COUNTS = {"南京": 80, "南京市": 60, "市长": 40, "长江": 90, "大桥": 50, "长江大桥": 70, "江": 30,
          "桥": 20, "市": 100, "大": 300, "长": 200, "京": 5, "南": 50}  # fmt: skip


@pytest.mark.equation("tokens-segmentation")
def test_the_best_segmentation_against_all_of_them(rng, prove):
    """Every way of cutting seven characters, 2⁶ of them, scored one by one."""
    text, total = "南京市长江大桥", sum(COUNTS.values())
    scores = {}
    for cuts in itertools.product([False, True], repeat=len(text) - 1):
        words, start = [], 0
        for i, cut in enumerate([*cuts, True], 1):
            if cut:
                words.append(text[start:i])
                start = i
        if all(len(w) == 1 or w in COUNTS for w in words):
            scores[tuple(words)] = sum(math.log(COUNTS.get(w, 1) / total) for w in words)
    words, score = best_segmentation(text, COUNTS)
    prove(score, max(scores.values()), oracle="all segmentations", tol=1e-12)
    assert tuple(words) == max(scores, key=scores.get) == ("南京市", "长江大桥")


@pytest.mark.equation("tokens-segmentation")
def test_the_best_segmentation_is_that_of_jieba(prove):
    """With its dictionary and its hidden Markov model switched off, sentence by sentence."""
    pytest.importorskip("jieba")
    from lepton_ref.text.tokens.words import jieba

    package = jieba()
    counts, total = package.dt.FREQ, package.dt.total
    longest = max(map(len, counts))
    texts = [t for t in lepton_ref.load("zh-reviews").texts[:400:10] if t.strip()]
    ours, theirs = [], []
    for text in texts:
        for run in (r for r in "".join(c if "一" <= c <= "龥" else " " for c in text).split()):
            words, score = best_segmentation(run, counts, total, longest)
            said = package.lcut(run, HMM=False)
            ours.append(score)
            theirs.append(sum(math.log((counts.get(w) or 1) / total) for w in said))
            assert words == said
    prove(np.array(ours), np.array(theirs), oracle="jieba", tol=1e-9)


def test_segmentation_of_nothing_and_of_the_unknown():
    assert best_segmentation("", COUNTS) == ([], 0.0)
    assert best_segmentation("龘龘", COUNTS)[0] == ["龘", "龘"]
    with pytest.raises(ArgumentError, match="`counts` has the sum 0"):
        best_segmentation("好", {})


# --- vocabularies and padding ------------------------------------------------------------


def test_vocabulary_order_and_round_trip():
    v = Vocabulary.build([["b", "a", "c", "c"], ["a", "b", "d"]])
    assert v.tokens == ("a", "b", "c", "d") and len(v) == 6
    assert v.encode(["d", "zebra", "a"]) == [5, 1, 2]
    assert v.decode([5, 1, 2, 0]) == ["d", "<unk>", "a", "<pad>"]
    assert v["c"] == 4 and v["zebra"] == 1 and "c" in v and "zebra" not in v
    assert Vocabulary(v.tokens) == v and hash(Vocabulary(v.tokens)) == hash(v)
    assert "6 numbers" in repr(v)


def test_vocabulary_limits():
    documents = [["a"] * 3 + ["b"] * 2 + ["c"], ["<unk>", "<pad>"]]
    assert Vocabulary.build(documents, min_count=2).tokens == ("a", "b")
    assert Vocabulary.build(documents, max_size=1).tokens == ("a",)
    assert Vocabulary.build([]).encode(["a", "b"]) == [1, 1], "unknown words only"
    assert Vocabulary.build([[]]).encode([]) == []


def test_vocabulary_hash_tells_order_and_borders_apart():
    hashes = {Vocabulary(t).sha256 for t in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", "c"])}
    assert len(hashes) == 4
    assert Vocabulary(["a", "b"]).sha256 == Vocabulary(("a", "b")).sha256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary("abc"), "type str; expected a sequence of words"),
        (lambda: Vocabulary(["a", "b", "a"]), "the word 'a' twice"),
        (lambda: Vocabulary(["<unk>"]), "the word '<unk>' twice"),
        (lambda: Vocabulary(["a", 3]), "an entry of type int"),
        (lambda: Vocabulary.build([["a"]], min_count=0), "`min_count` has the value 0"),
        (lambda: Vocabulary.build([["a"]], max_size=-1), "`max_size` has the value -1"),
        (lambda: Vocabulary.build(["a text"]), r"type str; expected a list of words: tokenize"),
        (lambda: Vocabulary(["a"]).encode("a text"), "type str; expected a list of words"),
        (lambda: Vocabulary(["a"]).decode([3]), "the value 3; expected 0 to 2"),
        (lambda: Vocabulary(["a"]).decode([-1]), "the value -1; expected 0 to 2"),
        (lambda: pad([[1]], 0), "`length` has the value 0"),
    ],
)
def test_wrong_vocabularies_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_padding():
    ids, mask = pad([[2, 3], [], [4, 5, 6]])
    assert ids.tolist() == [[2, 3, 0], [0, 0, 0], [4, 5, 6]] and ids.dtype == np.int64
    assert mask.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]] and mask.dtype == bool
    ids, mask = pad([[2, 3], [4, 5, 6]], 2)
    assert ids.tolist() == [[2, 3], [4, 5]] and mask.all()
    assert pad([])[0].shape == (0, 1) and pad([[]])[0].tolist() == [[0]]
    assert pad([np.array([7, 8])], 3)[0].tolist() == [[7, 8, 0]]


@pytest.mark.equation("tokens-masked-mean", "tokens-masked-mean-dx")
def test_the_mean_over_real_words(engine, rng, prove):
    """Row by row over the words that are there, and its gradient by differences."""
    _, mask = pad([[2] * 4, [2], [2] * 3])
    x, dy = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 2))

    def by_hand(x):
        return np.stack([row[:n].mean(0) for row, n in zip(x, mask.sum(1))])

    found, dx = engine.value_and_grad(
        lambda x: engine.sum(masked_mean(x, mask) * engine.array(dy, dtype="float64"))
    )(engine.parameter(x, dtype="float64"))
    y = engine.asnumpy(masked_mean(engine.array(x, dtype="float64"), mask))
    prove(y, by_hand(x), label="tokens-masked-mean", oracle="loop", tol=1e-12)
    numeric = numerical_gradient(lambda x: (by_hand(x) * dy).sum(), x)
    prove(engine.asnumpy(dx), numeric, label="tokens-masked-mean-dx", tol=1e-7)


def test_masked_mean_of_no_words_and_with_a_wrong_mask(engine):
    x = engine.array(np.ones((2, 3, 4)))
    mask = np.array([[True, True, False], [False] * 3])
    assert engine.asnumpy(masked_mean(x, mask)).tolist() == [[1.0] * 4, [0.0] * 4]
    with pytest.raises(
        ArgumentError, match=r"shape \(3, 2\) and dtype bool; expected bool \(2, 3\)"
    ):
        masked_mean(x, mask.T)
    with pytest.raises(ArgumentError, match="dtype float64"):
        masked_mean(x, mask * 1.0)


# --- counts ------------------------------------------------------------------------------


def test_bag_of_words():
    v = Vocabulary(["a", "b"])
    bags = bag_of_words([["a", "b", "a", "zebra"], [], ["b"]], v)
    assert bags.tolist() == [[0, 1, 2, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert bags.dtype == np.float32 and bag_of_words([], v).shape == (0, 4)


def balanced_corpus():
    """Nine documents of equal length in which every word is equally often in all its documents."""
    documents = [[] for _ in range(9)]
    for df in (1, 2, 4, 9):
        for j in range(9):
            for d in range(df):
                documents[(j + d) % 9] += [f"{df}-{j}"] * 2
    return documents


@pytest.mark.equation("tokens-idf-information")
def test_tf_idf_adds_up_to_mutual_information(prove):
    """Against the definition of mutual information, over the joint table of words and documents."""
    documents = balanced_corpus()
    v = Vocabulary.build(documents)
    joint = bag_of_words(documents, v).astype(float)
    joint /= joint.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    mutual = (joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum()
    total = sum(len(d) for d in documents)
    summed = 0.0
    for word in v.tokens:
        df = sum(word in d for d in documents)
        summed += sum(d.count(word) for d in documents) / total * math.log(len(documents) / df)
    prove(summed, mutual, oracle="definition", tol=1e-12)


@pytest.mark.equation("tokens-idf-smooth")
def test_tf_idf_is_that_of_scikit_learn(prove):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    documents = [tokenize(clean(t)) for t in lepton_ref.load("fine-foods").train_texts[:60]]
    v = Vocabulary.build(documents)
    vectorizer = text.TfidfVectorizer(analyzer=lambda d: d, vocabulary=list(v.tokens))
    theirs = vectorizer.fit_transform(documents).toarray()
    prove(tf_idf(documents, v)[:, 2:], theirs, oracle="scikit-learn", tol=1e-5)


def test_tf_idf_of_new_documents():
    v = Vocabulary(["a", "b"])
    model = TfIdf(v).fit([["a", "b"], ["a"]])
    rows = model.transform([["a", "b"], ["zebra"], []])
    assert rows[0, 3] > rows[0, 2] > 0, "the rarer word weighs more"
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0], rtol=1e-6)
    with pytest.raises(ArgumentError, match="no idf yet"):
        TfIdf(v).transform([["a"]])
    with pytest.raises(ArgumentError, match="no document"):
        TfIdf(v).fit([])
