"""Page *Tokens*: from a text to numbers, in English and in Chinese.

Cleaning, words, subwords, vocabularies, padding, counts and word vectors. Everything but the
word vectors is plain Python and NumPy; Chinese words need the package jieba (the extra
``text``). Derivations: the book's page *Tokens*.
"""

from lepton_ref.text.tokens.bpe import BytePairEncoding
from lepton_ref.text.tokens.cleaning import clean, distinct
from lepton_ref.text.tokens.counts import TfIdf, bag_of_words, tf_idf
from lepton_ref.text.tokens.padding import masked_mean, pad
from lepton_ref.text.tokens.segmentation import best_segmentation
from lepton_ref.text.tokens.skipgram import (
    NoiseDistribution,
    SkipGram,
    SkipGramHistory,
    keep_probability,
    nearest,
    skip_gram_pairs,
    train_skip_gram,
)
from lepton_ref.text.tokens.stop_words import STOP_WORDS
from lepton_ref.text.tokens.vocabulary import PAD, UNK, Vocabulary
from lepton_ref.text.tokens.words import tokenize

__all__ = [
    "PAD", "STOP_WORDS", "UNK", "BytePairEncoding", "NoiseDistribution", "SkipGram",
    "SkipGramHistory", "TfIdf", "Vocabulary", "bag_of_words", "best_segmentation", "clean",
    "distinct", "keep_probability", "masked_mean", "nearest", "pad", "skip_gram_pairs", "tf_idf",
    "tokenize", "train_skip_gram",
]  # fmt: skip
