"""Threads over a batch: same results, errors that come through, BLAS left as it was."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from lepton_ref.framework import parallel
from lepton_ref.framework.parallel import over_batch


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: 3)


def test_slices_cover_the_batch_once_and_in_order(three_threads):
    for n in (3, 4, 10, 64):
        slices = over_batch(lambda s: s, n, operations=1e9)
        assert len(slices) == 3
        assert [i for s in slices for i in range(n)[s]] == list(range(n))


def test_parts_run_in_threads_of_their_own(three_threads):
    barrier = threading.Barrier(3, timeout=10)

    def work(part):
        barrier.wait()  # passes only when three run at once
        return threading.get_ident()

    assert len(set(over_batch(work, 3, operations=1e9))) == 3


def test_small_work_stays_in_one_piece(three_threads):
    assert over_batch(lambda s: s, 10, operations=10) == [slice(0, 10)]
    assert over_batch(lambda s: s, 1, operations=1e9) == [slice(0, 1)]
    assert over_batch(lambda s: s, 0, operations=1e9) == [slice(0, 0)]


def test_inside_a_part_nothing_is_cut_again(three_threads):
    inner = over_batch(lambda s: over_batch(lambda t: t, 8, operations=1e9), 3, operations=1e9)
    assert inner == [[slice(0, 8)]] * 3


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_part_comes_through_after_all_have_ended(failing, three_threads):
    ended = []

    def work(part):
        if part.start == failing:
            raise ValueError("from a part")
        ended.append(part.start)

    with pytest.raises(ValueError, match="from a part"):
        over_batch(work, 3, operations=1e9)
    assert sorted(ended) == sorted({0, 1, 2} - {failing})
    assert over_batch(lambda s: s.start, 3, operations=1e9) == [0, 1, 2]  # and it goes on working


def test_blas_has_one_thread_inside_and_as_many_as_before_after(three_threads):
    blas = parallel._blas()
    if blas is None:
        pytest.skip("this BLAS cannot be asked for its threads")
    get, tell, _ = blas
    before = get()
    tell(2)
    try:
        assert over_batch(lambda s: get(), 3, operations=1e9) == [1, 1, 1]
        assert get() == 2
    finally:
        tell(before)


@pytest.mark.parametrize("version, inside", [((0, 3, 27), 1), ((0, 3, 29), 2), ((), 1)])
def test_narrow_products_run_on_one_thread_where_blas_cuts_them_badly(version, inside, monkeypatch):
    told = [2]
    blas = parallel._Blas(lambda: told[-1], told.append, version)
    monkeypatch.setattr(parallel, "_blas", lambda: blas)
    with parallel.narrow_products():
        assert told[-1] == inside
    assert told[-1] == 2
    with pytest.raises(ValueError), parallel.narrow_products():
        raise ValueError
    assert told[-1] == 2


def test_narrow_products_without_a_blas_that_can_be_told(monkeypatch):
    monkeypatch.setattr(parallel, "_blas", lambda: None)
    with parallel.narrow_products():
        assert parallel.threads() == 1


def test_without_a_blas_that_can_be_told_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(parallel, "_blas", lambda: None)
    assert parallel.threads() == 1


def test_a_blas_that_does_not_say_is_found_out(monkeypatch):
    class Silent:
        pass

    monkeypatch.setattr(parallel.ctypes, "CDLL", lambda path: Silent())
    assert parallel._blas.__wrapped__() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_its_own_threads(three_threads):
    total = np.arange(30.0)
    assert sum(over_batch(lambda s: total[s].sum(), 30, operations=1e9)) == total.sum()
    child = os.fork()
    if child == 0:
        right = sum(over_batch(lambda s: total[s].sum(), 30, operations=1e9)) == total.sum()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
