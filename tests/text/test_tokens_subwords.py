"""Byte-pair encoding: its two equations, its merges beside those of ``tokenizers``, bad input."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens import BytePairEncoding, clean, tokenize
from lepton_ref.text.tokens.bpe import START, merge

WORDS = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3 + ["aaaa"] * 2 + ["aaaaa"]


def reviews(count):
    return [tokenize(clean(t)) for t in lepton_ref.load("fine-foods").train_texts[:count]]


def counted(words):
    """Neighbours in all words, counted from nothing."""
    pairs = Counter()
    for symbols, n in words:
        for i in range(len(symbols) - 1):
            pairs[symbols[i], symbols[i + 1]] += n
    return +pairs


def slowly(documents, num_merges):
    """Byte-pair encoding as it is told: count everything, join the best, start again."""
    counts = Counter(word for document in documents for word in document)
    words = [([START, *w], n) for w, n in counts.items()]
    age = {c: i for i, c in enumerate(sorted({c for s, _ in words for c in s}))}
    merges = []
    for _ in range(num_merges):
        pairs = counted(words)
        best = max(pairs, key=lambda p: (pairs[p], -age[p[0]], -age[p[1]]), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        age.setdefault("".join(best), len(age))
        words = [(merge(symbols, best), n) for symbols, n in words]
    return merges


@pytest.mark.parametrize(("documents", "size"), [([WORDS], 40), (None, 60)])
def test_training_is_the_slow_telling(documents, size):
    documents = documents or reviews(40)
    assert BytePairEncoding.train(documents, size).merges == slowly(documents, size)


@pytest.mark.equation("tokens-bpe-step")
def test_each_merge_shortens_by_its_count(prove):
    """Symbols before and after each of 60 merges of real reviews, against the pair's count."""
    counts = Counter(word for document in reviews(60) for word in document)
    words = [([START, *w], n) for w, n in counts.items()]
    before, shorter, said = sum(n * len(s) for s, n in words), [], []
    for a, b in BytePairEncoding.train(reviews(60), 60).merges:
        said.append(sum(n * "".join(f"|{c}|" for c in s).count(f"|{a}||{b}|") for s, n in words))
        words = [(merge(s, (a, b)), n) for s, n in words]
        after = sum(n * len(s) for s, n in words)
        shorter.append(before - after)
        before = after
    prove(np.array(shorter, float), np.array(said, float), oracle="count", tol=0)


@pytest.mark.equation("tokens-bpe-update")
def test_counts_are_updated_by_the_words_that_changed(prove):
    """The running sum of changes against a count from nothing, after every merge."""
    counts = Counter(word for document in reviews(20) for word in document)
    words = [([START, *w], n) for w, n in counts.items()]
    running, ours, theirs = counted(words), [], []
    for pair in BytePairEncoding.train(reviews(20), 40).merges:
        joined = [(merge(s, pair), n) for s, n in words]
        for (old, n), (new, _) in zip(words, joined):
            if old != new:
                running.update({p: n * c for p, c in Counter(zip(new, new[1:])).items()})
                running.subtract({p: n * c for p, c in Counter(zip(old, old[1:])).items()})
        words = joined
        fresh = counted(words)
        assert +running == fresh
        ours += [running[p] for p in fresh]
        theirs += [fresh[p] for p in fresh]
    prove(np.array(ours, float), np.array(theirs, float), oracle="count", tol=0)


def test_the_same_merges_and_pieces_as_the_library():
    """``tokenizers``, written in Rust by others, on the same reviews: merge by merge."""
    tokenizers = pytest.importorskip("tokenizers")
    documents = reviews(300)
    marked = [" ".join(START + word for word in document) for document in documents]
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    ours = BytePairEncoding.train(documents, 400)
    size = len(ours.alphabet) + 400
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, show_progress=False)
    library.train_from_iterator(marked, trainer)
    import json

    said = json.loads(library.to_str())["model"]["merges"]
    theirs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in said]
    together = min(len(theirs), 400)
    assert together > 390 and ours.merges[:together] == theirs[:together]
    ours = BytePairEncoding(theirs, ours.alphabet)
    unseen = [w for d in reviews(340)[300:] for w in d if set(w) <= set(ours.alphabet)]
    for word in set(unseen):
        assert ours.encode_word(word) == library.encode(START + word).tokens, word


def test_pieces_and_back():
    bpe = BytePairEncoding.train([WORDS], 12)
    assert bpe.encode_word("newest") == [START + "newest"]
    assert bpe.encode(["lowest", "low"]) == [START + "low", "est", START + "low"]
    text = ["slow", "Ω", "lowest", "", "aaaaaaa"]
    assert bpe.decode(bpe.encode(text)) == "slow Ω lowest  aaaaaaa"
    assert bpe.decode([]) == "" and bpe.encode([]) == []
    v = bpe.vocabulary()
    assert set(v.encode(bpe.encode(["lowest", "slow"]))).isdisjoint({0, 1})
    assert 1 in v.encode(bpe.encode(["Ω"])), "a character never seen stays unknown"


def test_training_ends_when_nothing_repeats():
    assert BytePairEncoding.train([["ab", "cd"]], 10).merges == [(START, "a"), (START, "c")][:0]
    assert BytePairEncoding.train([], 10).merges == []
    assert BytePairEncoding.train([["low", "low"]], 0).encode_word("low") == [START, *"low"]


@pytest.mark.parametrize("word", ["a" * 100_000, "lowest" * 16_667, "好" * 100_000])
def test_one_word_of_a_hundred_thousand_characters(word):
    bpe = BytePairEncoding.train([WORDS], 20)
    began = time.thread_time()
    pieces = bpe.encode_word(word)
    assert time.thread_time() - began < 5
    assert bpe.decode(pieces) == word


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BytePairEncoding.train([["a"]], -1), "the value -1; expected a whole number"),
        (lambda: BytePairEncoding.train([["a"]], 1.5), "the value 1.5"),
        (lambda: BytePairEncoding.train(["a text"], 1), "type str; expected a list of words"),
        (lambda: BytePairEncoding.train([["a"]], 1).encode("a text"), "type str"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
