"""Vocabularies: a number for every word."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lepton_ref.framework.errors import ArgumentError

PAD, UNK = 0, 1
SPECIAL = ("<pad>", "<unk>")


class Vocabulary:
    """Words and their numbers: 0 is ``<pad>``, 1 is ``<unk>``, then the words in order.

    Parameters
    ----------
    tokens : sequence of str
        The words, without ``<pad>`` and ``<unk>``.

    Attributes
    ----------
    tokens : tuple of str
        As given: ``Vocabulary(v.tokens)`` is ``v`` again.

    Raises
    ------
    ArgumentError
        When a word is no str, occurs twice or is one of the two special ones.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        if isinstance(tokens, str):
            raise ArgumentError("Vocabulary", "tokens", "type str", "a sequence of words")
        self.tokens = tuple(tokens)
        self._words = SPECIAL + self.tokens
        for token in self.tokens:
            if not isinstance(token, str):
                raise ArgumentError(
                    "Vocabulary", "tokens", f"an entry of type {type(token).__name__}", "str"
                )
        self._ids = {word: i for i, word in enumerate(self._words)}
        if len(self._ids) != len(self._words):
            twice = next(w for w, n in Counter(self._words).items() if n > 1)
            raise ArgumentError(
                "Vocabulary", "tokens", f"the word {twice!r} twice",
                "each word once, and neither <pad> nor <unk>",
            )  # fmt: skip

    @classmethod
    def build(
        cls,
        documents: Iterable[Sequence[str]],
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """The words of some documents, by falling count, ties in alphabetical order.

        Parameters
        ----------
        documents : iterable of sequences of str
            Each a list of tokens.
        min_count : int
            Rarer words are left out.
        max_size : int, optional
            At most so many words, ``<pad>`` and ``<unk>`` not counted.
        """
        where = "Vocabulary.build"
        for name, value in (("min_count", min_count), ("max_size", max_size)):
            if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
                raise ArgumentError(where, name, f"the value {value!r}", "a whole number >= 1")
        counts = Counter[str]()
        for document in documents:
            counts.update(as_tokens(where, document))
        for word in SPECIAL:
            counts.pop(word, None)
        kept = sorted(
            (w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w)
        )
        return cls(kept[:max_size])

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The number of each token; 1 for words that are not in the vocabulary."""
        get = self._ids.get
        return [get(token, UNK) for token in as_tokens("Vocabulary.encode", tokens)]

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The word of each number.

        Raises
        ------
        ArgumentError
            For a number that has none.
        """
        for i in ids:
            if not 0 <= i < len(self._words):
                raise ArgumentError(
                    "Vocabulary.decode", "ids", f"the value {i}", f"0 to {len(self._words) - 1}"
                )
        return [self._words[i] for i in ids]

    def __len__(self) -> int:
        """How many numbers are in use, those of ``<pad>`` and ``<unk>`` included."""
        return len(self._words)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __getitem__(self, token: str) -> int:
        return self._ids.get(token, UNK)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        some = ", ".join(self.tokens[:4])
        return f"Vocabulary({len(self):,} numbers: <pad>, <unk>, {some}, ...)"

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of words and order: whether a model was saved with this very vocabulary."""
        return hashlib.sha256("\0".join(self.tokens).encode("utf-8", "surrogatepass")).hexdigest()


def as_tokens(where: str, document: Sequence[str]) -> Sequence[str]:
    """A document as tokens; a str would silently become its letters."""
    if isinstance(document, (str, bytes)):
        raise ArgumentError(
            where, "tokens", f"type {type(document).__name__}", "a list of words: tokenize(text)"
        )
    return document
