"""Words: where one ends and the next begins, in English and in Chinese."""

from __future__ import annotations

import functools
import importlib
import re
import warnings
from typing import Any

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens.cleaning import check_text

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SKIN = "\U0001f3fb-\U0001f3ff"
PICTURE = (
    f"[\u231a-\u23ff\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
    f"\ufe0f?[{SKIN}]?"
)
#: One emoji: a flag, a key cap, or pictures joined by U+200D (a family is one picture).
EMOJI = f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{PICTURE}(?:\u200d{PICTURE})*"
EMOTICON = r"[:;=][\-o']?[)(\]\[dp/\\|*](?!\w)|<3|\^_\^"
NUMBER = r"\d+(?:[.,:]\d+)+"
LETTER = f"[^\\W_{HAN}]"
WORD = f"{LETTER}(?:{LETTER}|[\u0300-\u036f])*(?:'{LETTER}+)*"
MARK = r"(?P<mark>[^\w\s]|_)(?P=mark)*"

TOKEN = re.compile(f"{EMOJI}|{EMOTICON}|{NUMBER}|{WORD}|[{HAN}]+|{MARK}")
HAN_RUN = re.compile(f"[{HAN}]")
LANGUAGES = ("auto", "en", "zh")


@functools.cache
def jieba() -> Any:
    """The package jieba, silent, its dictionary loaded on first use (about a second).

    Raises
    ------
    ImportError
        When it is not installed; says how to get it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its source predates today's warnings
            package = importlib.import_module("jieba")
    except ImportError:
        raise ImportError(
            "Chinese words need the package jieba, which is not installed: "
            "pip install 'lepton-ref[text]'. With language=\"en\" each character is a word."
        ) from None
    package.setLogLevel(60)
    package.initialize()
    return package


def tokenize(text: str, language: str = "auto") -> list[str]:
    """The words of a text, in lower case; punctuation and emoji are words too.

    A word is a run of letters and digits, with apostrophes inside (``don't``). A mark that
    repeats is one word of at most three (``!!!``), an emoji is one whatever it is made of. Runs
    of Chinese characters are cut by jieba, or with ``language="en"`` into characters.

    Parameters
    ----------
    text : str
        Cleaned or not.
    language : {"auto", "en", "zh"}
        ``"auto"`` is ``"zh"`` when a Chinese character occurs, and ``"en"`` otherwise.

    Returns
    -------
    list of str
        Empty for a text of white space.

    Raises
    ------
    ArgumentError
        For what is no text, and for another language.
    ImportError
        For Chinese without jieba.
    """
    text = check_text("tokenize", text)
    if language not in LANGUAGES:
        raise ArgumentError(
            "tokenize", "language", f"the value {language!r}", f"one of {', '.join(LANGUAGES)}"
        )
    if language == "auto":
        language = "zh" if HAN_RUN.search(text) else "en"
    cut = jieba().cut if language == "zh" else list
    tokens: list[str] = []
    for found in TOKEN.finditer(text.lower().replace("\u2019", "'")):
        token = found[0]
        if HAN_RUN.match(token):
            tokens.extend(cut(token))
        elif found["mark"] is not None:
            tokens.append(token[:3])
        else:
            tokens.append(token)
    return tokens
