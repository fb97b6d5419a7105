"""When results go out: what the SDK's slow-tail rule allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dria_magpie.gateway.release import Release, Standing, decide_release

HOLD = 45.0


def stand(size, done, released=0, *, began=0.0, known=0.75, progress=0.0) -> Standing:
    return Standing(
        size=size, done=done, released=released, began=began, known_from=known, progress=progress
    )


def test_nothing_is_decided_where_nothing_is_done() -> None:
    assert decide_release(stand(5, 0), 1.0, HOLD) == Release(0)
    assert decide_release(stand(5, 2, 2), 60.0, HOLD) == Release(0)


def test_all_go_out_once_all_are_done_and_no_more_come() -> None:
    assert decide_release(stand(50, 50), 0.75, HOLD) == Release(50)
    assert decide_release(stand(50, 50, 20), 8.0, HOLD) == Release(30)
    waiting = decide_release(stand(1, 1, known=3.75), 3.1, HOLD)
    assert (waiting.most, waiting.again, waiting.reason) == (0, 3.75, "not all are known yet")


def test_only_a_few_go_out_early() -> None:
    assert decide_release(stand(50, 30), 5.0, HOLD).most == 20
    assert decide_release(stand(50, 30, 20), 5.0, HOLD).most == 0
    assert decide_release(stand(2, 1), 10.0, HOLD).most == 0
    assert decide_release(stand(50, 10), 6.0, HOLD) == Release(10)


def test_early_ones_wait_a_moment_unless_an_answer_is_given_anyway() -> None:
    waiting = decide_release(stand(50, 10), 2.0, HOLD)
    assert (waiting.most, waiting.again) == (0, 5.0)
    assert decide_release(stand(50, 10), 2.0, HOLD, at_the_end=True).most == 10


def test_after_the_hold_each_goes_out_as_it_comes() -> None:
    held = decide_release(stand(5, 4, 2), 44.0, HOLD)
    assert (held.most, held.again) == (0, 45.0)
    assert decide_release(stand(5, 4, 2), 45.0, HOLD) == Release(2)


def test_the_last_ones_wait_for_each_other_as_long_as_something_comes() -> None:
    moving = decide_release(stand(50, 49, 30, progress=88.0), 90.0, HOLD)
    assert (moving.most, moving.again) == (17, 133.0)
    assert decide_release(stand(50, 49, 47, progress=88.0), 133.0, HOLD) == Release(2)
    assert decide_release(stand(50, 50, 47, progress=90.0), 90.0, HOLD) == Release(3)


def given_up(arrivals: list[float], size: int, now: float) -> bool:
    """The SDK's rule, as it stands in its source."""
    if len(arrivals) <= 0.4 * size or len(arrivals) == size:
        return False
    times = 5 if len(arrivals) / size < 0.95 else 2
    return now > sum(arrivals) / len(arrivals) * times


@given(st.integers(1, 50), st.floats(5.0, 600.0))
def test_of_tasks_that_end_one_after_the_other_none_is_given_up(size, seconds) -> None:
    ends = [seconds * (number + 1) / size for number in range(size)]
    arrivals: list[float] = []
    now = 0.0
    while len(arrivals) < size:
        assert not given_up(arrivals, size, now)
        done = sum(end <= now for end in ends)
        standing = stand(
            size, done, len(arrivals), progress=max(e for e in [0.0, *ends] if e <= now)
        )
        arrivals += [now] * decide_release(standing, now, HOLD).most
        now += 1.0


@pytest.mark.parametrize("now", [0.0, 1.0, 4.9, 5.0, 44.9])
@given(st.integers(1, 50), st.data())
def test_never_more_than_two_in_five_before_all_are_done(now, size, data) -> None:
    done = data.draw(st.integers(0, size - 1))
    released = data.draw(st.integers(0, min(done, size * 2 // 5)))
    for at_the_end in (False, True):
        release = decide_release(stand(size, done, released), now, HOLD, at_the_end=at_the_end)
        assert 0 <= release.most <= done - released
        assert released + release.most <= 0.4 * size
