"""What a sweep decides: to try again, to stop, what to expect, and how it says so."""

from __future__ import annotations

import time
from types import MappingProxyType

import pytest

from dria_magpie.cli.progress import describe, describe_reasons, describe_time
from dria_magpie.errors import (
    ContextLengthError,
    DrainedError,
    DriaMagpieError,
    EmptyCompletionError,
    EndpointError,
    EngineError,
    GraphError,
    InstructionError,
    InvalidInputError,
    LimitError,
    ModelFileError,
    NetworkError,
    NoNodeError,
    ParseError,
    StateError,
    StepError,
    StoreError,
    TaskTimeoutError,
    UnsupportedError,
    WorkflowError,
)
from dria_magpie.models import Turn
from dria_magpie.sweep import Status
from dria_magpie.sweep.ending import COMPLETE, Ending
from dria_magpie.sweep.forecast import forecast, sample_plan
from dria_magpie.sweep.limits import is_used_up, used_up
from dria_magpie.sweep.outage import MOST_IN_A_ROW, MOST_OWN_IN_A_ROW, Outage
from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.recipe import Limits, Recipe
from dria_magpie.sweep.retry import RowRetry, decide_retry
from dria_magpie.sweep.row import Row

DOWN = EndpointError("the server is down", 503)


def all_errors() -> set[type[DriaMagpieError]]:
    found, left = set(), [DriaMagpieError]
    while left:
        kind = left.pop()
        found.add(kind)
        left += [k for k in kind.__subclasses__() if k.__module__ == "dria_magpie.errors"]
    return found


# Whether a row is tried again

ENDPOINTS = {EngineError, EndpointError, DrainedError, NetworkError}
UNUSABLE = {EmptyCompletionError, InstructionError}
SETUP = {NoNodeError, ModelFileError, UnsupportedError}
FOR_GOOD = {
    DriaMagpieError,
    InvalidInputError,
    WorkflowError,
    GraphError,
    StateError,
    StepError,
    LimitError,
    ContextLengthError,
    TaskTimeoutError,
    StoreError,
    ParseError,
}


def test_every_kind_of_error_is_decided_on():
    assert all_errors() == ENDPOINTS | UNUSABLE | SETUP | FOR_GOOD


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, "endpoint") for kind in sorted(ENDPOINTS, key=str)),
        (EmptyCompletionError, "row"),
    ],
)
def test_a_failure_of_the_model_is_tried_as_often_as_the_recipe_says(kind, fault):
    decided = [decide_retry(kind("why"), attempts, 2) for attempts in (1, 2, 3, 4)]
    assert [retry.again for retry in decided] == [True, True, False, False]
    assert {retry.fault for retry in decided} == {fault}
    assert decided[2].reason == "3 attempts were made"


def test_with_no_retries_nothing_is_tried_again():
    assert not decide_retry(DOWN, 1, 0).again
    assert decide_retry(DOWN, 1, 1).again


@pytest.mark.parametrize("kind", sorted(SETUP, key=str))
def test_where_nothing_serves_the_model_it_is_the_setup(kind):
    assert decide_retry(kind("why"), 1, 100) == RowRetry(False, "setup", "nothing serves the model")


@pytest.mark.parametrize("kind", sorted(FOR_GOOD, key=str))
def test_what_ends_in_the_same_way_is_not_tried_again(kind):
    retry = decide_retry(kind("why"), 1, 100)
    assert (retry.again, retry.fault) == (False, "row")


@pytest.mark.parametrize("status", [None, 408, 409, 425, 429, 500, 501, 502, 503, 504, 529, 599])
def test_passing_troubles_of_an_endpoint_are_tried_again(status):
    assert decide_retry(EndpointError("why", status), 1, 2).again
    last = decide_retry(EndpointError("why", status), 3, 2)
    assert last == RowRetry(False, "endpoint", "3 attempts were made")


@pytest.mark.parametrize("status", [401, 402, 404, 405])
def test_a_refusal_of_everybody_is_the_setup(status):
    retry = decide_retry(EndpointError("why", status), 1, 100)
    assert retry == RowRetry(False, "setup", f"the endpoint refuses with {status}")


@pytest.mark.parametrize("status", [300, 301, 307, 400, 403, 410, 413, 415, 418, 422, 451])
def test_a_refusal_of_the_prompt_is_the_rows_own(status):
    """A content filter says 403, too."""
    retry = decide_retry(EndpointError("why", status), 1, 100)
    assert retry == RowRetry(False, "row", f"the endpoint refuses this prompt with {status}")


# Rows that fail, or a sweep that cannot go on

ROW, ENDPOINT, SETTING = (
    RowRetry(False, "row", "its own"),
    RowRetry(False, "endpoint", "may come back"),
    RowRetry(False, "setup", "for all"),
)
FAULTS = [ROW, ENDPOINT, SETTING]
faults = pytest.mark.parametrize("fault", FAULTS, ids=lambda retry: retry.fault)
others = pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda retry: retry.fault)


def test_before_anything_worked_a_failure_is_held_back_until_a_turn_is_done():
    outage = Outage[int](works=False)
    assert outage.add(1, DOWN, ENDPOINT) is None
    assert outage.add(2, DOWN, ENDPOINT) is None
    assert outage.release() == []
    outage.turn_done()
    assert outage.release() == [1, 2]
    assert outage.release() == []


@others
def test_a_failure_that_may_be_the_endpoints_is_held_back_though_something_worked(fault):
    outage = Outage[int](works=True)
    assert outage.add(1, DOWN, fault) is None
    assert outage.release() == []
    outage.turn_done()
    assert outage.release() == [1]
    assert outage.release() == []


@others
def test_a_turn_tells_nothing_of_failures_after_it(fault):
    outage = Outage[int](works=False)
    outage.turn_done()
    outage.add(1, DOWN, fault)
    assert outage.release() == []


def test_a_rows_own_failure_is_real_at_once_though_nothing_worked():
    outage = Outage[int](works=False)
    for number in range(MOST_IN_A_ROW - 1):
        assert outage.add(number, DOWN, ROW) is None
        assert outage.release() == [number]


@pytest.mark.parametrize("works", [True, False], ids=["earlier", "now"])
def test_once_something_worked_hundreds_of_rows_may_fail_for_themselves(works):
    outage = Outage[int](works=works)
    if not works:
        outage.turn_done()
    for number in range(MOST_OWN_IN_A_ROW - 1):
        assert outage.add(number, DOWN, ROW) is None
        assert outage.release() == [number]
    assert outage.add(199, DOWN, ROW).kind == "halted"
    assert outage.release() == [199]


def test_a_rows_own_failure_leaves_the_held_ones_held():
    outage = Outage[int](works=True)
    for number in range(MOST_IN_A_ROW - 1):
        assert outage.add(number, DOWN, ENDPOINT) is None
        assert outage.add(100 + number, DOWN, ROW) is None
    assert outage.release() == list(range(100, 100 + MOST_IN_A_ROW - 1))
    assert outage.add(99, DOWN, ENDPOINT).reason.startswith("20 rows failed")


@faults
@pytest.mark.parametrize("works", [True, False])
def test_once_every_row_was_tried_all_failures_count_once(fault, works):
    outage = Outage[int](works=works)
    outage.add(1, DOWN, fault)
    outage.turn_done()
    outage.add(2, DOWN, fault)
    assert outage.release_all() == [1, 2]
    assert outage.release_all() == []


def test_failures_count_once_every_row_was_tried_though_nothing_worked():
    outage = Outage[int](works=False)
    assert outage.add(1, DOWN, ROW) is outage.add(2, DOWN, ENDPOINT) is None
    assert outage.release_all() == [1, 2]


@pytest.mark.parametrize(
    ("fault", "works", "kind"),
    [
        (ROW, False, "halted"),
        (ENDPOINT, False, "halted"),
        (SETTING, True, "halted"),
        # It may come back by itself.
        (ENDPOINT, True, "outage"),
    ],
)
def test_too_many_failures_in_a_row_end_a_sweep(fault, works, kind):
    outage = Outage[int](works=works)
    said = [outage.add(number, DOWN, fault) for number in range(MOST_IN_A_ROW)]
    assert said[:-1] == [None] * 19
    assert said[-1] == Ending(
        kind, "20 rows failed, and none succeeded meanwhile; the last: the server is down"
    )
    assert outage.release() == (list(range(MOST_IN_A_ROW)) if fault is ROW else [])


@others
def test_each_turn_begins_the_count_of_failures_anew(fault):
    outage = Outage[int](works=True)
    for number in range(100):
        assert outage.add(number, DOWN, fault) is None
        if number % 19 == 18:
            outage.turn_done()
    assert outage.release() == list(range(95))


@pytest.mark.parametrize("status", [401, 404])
def test_one_failure_of_the_setup_halts_a_sweep_that_never_worked(status):
    error = EndpointError("bad key", status)
    outage = Outage[int](works=False)
    assert outage.add(1, error, decide_retry(error, 1, 2)) == Ending("halted", "bad key")
    assert outage.release() == []


def test_a_failure_of_the_setup_halts_even_after_failures_of_other_kinds():
    outage = Outage[int](works=False)
    outage.add(1, DOWN, ENDPOINT)
    assert outage.add(2, DOWN, SETTING) == Ending("halted", "the server is down")


@pytest.mark.parametrize("works", [True, False], ids=["earlier", "now"])
def test_a_failure_of_the_setup_is_held_once_something_worked(works):
    outage = Outage[int](works=works)
    if not works:
        outage.turn_done()
    assert outage.add(1, DOWN, SETTING) is None
    assert outage.release() == []
    outage.turn_done()
    assert outage.release() == [1]


# Limits


@pytest.mark.parametrize(
    ("most", "spent", "used"),
    [
        (None, 10**9, False),
        (5000, 4999, False),
        (5000, 5000, True),
        (2.5, 2.4, False),
        (2.5, 3, True),
    ],
)
def test_a_limit_is_used_up_when_nothing_is_left(most, spent, used):
    assert is_used_up(most, spent) is used


@pytest.mark.parametrize(
    ("name", "most", "said"),
    [
        ("tokens", 5000, "limits.tokens = 5,000 is used up"),
        ("seconds", 7200.0, "limits.seconds = 7,200 is used up"),
        ("seconds", 2.5, "limits.seconds = 2.5 is used up"),
    ],
)
def test_a_limit_that_is_used_up_is_named(name, most, said):
    assert used_up(name, most) == Ending("limit", said)


# How it is said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (40.2, "40 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (12 * 60, "12 min"),
        (99 * 60, "99 min"),
        (99.6 * 60, "1 h 40 min"),
        (100 * 60, "1 h 40 min"),
        (3 * 3600 + 5 * 60, "3 h 5 min"),
        (7200, "2 h 0 min"),
        (7199, "2 h 0 min"),
        (5000 * 3600, "5,000 h 0 min"),
    ],
)
def test_a_time_is_said_as_people_do(seconds, said):
    assert describe_time(seconds) == said


def test_reasons_are_said_with_the_most_frequent_first():
    status = Status(rows=9, failed_by_reason={"A": 1, "EndpointError": 2000, "B": 3})
    assert describe_reasons(status) == "EndpointError: 2,000, B: 3, A: 1"
    assert describe_reasons(Status(rows=9)) == ""


def test_reasons_may_be_any_mapping():
    status = Status(rows=9, failed_by_reason=MappingProxyType({"A": 1}))
    assert describe_reasons(status) == "A: 1"


def test_a_sweep_that_runs_is_said_with_its_pace():
    status = Status(
        rows=5000,
        done=1200,
        failed=3,
        failed_by_reason={"EndpointError": 2, "EmptyCompletionError": 1},
        running=64,
        prompt_tokens=1_000_000,
        completion_tokens=234_567,
        tokens_per_second=1234.5,
        eta_seconds=4000,
        active=True,
    )
    assert describe(status) == (
        "1,203 of 5,000 rows, 67 min left, 3 failed (EndpointError: 2, EmptyCompletionError: 1), "
        "64 running, 1,234 new tokens/s, 1,000,000 + 234,567 tokens"
    )


def test_a_pace_that_is_not_known_is_said_so():
    said = describe(Status(rows=5, running=2, active=True))
    assert said == "0 of 5 rows, ? left, 2 running, 0 new tokens/s, 0 + 0 tokens"


@pytest.mark.parametrize(("quiet", "said"), [(14, False), (16, True)])
def test_a_silence_is_told_once_it_is_long(quiet, said):
    told = describe(Status(rows=5, running=2, active=True, quiet_seconds=quiet))
    assert (f"no answer for {quiet} s" in told) is said


def test_a_sweep_that_ended_has_no_pace():
    status = Status(rows=5, done=5, prompt_tokens=10, completion_tokens=5, tokens_per_second=7)
    assert describe(status) == "5 of 5 rows, 10 + 5 tokens"


def test_what_is_left_is_never_below_none():
    assert Status(rows=5, done=2, failed=1).left == 2
    assert Status(rows=0, done=2).left == 0
    assert Status(rows=5, done=2).to_dict()["left"] == 3


def test_an_ending_says_its_kind_and_reason():
    assert str(COMPLETE) == "complete"
    assert str(Ending("halted", "why")) == "halted: why"


# What it will cost


def make_plan(**values) -> Plan:
    return Plan.of(Recipe.of({"personas": ["a", "b", "c", "d", "e"], **values}))


def make_row(messages: int, *, first=100, size=10, seconds=2.0, **changes) -> Row:
    """A dialogue in which each prompt is the one before and a message of constant size."""
    made = tuple(
        Turn(
            task_id="t",
            text="x",
            model="m",
            prompt_tokens=first + position * size,
            completion_tokens=size,
            seconds=seconds,
        )
        for position in range(messages)
    )
    values = {"number": 0, "id": "r", "seed": 0, "status": "done", "turns": made}
    return Row(**{**values, "origin": {}, **changes})


@pytest.mark.parametrize("turns", [1, 3, [1, 4]])
@pytest.mark.parametrize("sample", [(2,), (4, 4, 4, 4), (2, 8, 6)])
def test_a_forecast_is_exact_where_messages_have_one_size(turns, sample):
    plan = make_plan(turns=turns, rows=50)
    calls = prompts = 0
    for row in plan:
        calls += 2 * row.turns
        prompts += sum(100 + position * 10 for position in range(2 * row.turns))
    result = forecast(plan, [make_row(messages) for messages in sample], concurrency=4)
    assert (result.rows, result.calls, result.sampled) == (50, calls, len(sample))
    assert (result.prompt_tokens, result.completion_tokens) == (prompts, 10 * calls)
    assert result.seconds == pytest.approx(2.0 * calls / 4)
    assert result.concurrency == 4


def test_a_forecast_takes_the_means_of_what_was_made():
    plan = make_plan(rows=10)
    rows = [make_row(2, size=10, seconds=1.0), make_row(2, size=30, seconds=3.0)]
    result = forecast(plan, rows, concurrency=5)
    assert result.completion_tokens == 20 * 20
    assert result.prompt_tokens == 100 * 20 + 20 * 10
    assert result.seconds == pytest.approx(2.0 * 20 / 5)


def test_more_slots_than_rows_bring_nothing():
    few, many = (forecast(make_plan(rows=3), [make_row(2)], concurrency=c) for c in (3, 64))
    assert few.seconds == many.seconds == pytest.approx(4.0)


def test_rows_that_failed_are_no_sample():
    failed = make_row(0, status="failed", reason="EndpointError", error="it was down")
    result = forecast(make_plan(rows=10), [failed, make_row(2)], concurrency=1)
    assert (result.sampled, result.completion_tokens) == (1, 200)


@pytest.mark.parametrize(
    ("rows", "ending", "said"),
    [
        ([], "", "no row was made"),
        ([], "the key is wrong", "the key is wrong"),
        ([make_row(0, status="failed", error="it was down")], "", "it was down"),
        ([make_row(0, status="failed", error="it was down")], "the key is wrong", "it was down"),
    ],
)
def test_without_a_row_that_is_done_there_is_no_forecast(rows, ending, said):
    with pytest.raises(DriaMagpieError) as caught:
        forecast(make_plan(), rows, concurrency=1, ending=ending)
    assert str(caught.value) == f"there is no row to estimate from; {said}"


def test_an_engine_that_counts_no_tokens_costs_none():
    result = forecast(make_plan(rows=10), [make_row(2, first=0, size=0)], concurrency=1)
    assert (result.prompt_tokens, result.completion_tokens) == (0, 0)


def test_prompts_are_never_estimated_below_their_messages():
    """An engine that cuts its prompts reports less than was sent."""
    result = forecast(make_plan(rows=10, turns=4), [make_row(8, first=-30)], concurrency=1)
    assert result.prompt_tokens == 10 * 10 * (8 * 7 // 2)


def test_a_forecast_is_a_json_object():
    values = forecast(make_plan(rows=10), [make_row(2)], concurrency=2).to_dict()
    assert values == {
        "rows": 10,
        "calls": 20,
        "sampled": 1,
        "prompt_tokens": 2100,
        "completion_tokens": 200,
        "seconds": 20.0,
        "concurrency": 2,
    }


@pytest.mark.parametrize("rows", [10**6, 10**12])
def test_a_huge_plan_is_estimated_at_once(rows):
    started = time.perf_counter()
    same = forecast(make_plan(rows=rows, turns=2), [make_row(4)], concurrency=1)
    mixed = forecast(make_plan(rows=rows, turns=[1, 3]), [make_row(4)], concurrency=1)
    assert time.perf_counter() - started < 10
    assert (same.calls, same.completion_tokens) == (4 * rows, 40 * rows)
    assert same.prompt_tokens == rows * (100 + 110 + 120 + 130)
    assert mixed.calls == pytest.approx(4 * rows, rel=0.01)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (None, 4),
        (Status(rows=100), 4),
        (Status(rows=100, done=2), 4),
        (Status(rows=100, done=4), 4),
        (Status(rows=100, done=30), 30),
        # Failed ones count among the rows of the limit, but are no sample.
        (Status(rows=100, failed=7), 11),
        (Status(rows=100, done=3, failed=7), 11),
        (Status(rows=100, done=30, failed=7), 37),
    ],
)
@pytest.mark.parametrize("limit", [None, 2, 4, 9, 50])
def test_the_sample_is_the_same_plan_with_a_few_rows(status, wanted, limit):
    limits = {"tokens": 50} | ({"rows": limit} if limit else {})
    plan = make_plan(rows=100, limits=limits)
    sample = sample_plan(plan, status)
    assert sample.recipe.limits == Limits(rows=min(wanted, limit or wanted), tokens=50)
    assert (sample.digest, len(sample), sample[7]) == (plan.digest, 100, plan[7])
    assert plan.recipe.limits.rows == limit
