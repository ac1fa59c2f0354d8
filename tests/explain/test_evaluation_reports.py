"""Reports, reasons of recommenders and the ranking of the page explain/evaluation."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import lepton_ref
from lepton_ref.explain import counterfactual
from lepton_ref.explain.evaluation import (
    ImageView,
    PatientView,
    RatedByMany,
    RecommendationView,
    Record,
    ReviewView,
    Task,
    deletion_curve,
    edge_detector,
    evaluate,
    from_because,
    patches,
    random_attribution,
    recommended,
    report,
    winners,
)
from lepton_ref.explain.evaluation.ranking import caught, estimate, table
from lepton_ref.explain.evaluation.reports.words import (
    apart,
    counted,
    listed,
    measurement,
    number,
    rank,
    strength,
    times,
    title,
    token_name,
)
from lepton_ref.explain.evaluation.tasks import recommendation_task
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import bootstrap_interval
from lepton_ref.framework.layers import Dense
from tests.data import load_or_skip


class Page(HTMLParser):
    """Tags, attributes and words of a file, and whether its tags are closed in order."""

    EMPTY = {"meta", "img", "br", "link", "hr", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def attribution(values, x=None, target=1, method="kernel_shap", **settings):
    values = np.asarray(values, float)[None]
    x = np.ones_like(values) if x is None else x
    goal = np.array([target])
    return Attribution(values, x, goal, np.array([2.0]), method, settings=settings)


def review(words=("good", "<b>bad</b>", "book"), values=(2.0, -1.0, 0.1), **more):
    view = ReviewView(words, ("negative", "positive"))
    return report(attribution(values), view, 0.9, **more)


def patient():
    names = ("worst concave points", "mean texture")
    view = PatientView(
        names, np.array([3.0, 1.0]), np.arange(20.0).reshape(10, 2) / 5, ("ill", "well")
    )
    return report(attribution([3.0, -1.0]), view, 0.97)


def moved(
    names=("worst area", "age", "pulse"), units=("", "years", "per minute"), to=(2.0, 50.4, 9.0)
):
    """A patient with three numbers, of which the first two would have had to be others."""
    now, others = np.array([1.0, 50.0, 9.0]), np.arange(30.0).reshape(10, 3)
    view = PatientView(names, now, others, ("ill", "well"), lambda v: v, units)
    where = np.flatnonzero(now != to)
    change = attribution([1.0, 1.0, 0.0], changed=[where], decision=np.array([0]),
                         flipped=np.array([True]), counterfactual=np.array([to]))  # fmt: skip
    return report(attribution([3.0, -1.0, 0.2]), view, 0.97, counterfactual=change)


def suggestion():
    view = RecommendationView(("Godfather, The", "Fargo"), (5, 0), "Star Wars", ("a", "b"))
    found = attribution([1.0, -0.5], changed=[np.array([0])], decision=np.array([1]))
    change = attribution([1.0, 0.0], changed=[np.array([0])], decision=np.array([1]),
                         flipped=np.array([True]))  # fmt: skip
    return report(found, view, 0.5, counterfactual=change, record=Record(41, 100))


def picture():
    shape = (1, 6, 6)
    values = np.zeros(shape)
    values[0, :2, :2], values[0, 4:, 4:] = 1.0, -0.5
    view = ImageView(np.full((6, 6), 200, np.uint8), ("hat", "shoe"), patches(shape, 2))
    return report(attribution(values), view, 0.999)


@pytest.mark.parametrize("made", [review, patient, moved, suggestion, picture])
def test_a_report_is_one_sound_file(made):
    """Closed tags, one heading, texts for pictures, no script, and nothing from another host."""
    told = made()
    page = Page(told.html)
    assert page.tags.count("h1") == 1 == page.tags.count("main")
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert ("html", "lang", "en") in page.attributes
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64,")
        if tag == "img" and name == "alt":
            assert len(value) > 10
        if name == "aria-label":
            assert "Spoke for it" in value
    assert not re.search(r"url\(|@import|https?://", told.html)
    assert "default-src 'none'" in told.html
    assert "@media print" in told.html and "prefers-color-scheme: dark" in told.html
    words = " ".join("".join(page.words).split())
    for sentence in (told.decided, told.sure, told.changed, told.limits):
        assert sentence in words, "the file says what the text says"
    for move in told.moves:
        assert f"{move.name}: from {move.before} to {move.after}" in words


def test_what_comes_from_outside_is_escaped():
    told = review()
    assert "<b>" not in told.html and "&lt;b&gt;bad" in told.html
    nasty = ReviewView(("a", "b", "c"), ("x", '"><script>alert(1)</script>'))
    html = report(attribution([1.0, 2.0, 3.0]), nasty, 0.5).html
    assert "<script" not in html and "&lt;script&gt;" in html


def test_what_a_report_says():
    told = review(record=Record(88, 100))
    assert told.decided == "The program says that this review is: positive."
    assert "about 9 times out of 10" in told.sure and "88 of its answers" in told.checked
    assert [e.name for e in told.spoke_for] == ["the word “good”", "the word “book”"]
    assert [e.name for e in told.spoke_against] == ["the word “<b>bad</b>”"]
    assert told.spoke_for[0].value == pytest.approx(2 / 3.1)
    assert told.changed == "This was not looked for."
    assert "the word “good”" in told.alt and told.decided in told.text
    assert told.checked in " ".join(told.text.split())
    assert repr(told).startswith("Report: The program says")
    other = suggestion()
    assert (
        "“The Godfather”" in other.spoke_for[0].name and "5 of 5 stars" in other.spoke_for[0].name
    )
    assert (
        other.changed == "Had you not rated “The Godfather”, “b” would have been suggested first."
    )
    assert "41 of these guesses" in other.checked and "that you know “Fargo”" in other.alt
    assert "upper left" in picture().spoke_for[0].name
    assert "lower right" in picture().spoke_against[0].name
    assert patient().spoke_for[0].name.startswith("dented parts of the nuclei's outline, at the")


def test_numbers_that_would_have_to_be_others_are_a_list():
    """One line each: name, from, to, in units where there are any."""
    told = moved()
    assert told.changed == (
        "With these 2 numbers changed, and all others as they are, it would have said: ill."
    )
    assert told.text.count("\n  - ") == len(told.moves) + 3
    assert max(map(len, told.text.splitlines())) <= 80
    assert (
        "  - area of the cell nuclei, at the extremes: from 1 to 2\n"
        "  - age: from 50 years to 50.4 years\n\n"
    ) in told.text
    assert "<li>age: from 50 years to <strong>50.4 years</strong></li>" in told.html
    assert "age: 50 years (higher than" in told.spoke_against[0].name
    alone = moved(units=(), to=(1.0, 50.0, 9.00004))
    assert alone.changed.startswith("With this one number changed, and all others as they are, it")
    assert [tuple(m) for m in alone.moves] == [("pulse", "9", "9.00004")]
    every = moved(to=(2.0, 3.0, 4.0))
    assert every.changed.startswith("With these 3 numbers changed it would have said")
    assert review().moves == () == suggestion().moves
    nasty = moved(names=("a", "<b>x</b>", "c"), units=("", "<i>", ""))
    assert "<b>" not in nasty.html and "&lt;b&gt;x&lt;/b&gt;: from 50 &lt;i&gt;" in nasty.html
    with pytest.raises(ArgumentError, match="1 units in PatientView; expected 3"):
        moved(units=("years",))


def test_marks_are_named_and_counted():
    """A mark is evidence under its own name, and its share stays in the sums."""
    told = review(("good", ",", ",", "?"), (2.0, -1.0, -0.5, 0.5))
    assert [tuple(e) for e in told.spoke_for] == [
        ("the word “good”", 0.5), ("the question mark", 0.125),
    ]  # fmt: skip
    assert [tuple(e) for e in told.spoke_against] == [("the comma", -0.375)]
    assert "the comma" in told.alt and "a comma is a word to it" in told.limits
    for tokens, said in (
        ([","], "Without the comma it would have said: negative."),
        (["no", ",", ",", "no", "!"], "Without the word “no” (twice) and without the comma (twice) "
         "and the exclamation mark it would have said: negative."),
        (["no", "not"], "Without the words “no” and “not” it would have said: negative."),
    ):  # fmt: skip
        values, all_of_them = np.ones(len(tokens)), [np.arange(len(tokens))]
        change = attribution(
            values, changed=all_of_them, decision=np.array([0]), flipped=np.array([True])
        )
        view = ReviewView(tokens, ("negative", "positive"))
        assert report(attribution(values), view, 0.9, counterfactual=change).changed == said


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("good", "the word “good”"), ("don't", "the word “don't”"), ("4", "the word “4”"),
        (".", "the full stop"), ("...", "the dots “...”"), ("!!!", "the exclamation marks “!!!”"),
        (":)", "the sign “:)”"), (":d", "the sign “:d”"), ("<3", "the sign “<3”"),
        ("☹", "the sign “☹”"), ("好", "the word “好”"),
    ],
)  # fmt: skip
def test_tokens_have_names(token, said):
    assert token_name(token) == said


def test_words_that_occur_twice_count_together():
    told = review(("well", "well", "ill"), (1.0, -0.4, 0.4))
    assert told.spoke_for[0].name == "the word “well”"
    assert told.spoke_for[0].value == pytest.approx(0.6)


def test_counterfactuals_of_real_models(rng):
    """A picture and a patient whose decisions a found change flips, told in words."""
    layer = Dense(4, 2, rng=rng)
    layer.load_state(
        {"weight": np.array([[0, 1], [0, 2], [0, 0], [0, 0.0]]), "bias": np.array([1, 0.0])}
    )
    x = np.array([[1.0, 1.0, 1.0, 1.0]], np.float32)
    change = counterfactual(layer, x, baseline=0.0)
    found = attribution([1.0, 2.0, 0, 0], x=x)
    told = report(found, ReviewView("abcd", ("no", "yes")), 0.8, counterfactual=change)
    assert told.changed.startswith("Without the word") and told.changed.endswith("said: no.")
    rows = rng.normal(size=(40, 4)).astype("float32")
    moved = counterfactual(layer, x, training=rows)
    view = PatientView("abcd", 10 * x[0], 10 * rows, ("no", "yes"), to_units=lambda v: 10 * v)
    told = report(found, view, 0.8, counterfactual=moved)
    assert told.changed.endswith("it would have said: no.")
    assert [m.name for m in told.moves] == ["abcd"[i] for i in moved.settings["changed"][0]]
    assert told.moves and all(m.before == "10" != m.after for m in told.moves)
    firm = counterfactual(lambda x: np.tile([0.0, 9.0], (len(x), 1)), x, baseline=0.0)
    told = report(found, ReviewView("abcd", ("no", "yes")), 0.8, counterfactual=firm)
    assert told.changed == "Nothing that we tried would have changed the answer."
    plane = np.ones((1, 2, 2), np.float32)
    box = lambda x: np.stack([np.full(len(x), 1.5), x.sum(axis=(1, 2))], axis=1)
    players = np.arange(4).reshape(2, 2)
    for own, words in ((players, "small squares left blank"), (None, "of its pixels left blank")):
        gone = counterfactual(box, plane, players=players, baseline=0.0)
        image = ImageView(np.full((2, 2), 9, np.uint8), ("dark", "light"), own)
        told = report(attribution(plane[0], x=plane), image, 0.7, counterfactual=gone)
        assert words in told.changed and told.changed.endswith("said: dark.")


def test_a_square_that_was_left_blank_stands_in_one_place():
    """Its corner lies in four regions of nine; a person is told where its middle is."""
    plane = np.zeros((1, 12, 12), np.float32)
    plane[0, 3:7, 0:4] = plane[0, 9:, 9:] = 1.0
    players = np.zeros((12, 12), np.int64)
    players[3:7, 0:4], players[9:, 9:] = 1, 2
    view = ImageView(np.full((12, 12), 9, np.uint8), ("dark", "light"), players)
    for level, said in (
        (12.0, "one small square left blank (about 11 % of the picture, at the middle left)"),
        (3.0, "2 small squares left blank (about 17 % of the picture, at the middle left and the "
              "lower right)"),
    ):  # fmt: skip
        box = lambda x: np.stack([np.full(len(x), level), x.sum(axis=(1, 2))], axis=1)  # noqa: B023
        gone = counterfactual(box, plane, players=players, baseline=0.0)
        told = report(attribution(plane[0], x=plane), view, 0.7, counterfactual=gone)
        assert said in told.changed


def test_a_saved_report_is_read_back(tmp_path):
    told = review()
    assert told.save(tmp_path / "a.html").read_text(encoding="utf-8") == told.html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"example": 1}, "`example` has the value 1; expected 0..0"),
        ({"top": 0}, "`top` has the value 0"),
        ({"values": (0.0, 0.0, 0.0)}, "only zeros"),
        ({"values": (1.0, 2.0)}, "3 words in ReviewView; expected 2"),
        (
            {"counterfactual": attribution([1.0] * 3, x=np.zeros((1, 3)), flipped=np.array([1]))},
            "another example",
        ),
    ],
)
def test_wrong_reports_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        review(**options)


def test_more_refusals():
    with pytest.raises(ArgumentError, match="`probability` has the value 1.5"):
        report(attribution([1.0]), ReviewView(("a",), ("x", "y")), 1.5)
    small = ImageView(np.zeros((3, 3), np.uint8), ("a", "b"))
    with pytest.raises(ArgumentError, match=r"a picture of \(3, 3\)"):
        report(attribution(np.ones((1, 6, 6))), small, 0.5)
    with pytest.raises(ArgumentError, match="a probability"):
        times(-0.1)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (1.0, "more than 99 times out of 100"),
        (0.97, "about 97 times out of 100"),
        (0.9, "about 9 times out of 10"),
        (0.5, "about 5 times out of 10"),
        (0.12, "about once out of 10"),
        (0.02, "about 2 times out of 100"),
        (0.001, "less than once out of 100"),
    ],
)
def test_probabilities_in_words(p, said):
    assert times(p) == said


def test_numbers_in_words():
    assert [number(v) for v in (0, 25.38, 0.07314, 1210.4, 1.234e-5)] == [
        "0", "25.4", "0.0731", "1,210", "almost 0",
    ]  # fmt: skip
    assert number(999.7) == "1000" and number(0.000123456) == "0.000123"
    assert apart(0.194, 1e-6) == ("0.194", "almost 0") and apart(115.2, 94.93) == ("115", "94.9")
    assert apart(0.13812, 0.13799) == ("0.1381", "0.138")
    assert apart(1210.4, 1209.6) == ("1,210.4", "1,209.6") and apart(7.0, 7.0) == ("7", "7")
    assert counted(["a", "b", "a", "c", "c", "c"]) == ["a (twice)", "b", "c (3 times)"]
    assert rank(0.97) == "higher than 97 of 100" and rank(0.2) == "lower than 80 of 100"
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert [strength(s) for s in (0.5, 0.25, 0.1, 0.05, 0.01)] == [
        "by far the most", "strongly", "clearly", "a little", "hardly",
    ]  # fmt: skip
    assert title("Good, the Bad and the Ugly, The") == "The Good, the Bad and the Ugly"
    assert title("Me, Myself") == "Me, Myself"
    assert measurement("area error") == "area of the cell nuclei, how uncertain its average is"
    assert measurement("age") == "age"


# --- recommenders --------------------------------------------------------------------------


def ratings():
    from lepton_ref.recsys.evaluation import Ratings

    rng = np.random.default_rng(3)
    pairs = [(u, i) for u in range(30) for i in range(12) if rng.random() < 0.6]
    users, items = np.array(pairs).T
    return Ratings.of(users, items, rng.integers(1, 6, len(users)), scale=(1, 5))


def test_reasons_of_three_recommenders_are_one_kind():
    """Each is complete: base and contributions give the score."""
    from lepton_ref.recsys.content import Because
    from lepton_ref.recsys.neighbours import CollaborativeFiltering, NearestNeighbours

    table = ratings()
    near = NearestNeighbours(k=5).fit(table)
    reason = near.because(0, 3)
    found = from_because(reason)
    assert abs(found.gap[0]) < 1e-9
    assert found.settings["items"] == tuple(reason.neighbours.tolist())
    public = CollaborativeFiltering(top=5).fit(table)
    person = {1: 5.0, 2: 2.0, 4: 4.0}
    shares = public.because(person, 3, k=10)
    found = from_because(shares)
    at = np.flatnonzero(public.item_ids == 3)[0]
    assert found.outputs[0] == pytest.approx(np.asarray(public.predict(person))[at])
    own = Because(1.5, 0.5, np.array([2, 0]), np.array([0.7, 0.3]))
    found = from_because(own, names=["a", "b", "c"])
    assert found.settings["items"] == ("c", "a") and abs(found.gap[0]) < 1e-12
    with pytest.raises(ArgumentError, match="type int"):
        from_because(3)
    with pytest.raises(ArgumentError, match="no item"):
        from_because([])


def test_each_row_is_scored_with_its_own_items():
    model = lepton_ref.load_model("matrix_factorization_model")
    columns = np.array([[0, 5, 9], [3, 7, 2]])
    box, given = RatedByMany(model, columns), np.array([[5.0, 3, 0], [1, 0, 4]])
    found = box.ratings(given)
    ids = np.asarray(model.item_ids)
    for n in range(2):
        person = {ids[c].item(): r for c, r in zip(columns[n], given[n]) if r}
        np.testing.assert_allclose(found[n], model.predict(person), atol=1e-9)
    led = box(given)
    free = np.setdiff1d(np.arange(len(ids)), columns[1])
    np.testing.assert_allclose(led[1, free], (found[1] - found[1].mean())[free])
    assert (led[1, columns[1]] == -10).all(), "what a person has is not suggested"
    np.testing.assert_allclose(box.select([1, 1])(given[[1, 1]])[0], led[1])
    for bad, message in (
        (np.zeros(3, int), r"of shape \(3,\)"), (np.array([[1, 1]]), "an item twice"),
        (np.array([[1, 9999]]), "the value 9999"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            RatedByMany(model, bad)
    with pytest.raises(ArgumentError, match=r"shape \(3, 3\)"):
        box(np.zeros((3, 3)))


def test_more_people_than_fit_in_a_batch():
    """Each batch of a black box is asked with the items of its own people."""
    model = lepton_ref.load_model("matrix_factorization_model")
    rng = np.random.default_rng(0)
    columns = np.array([rng.choice(len(model.item_ids), 3, replace=False) for _ in range(20)])
    box, given = RatedByMany(model, columns), rng.integers(0, 6, (20, 3)).astype(float)
    whole = np.concatenate([box.select([n])(given[n : n + 1]) for n in range(20)])
    np.testing.assert_allclose(black_box(box, batch_size=7)(given), whole, atol=1e-9)
    alone = black_box(box.select([4]), batch_size=7)(given)
    np.testing.assert_allclose(alone[4], whole[4], atol=1e-9)


@pytest.mark.parametrize("samples", [64, 500])
def test_recommendations_are_explained_at_every_number_of_samples(samples):
    """The number of orders is even in the quick profile and in the full one."""
    load_or_skip("movielens-100k")
    task = recommendation_task(2, samples)
    found = task.explainers["permutation_shapley"](task.model, task.x, task.target)
    assert np.abs(found.gap).max() < 1e-6 and np.abs(found.values).max() > 0.01


def test_an_output_of_ones_own_keeps_the_items():
    """Whoever asks for another output of the same people is still asked row by row."""

    class Itself(RatedByMany):
        def __call__(self, ratings):
            return self.ratings(ratings)

    model = lepton_ref.load_model("matrix_factorization_model")
    box, given = Itself(model, np.array([[0, 5], [3, 7]])), np.array([[5.0, 1], [2, 4]])
    np.testing.assert_allclose(box.select([1])(given[1:])[0], box.ratings(given)[1], atol=1e-9)


# --- ranking -------------------------------------------------------------------------------


def small_task(rng, **more):
    """A linear classifier: its contributions must win, the controls must be caught."""
    layer = Dense(8, 2, rng=rng)
    w = rng.normal(size=(8, 2)) * 2
    layer.load_state({"weight": w, "bias": np.zeros(2)})
    x = rng.normal(size=(60, 8)).astype("float32")
    target = (x @ w).argmax(axis=1)

    def exact(model, x, target=None):
        now = np.asarray(model.state()["weight"], float)
        return Attribution(x * now.T[target], x, target, np.zeros(len(x)), "exact")

    explainers = {"exact": exact, "random": random_attribution, "edge_detector": edge_detector}
    return Task("small", layer, x, target, 0.0, explainers | more, weights=layer)


def test_the_ranking_tells_the_truth_from_the_controls(rng):
    names = []
    task = small_task(rng)
    trial = evaluate(task, draws=8, sanity_examples=20, progress=names.append)
    scores, values = trial.scores, trial.values
    assert [s.explainer for s in scores][0] == "exact" == names[0]
    best = scores[0]
    assert best.beats(scores[1]) and winners(scores) == ["exact"] == recommended(scores)
    assert caught(scores, "edge_detector") and caught(scores, "random")
    assert not caught(scores, "exact")
    level, edge = best.deletion, next(s for s in scores if s.explainer == "edge_detector")
    assert not best.beats(best._replace(deletion=level._replace(mean=level.mean + 1e-6)))
    as_good = [best, edge._replace(deletion=level), *(s for s in scores[1:] if s is not edge)]
    assert winners(as_good) == [], "both controls have to be beaten"
    assert recommended([best._replace(signed=-0.3), *scores[1:]]) == []
    assert 0 <= best.infidelity.mean < 0.9
    assert all(0 <= s.infidelity.mean <= 1 for s in scores)
    assert best.deletion.low < best.deletion.mean < best.deletion.high
    assert set(values) == {"exact", "random", "edge_detector"} and values["exact"].shape == (60, 8)
    shown = table(scores)
    assert shown.splitlines()[1].endswith(f"{best.signed:>7.2f}{best.size:>5.2f}")
    assert "control: random" in shown and f"{best.deletion.mean:.2f}" in shown
    assert max(map(len, shown.splitlines())) <= 81
    alone = deletion_curve(task.model, trial.attributions["exact"], baseline=0.0, steps=8)
    np.testing.assert_allclose(trial.deletion["exact"].outputs, alone.outputs, atol=1e-6)
    assert best.deletion.mean == pytest.approx(alone.area.mean(), abs=1e-6)
    assert "60 examples, 3 explainers" in repr(small_task(rng))


def test_a_task_needs_its_controls(rng):
    task = small_task(rng)
    del task.explainers["random"]
    with pytest.raises(ArgumentError, match="no explainer random; expected both controls"):
        evaluate(task)


def test_an_estimate_is_the_bootstrap_of_the_framework(rng):
    values = rng.exponential(size=37)
    same = bootstrap_interval(np.mean, (values,), np.random.default_rng(4), 200)
    np.testing.assert_allclose(estimate(values, 4, resamples=200), (values.mean(), *same))


def test_estimates_cover(rng):
    """The interval of a mean holds the true one about 95 times out of 100."""
    hits = 0
    for seed in range(100):
        found = estimate(rng.exponential(size=50), seed, resamples=300)
        hits += found.low <= 1 <= found.high
    assert 85 <= hits < 100, "an interval that always holds the mean is too wide"
