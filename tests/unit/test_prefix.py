"""Messages are deleted in bulk, and none that is needed goes with them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dria_magpie.network.hub.prefix import MOST_WAITING, Cut, Prefix


def test_what_is_done_with_goes_up_to_the_first_that_is_needed() -> None:
    prefix = Prefix()
    for seq in range(1, 7):
        prefix.add(seq)
    assert prefix.take() == Cut(0, ())
    for seq in (1, 2, 4):
        assert prefix.finish(seq)
    assert prefix.take() == Cut(3, ())
    assert prefix.take() == Cut(0, ())
    prefix.finish(3)
    assert prefix.take() == Cut(5, ())


def test_what_is_done_with_can_be_deleted_singly() -> None:
    prefix = Prefix()
    for seq in (1, 2, 3):
        prefix.add(seq)
    prefix.finish(3)
    assert prefix.leave() == (3,)
    assert prefix.take() == Cut(0, ())


def test_what_is_unknown_is_not_deleted_in_bulk() -> None:
    assert not Prefix().finish(5)


def test_one_that_stays_holds_back_no_more_than_some() -> None:
    prefix = Prefix()
    for seq in range(MOST_WAITING + 4):
        prefix.add(seq)
    for seq in range(1, MOST_WAITING + 4):
        prefix.finish(seq)
    assert prefix.take() == Cut(0, (1, 2, 3))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=80))
def test_nothing_that_is_needed_is_ever_deleted(steps) -> None:
    prefix, stored, needed, following = Prefix(), set(), set(), 1
    for kind, which in steps:
        if kind < 2:
            prefix.add(following)
            stored.add(following)
            needed.add(following)
            following += 1
        elif kind == 2 and needed:
            seq = sorted(needed)[which % len(needed)]
            needed.discard(seq)
            prefix.finish(seq)
        else:
            cut = prefix.take()
            stored = {seq for seq in stored if seq >= cut.below} - set(cut.single)
        assert needed <= stored
    for seq in needed:
        prefix.finish(seq)
    cut = prefix.take()
    assert {seq for seq in stored if seq >= cut.below} <= set()
