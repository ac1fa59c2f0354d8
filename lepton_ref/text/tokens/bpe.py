"""Byte-pair encoding: words made of pieces, and the pieces learned from what occurs."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens.vocabulary import Vocabulary, as_tokens

START = "\u2581"  # ▁ in front of each word, so that the pieces say where words begin
Pair = tuple[str, str]


def merge(symbols: Sequence[str], pair: Pair) -> list[str]:
    """The symbols with each occurrence of the pair, from the left, joined to one symbol."""
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


class BytePairEncoding:
    """Words cut into learned pieces: frequent words stay whole, rare ones fall into parts.

    Parameters
    ----------
    merges : sequence of (str, str)
        Pairs of pieces to join, the first learned first.
    alphabet : sequence of str
        The characters that occurred.

    Source: Gage (1994); for words Sennrich, Haddow and Birch (2016).
    """

    def __init__(self, merges: Sequence[Pair], alphabet: Sequence[str]) -> None:
        self.merges = [(str(a), str(b)) for a, b in merges]
        self.alphabet = tuple(alphabet)
        self._rank = {pair: r for r, pair in reversed(list(enumerate(self.merges)))}

    @classmethod
    def train(cls, documents: Iterable[Sequence[str]], num_merges: int) -> BytePairEncoding:
        """Join the most frequent pair of neighbours, ``num_merges`` times.

        Each step shortens the text as much as one new piece can (eq. tokens-bpe-step), and only
        words that hold the pair are counted anew (eq. tokens-bpe-update). Of pairs equally
        frequent the one whose pieces are older is taken.

        Parameters
        ----------
        documents : iterable of sequences of str
            Lists of words.
        num_merges : int
            At most; training ends when no pair occurs twice.
        """
        if not isinstance(num_merges, (int, np.integer)) or num_merges < 0:
            raise ArgumentError(
                "BytePairEncoding.train", "num_merges", f"the value {num_merges!r}",
                "a whole number >= 0",
            )  # fmt: skip
        counts = Counter[str]()
        for document in documents:
            counts.update(as_tokens("BytePairEncoding.train", document))
        words = [([START, *word], n) for word, n in counts.items() if word]
        alphabet = sorted({c for symbols, _ in words for c in symbols})
        age = {piece: i for i, piece in enumerate(alphabet)}
        pairs: Counter[Pair] = Counter()
        where: dict[Pair, set[int]] = defaultdict(set)
        for i, (symbols, n) in enumerate(words):
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
                where[pair].add(i)
        queue = [(-n, age[a], age[b], (a, b)) for (a, b), n in pairs.items()]
        heapq.heapify(queue)
        merges: list[Pair] = []
        while queue and len(merges) < num_merges:
            negative, _, _, pair = heapq.heappop(queue)
            if pairs[pair] != -negative:
                continue  # counted anew since: a later entry has the count of today
            if -negative < 2:
                break
            merges.append(pair)
            age.setdefault(pair[0] + pair[1], len(age))
            changed: set[Pair] = set()
            for i in where.pop(pair):
                symbols, n = words[i]
                joined = merge(symbols, pair)
                words[i] = joined, n
                for sign, sequence in ((-n, symbols), (n, joined)):
                    for near in zip(sequence, sequence[1:]):
                        pairs[near] += sign
                        where[near].add(i)
                        changed.add(near)
            pairs.pop(pair, None)
            for a, b in changed:
                if pairs[a, b] > 0:
                    heapq.heappush(queue, (-pairs[a, b], age[a], age[b], (a, b)))
        return cls(merges, alphabet)

    def encode_word(self, word: str) -> list[str]:
        """The pieces of one word, ``▁`` in front; joins go by age, then from left to right.

        A queue holds the joins that are possible, so that a word of n characters takes
        O(n log n). A character that training never saw stays a piece of its own.
        """
        symbols: list[str] = [START, *word]
        n = len(symbols)
        after, before = list(range(1, n + 1)), list(range(-1, n - 1))
        queue: list[tuple[int, int, str, str]] = []

        def offer(i: int) -> None:
            if i >= 0 and after[i] < n:
                pair = symbols[i], symbols[after[i]]
                if pair in self._rank:
                    heapq.heappush(queue, (self._rank[pair], i, *pair))

        for i in range(n):
            offer(i)
        while queue:
            _, i, a, b = heapq.heappop(queue)
            j = after[i]
            if symbols[i] != a or j >= n or symbols[j] != b:
                continue  # one of the two has been joined to something else
            symbols[i], symbols[j], after[i] = a + b, "", after[j]
            if after[i] < n:
                before[after[i]] = i
            offer(before[i])
            offer(i)
        return [symbol for symbol in symbols if symbol]

    def encode(self, tokens: Sequence[str]) -> list[str]:
        """The pieces of all words, in order."""
        known: dict[str, list[str]] = {}
        pieces: list[str] = []
        for word in as_tokens("BytePairEncoding.encode", tokens):
            if word not in known:
                known[word] = self.encode_word(word)
            pieces.extend(known[word])
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        """The words again, with a space between two: the inverse of :meth:`encode`."""
        return "".join(pieces).replace(START, " ").strip(" ")

    def vocabulary(self) -> Vocabulary:
        """Numbers for all pieces: the characters, then the joined ones by age."""
        return Vocabulary(list(dict.fromkeys([*self.alphabet, *(a + b for a, b in self.merges)])))
