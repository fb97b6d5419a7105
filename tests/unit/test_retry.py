from __future__ import annotations

import email.utils
import itertools
import logging

import pytest

from dria_magpie.engines.chat.failures import (
    CallFailed,
    Failure,
    Kind,
    LostConnectionError,
    final_error,
    quote,
)
from dria_magpie.engines.chat.refusals import read_embedded_error, read_refusal, read_retry_after
from dria_magpie.engines.chat.retry import RetryPolicy, call_with_retries
from dria_magpie.errors import ContextLengthError, EmptyCompletionError, EndpointError

CALM = RetryPolicy(jitter=0.0)
URL = "http://host/v1"


def failure(kind: Kind = Kind.STATUS, status: int | None = 500, **more) -> Failure:
    return Failure(kind, "failed", status if kind is Kind.STATUS else None, **more)


def calls_until_given_up(kind: Kind, status: int | None = 500, *, known: bool = True) -> int:
    failures = []
    for calls in itertools.count(1):
        failures.append(failure(kind, status))
        if not CALM.decide(failures, known=known).retry:
            return calls
    raise AssertionError


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_passing_troubles_are_tried_eight_times(status):
    assert calls_until_given_up(Kind.STATUS, status) == 8


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 405, 422])
def test_refusals_are_not_tried_again(status):
    assert calls_until_given_up(Kind.STATUS, status) == 1


@pytest.mark.parametrize("kind", [Kind.CONTEXT, Kind.ROLES, Kind.INSECURE, Kind.EMPTY_FOR_GOOD])
def test_what_cannot_get_better_is_not_tried_again(kind):
    assert calls_until_given_up(kind) == 1


@pytest.mark.parametrize(
    ("kind", "known", "calls"),
    [
        (Kind.EMPTY, True, 3),
        (Kind.TIMEOUT, True, 2),
        (Kind.LOST, False, 8),
        (Kind.BODY, True, 8),
        (Kind.REFUSED, True, 8),
        (Kind.REFUSED, False, 2),
    ],
)
def test_each_kind_has_its_own_patience(kind, known, calls):
    assert calls_until_given_up(kind, known=known) == calls


def test_other_failures_do_not_use_up_the_patience_with_empty_answers():
    failures = [failure(), failure(), failure(), failure(Kind.EMPTY)]
    assert CALM.decide(failures, known=True).retry


def test_waits_double_up_to_the_longest():
    waits = [CALM.decide([failure()] * n, known=True).delay for n in range(1, 8)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_of_refusals_while_others_were_answered_two_count_as_one():
    unlucky = failure(status=429, unlucky=True)
    decisions = [CALM.decide([unlucky] * n, known=True) for n in range(1, 16)]
    assert [decision.retry for decision in decisions] == [True] * 14 + [False]
    waits = [decision.delay for decision in decisions[:-1]]
    assert waits == sorted([0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0] * 2)
    assert not CALM.decide([unlucky] * 3 + [failure()] * 6, known=True).retry
    assert not RetryPolicy(attempts=1).decide([unlucky], known=True).retry


def test_an_endless_failure_ends_within_20_seconds():
    assert sum(RetryPolicy().decide([failure()] * n, known=True).delay for n in range(1, 9)) < 20


def test_chance_takes_away_at_most_its_part():
    waits = {RetryPolicy(jitter=0.5).decide([failure()], known=True).delay for _ in range(100)}
    assert len(waits) > 1
    assert all(0.125 <= wait <= 0.25 for wait in waits)


def test_a_longer_retry_after_is_honoured():
    decision = CALM.decide([failure(status=429, retry_after=30.0)], known=True)
    assert (decision.retry, decision.delay, decision.reason) == (True, 30.0, "failed")


def test_a_shorter_retry_after_does_not_make_calls_come_faster():
    assert CALM.decide([failure(status=429, retry_after=0.0)], known=True).delay == 0.25


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("3600", 60.0),
        ("inf", 60.0),
        (email.utils.formatdate(1_000_010, usegmt=True), 10.0),
        (email.utils.formatdate(999_000, usegmt=True), 0.0),
        (email.utils.formatdate(2_000_000, usegmt=True), 60.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value, seconds):
    assert read_retry_after(value, now=lambda: 1_000_000.0) == seconds


TOO_LONG = [
    (
        400,
        (
            '{"error":{"code":400,"message":"the request exceeds the available context size",'
            '"type":"exceed_context_size_error","n_prompt_tokens":9412,"n_ctx":8192}}'
        ),
        "9412 tokens, 8192 at most",
    ),
    (
        400,
        (
            '{"error":{"message":"This model\'s maximum context length is 8192 tokens. However, '
            'your messages resulted in 9000 tokens.","code":"context_length_exceeded"}}'
        ),
        "9000 tokens, 8192 at most",
    ),
    (
        400,
        (
            '{"message":"This model\'s maximum context length is 4096 tokens. However, '
            'you requested 5000 tokens (4900 in the messages, 100 in the completion).","code":400}'
        ),
        "5000 tokens, 4096 at most",
    ),
    (
        400,
        (
            '{"object":"error","message":"The input (691,793 tokens) is longer than the model\'s '
            'context length (540000 tokens).","code":400}'
        ),
        "691,793 tokens, 540000 at most",
    ),
    (
        422,
        (
            '{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. '
            'Given: 5000 `inputs` tokens and 100 `max_new_tokens`","error_type":"validation"}'
        ),
        "5000 tokens, 4096 at most",
    ),
    (
        400,
        '{"message":"The decoder prompt is longer than the maximum model length of 4096."}',
        "4096 tokens at most",
    ),
    (413, "<html>Request Entity Too Large</html>", "answered 413: <html>"),
    (500, '{"error":{"message":"Context size has been exceeded."}}', "answered 500: Context size"),
]


@pytest.mark.parametrize(("status", "text", "words"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_recognised_whatever_the_server(status, text, words):
    refusal = read_refusal(status, text)
    assert refusal.kind is Kind.CONTEXT
    assert words in refusal.reason
    error = final_error([refusal], URL, "m", 1)
    assert isinstance(error, ContextLengthError)
    assert "fewer turns" in str(error)


@pytest.mark.parametrize("text", ["[]", "null", "{", '{"error": 3}', "[" * 100_000, "plain"])
def test_any_error_body_is_a_refusal(text):
    assert read_refusal(500, text).kind is Kind.STATUS


def test_an_empty_error_body_leaves_the_status():
    assert read_refusal(500, "").reason == "answered 500"


def test_an_error_in_a_body_counts_as_the_status_that_it_names():
    assert read_embedded_error('{"error": {"code": 429, "message": "slow"}}').status == 429
    assert read_embedded_error('{"error": "maximum context length"}').kind is Kind.CONTEXT
    odd = read_embedded_error('{"error": {"code": "odd", "message": "words"}}')
    assert (odd.kind, odd.reason) == (Kind.BODY, "answered with an error: words")


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (Failure(Kind.STATUS, "answered 401", 401), "DRIA_API_KEY"),
        (Failure(Kind.STATUS, "answered 403", 403), "--api-key-env NAME"),
        (Failure(Kind.STATUS, "answered 404", 404), "ends in /v1"),
        (Failure(Kind.STATUS, "answered 307", 307), "points to"),
        (Failure(Kind.STATUS, "answered 429", 429), "lower the concurrency"),
        (Failure(Kind.STATUS, "answered 500", 500), "server's log"),
        (Failure(Kind.STATUS, "answered 400", 400), "no such request"),
        (Failure(Kind.TIMEOUT, "did not answer"), "longer timeout"),
        (Failure(Kind.BODY, "answered with"), "OpenAI-compatible"),
        (Failure(Kind.INSECURE, "could not prove"), "host name"),
        (Failure(Kind.ROLES, "answered 400", 400), "chat template"),
        (Failure(Kind.LOST, "broke off"), "is the server running?"),
    ],
)
def test_every_error_says_where_it_came_from_and_what_to_do(last, words):
    error = final_error([last], URL, "m", 3)
    assert isinstance(error, EndpointError)
    assert error.status == last.status
    for part in (URL, last.reason, "3 attempts", words):
        assert part in str(error)


def test_a_lost_connection_has_an_error_of_its_own():
    assert isinstance(final_error([failure(Kind.REFUSED)], URL, "m", 1), LostConnectionError)


def test_empty_answers_end_in_their_own_error():
    assert isinstance(final_error([failure(Kind.EMPTY)], URL, "", 3), EmptyCompletionError)


def test_foreign_text_is_quoted_short_and_without_the_key():
    assert quote("a\n  b") == "a b"
    assert len(quote("x" * 10_000)) == 201
    assert quote("bad key sk-1", "sk-1") == "bad key ***"


async def test_retries_are_logged_without_any_text(caplog):
    caplog.set_level(logging.INFO, "dria_magpie.engines")
    outcomes = [CallFailed(Failure(Kind.STATUS, "a secret", 503)), "answer"]

    async def call():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    policy = RetryPolicy(wait=0.001)
    failures: list[Failure] = []
    answer = await call_with_retries(call, failures, lambda f: policy.decide(f, known=True))
    assert answer == "answer"
    assert [record.action for record in caplog.records] == ["retry"]
    assert "secret" not in caplog.text


async def test_other_exceptions_pass_through_between_retries():
    outcomes = [CallFailed(failure()), KeyError("bug")]

    async def call():
        raise outcomes.pop(0)

    with pytest.raises(KeyError):
        await call_with_retries(call, [], lambda f: RetryPolicy(wait=0).decide(f, known=True))
