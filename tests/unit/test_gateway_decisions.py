"""What the gateway decides: limits, attempts, deliveries, names of models, whose turn it is."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from unittest.mock import MagicMock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.test_utils import make_mocked_request
from tenacity import wait_none

from dria_magpie.errors import (
    ContextLengthError,
    DrainedError,
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
    StepError,
    StoreError,
    UnsupportedError,
)
from dria_magpie.gateway import posts
from dria_magpie.gateway.catalogue import Catalogue, read_serve_as
from dria_magpie.gateway.delivery import Line, decide_outcome
from dria_magpie.gateway.entry import Burst, Entry
from dria_magpie.gateway.limits import REQUESTS_AT_ONCE, Turnstile
from dria_magpie.gateway.queue import KeyQueue
from dria_magpie.gateway.release import QUIET_SECONDS
from dria_magpie.gateway.retry import decide_attempt
from dria_magpie.gateway.store import ApiKey
from dria_magpie.gateway.store.errors import telling_errors
from dria_magpie.gateway.supply import Supply
from dria_magpie.models import NodeInfo


def test_many_requests_come_at_once_and_then_so_many_a_second() -> None:
    turnstile = Turnstile(0.0)
    assert all(turnstile.decide(0.0).wait == 0 for _ in range(REQUESTS_AT_ONCE))
    waits = [turnstile.decide(0.0) for _ in range(100)]
    assert [round(admission.wait, 2) for admission in waits[:3]] == [0.01, 0.02, 0.03]
    assert all(admission.admitted for admission in waits)
    refused = turnstile.decide(0.0)
    assert not refused.admitted
    assert refused.reason == "more than 100 requests a second"
    assert turnstile.decide(0.5).admitted
    assert turnstile.decide(60.0).wait == 0


def decide(error, *, failures=1, outages=1, others_succeed=False, seconds=0.0):
    return decide_attempt(
        error,
        failures=failures,
        outages=outages,
        others_succeed=others_succeed,
        seconds=seconds,
    )


@pytest.mark.parametrize(
    "error",
    [
        GraphError("x"),
        StepError("x"),
        LimitError("x"),
        ContextLengthError("x"),
        InstructionError("x"),
        UnsupportedError("x"),
        EndpointError("x", 400),
        EndpointError("x", 401),
        EndpointError("x", 404),
    ],
)
def test_what_will_not_pass_is_told_at_once(error) -> None:
    assert decide(error).next == "fail"


@pytest.mark.parametrize(
    "error",
    [EngineError("x"), EmptyCompletionError("x"), NoNodeError("x"), EndpointError("x", 500)],
)
def test_what_may_pass_is_tried_three_times(error) -> None:
    decisions = [decide(error, failures=number) for number in (1, 2, 3)]
    assert [decision.next for decision in decisions] == ["again", "again", "fail"]
    assert [decision.delay for decision in decisions[:2]] == [1.0, 2.0]


@pytest.mark.parametrize("error", [NetworkError("x"), EndpointError("x"), EndpointError("x", 503)])
def test_while_nothing_gets_through_no_attempt_is_counted(error) -> None:
    waiting = decide(error, failures=3, outages=10)
    assert (waiting.next, waiting.delay) == ("wait", 30.0)
    assert decide(error, failures=3, others_succeed=True).next == "fail"
    assert decide(error, failures=3, seconds=3600.0).next == "fail"


def test_a_gateway_that_ends_fails_nothing() -> None:
    assert decide(DrainedError("x"), failures=99).next == "wait"


def test_a_disk_that_cannot_be_read_fails_nothing() -> None:
    assert decide(StoreError("x"), failures=99, outages=3, others_succeed=True).delay == 4.0


@pytest.mark.parametrize(
    ("line", "seconds", "outcome"),
    [
        (Line(0), 0.5, None),
        (Line(0), 0.75, "received"),
        (Line(0, has_ended=True), 0.0, "received"),
        (Line(9), 1.0, None),
        (Line(9, has_ended=True), 1.0, None),
        (Line(9), 10.0, "lost"),
        (Line(0, is_reset=True), 0.0, "lost"),
    ],
)
def test_an_answer_arrived_if_all_of_it_was_confirmed(line, seconds, outcome) -> None:
    assert decide_outcome(line, seconds) == outcome


def test_in_a_hurry_it_is_decided_by_what_is_known() -> None:
    assert decide_outcome(Line(0), 0.0, hurry=True) == "received"
    assert decide_outcome(Line(1), 0.0, hurry=True) == "lost"


def node(*models: str) -> NodeInfo:
    return NodeInfo(address="local", models=models, slots=1)


def test_names_stand_for_models() -> None:
    catalogue = Catalogue({"gemma": "tiny"}, ["said"])
    assert catalogue.serves == {"gemma": "tiny", "said": "said"}
    assert catalogue.choose(["early"]) == ("early",)
    catalogue.learn([node("tiny", "llama:latest")])
    assert catalogue.names == ("gemma", "tiny", "llama:latest")
    assert catalogue.choose(["nobody", "gemma", "tiny", "llama"]) == ("tiny", "tiny", "llama")
    assert catalogue.list_unserved() == {"said": "said"}
    assert catalogue.refuse(["gemma"]) == ""
    assert catalogue.refuse(["x", "y"]).startswith("nobody serves x or y; served here: gemma, ")


def test_a_name_for_what_nobody_serves_is_found_out() -> None:
    catalogue = Catalogue({"gemma": "tiny", "qwen": "*"}, ["typo"])
    assert catalogue.list_unserved() == {}
    catalogue.learn([node("other")])
    assert catalogue.list_unserved() == {"gemma": "tiny", "qwen": "*", "typo": "typo"}
    assert catalogue.refuse(["gemma"]) == "nobody serves gemma; served here: other"
    catalogue.learn([node("*")])
    assert catalogue.list_unserved() == {}
    assert catalogue.choose(["anything"]) == ("anything",)
    assert "*" not in catalogue.names


def test_nodes_that_come_and_go_keep_their_names() -> None:
    catalogue = Catalogue({"gemma": "tiny"}, ["llama"])
    catalogue.learn([node("tiny", "llama:latest")])
    catalogue.learn([node("other")])
    assert catalogue.names == ("gemma", "llama", "tiny", "llama:latest", "other")
    assert catalogue.list_unserved() == {}


def supply(*answers: object, news: asyncio.Event | None = None) -> Supply:
    """What has a network whose nodes are these, one answer after the other."""
    left = iter(answers)

    class Network:
        async def nodes(self) -> object:
            answer = next(left, None)
            if isinstance(answer, Exception):
                raise answer
            return await asyncio.Event().wait() if answer is None else answer

    return Supply(Network(), Catalogue({"gemma": "typo"}, ["llama"]), news or asyncio.Event())


async def run_for_a_moment(made: Supply, monkeypatch) -> None:
    monkeypatch.setattr("dria_magpie.gateway.supply._LOOK_AGAIN", 0.0)
    monkeypatch.setattr("dria_magpie.gateway.supply.wait_exponential", lambda **_: wait_none())
    with suppress(TimeoutError):
        await asyncio.wait_for(made.run(), 0.1)


async def test_nodes_that_are_gone_and_back_are_told_of_once(monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    some = (node("tiny"),)
    await run_for_a_moment(supply(some, (), (), some, some), monkeypatch)
    actions = [record.action for record in caplog.records]
    assert actions.count("no_nodes") == actions.count("nodes_back") == 1
    assert "no nodes any more" in caplog.text
    assert "no node serves typo, so that gemma is refused; served here: tiny" in caplog.text
    assert "no node serves llama, so that llama is refused" in caplog.text


async def test_a_network_that_is_away_for_a_moment_is_asked_again(monkeypatch, caplog) -> None:
    news = asyncio.Event()
    made = supply((node("a"),), NetworkError("away"), (node("a"), node("b")), news=news)
    await run_for_a_moment(made, monkeypatch)
    assert made.room == 4
    assert news.is_set()
    assert "network_away" in [record.action for record in caplog.records]


async def test_what_will_not_pass_at_the_start_is_an_error_in_the_log(monkeypatch, caplog) -> None:
    errors = (ModelFileError("no such file"), UnsupportedError("not here"), EngineError("not yet"))
    await run_for_a_moment(supply(*errors), monkeypatch)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]
    assert "nor will that pass, and tasks wait: no such file" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientPayloadError("private"),
        web.RequestPayloadError("private"),
        ContentEncodingError("private"),
    ],
)
async def test_a_body_that_breaks_off_is_the_clients_fault(error) -> None:
    body = aiohttp.StreamReader(MagicMock(), 1024)
    body.set_exception(error)
    request = make_mocked_request("POST", "/rpc/task", payload=body)
    with pytest.raises(InvalidInputError, match=f"broken: {type(error).__name__}$"):
        await posts._read(request)


def test_serve_as_is_read() -> None:
    assert read_serve_as(["a=b", "c=hf:x/y=z"]) == {"a": "b", "c": "hf:x/y=z"}
    for wrong in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(InvalidInputError):
            read_serve_as(wrong)


def make_queue(*sizes: int, now: float = 0.0) -> KeyQueue:
    """A queue with bursts of tasks that are done, and whose clients know them."""
    queue = KeyQueue(ApiKey(number=1, name="k", digest="d", created=0.0), now, hold=45.0)
    for number, size in enumerate(sizes):
        burst = Burst(number, now, now)
        for position in range(size):
            entry = Entry(f"{number}x{position}", burst)
            queue.add(entry)
            queue.note_known(entry, 0, now + QUIET_SECONDS)
            queue.finish(entry, 100, now)
    return queue


def ids(entries) -> list[str]:
    return [entry.id for entry in entries]


def test_a_result_goes_out_once() -> None:
    queue = make_queue(2, 1)
    assert queue.outbox.take(0.5) == ()
    assert queue.outbox.next_change(0.5) == 0.75
    taken = queue.outbox.take(0.75)
    assert ids(taken) == ["0x0", "0x1", "1x0"]
    assert queue.outbox.take(1.0) == ()
    assert ids(queue.note_delivered(taken, 1.0)) == ids(taken)
    assert queue.note_delivered(taken, 1.0) == ()
    assert queue._open == 0
    assert not queue.outbox.bursts


def test_what_did_not_arrive_goes_out_again() -> None:
    queue = make_queue(2)
    taken = queue.outbox.take(1.0)
    assert queue.put_back(taken) == ()
    again = queue.outbox.take(1.0)
    assert ids(again) == ids(taken)
    queue.note_delivered(again, 1.0)
    assert ids(queue.put_back(again)) == ids(again)
    assert queue._open == 2
    assert ids(queue.outbox.take(1.0)) == ids(taken)


def test_an_answer_that_was_lost_is_given_twice_more_at_most() -> None:
    queue = make_queue(1)
    taken = queue.outbox.take(1.0)
    queue.outbox.note_sent(taken, 1.0)
    assert queue.outbox.take_lost(1.3) == ()
    assert queue.outbox.take_lost(2.0) == taken
    assert queue.outbox.take_lost(4.0) == ()
    queue.outbox.note_sent(taken, 2.0)
    assert queue.outbox.take_lost(3.0) == taken
    queue.outbox.note_sent(taken, 3.0)
    assert queue.outbox.take_lost(4.0) == ()


def test_a_client_that_begins_another_cycle_has_its_answer() -> None:
    queue = make_queue(1)
    queue.outbox.note_sent(queue.outbox.take(1.0), 1.0)
    queue.outbox.beat(1.5)
    assert queue.outbox.take_lost(2.0) == ()


def test_an_answer_has_a_size() -> None:
    queue = make_queue(1, 1, 1)
    for entry in queue.entries.values():
        entry.size = 600_000
    assert ids(queue.outbox.take(1.0)) == ["0x0"]
    assert len(make_queue(*[50] * 5).outbox.take(1.0)) == 200


def test_items_and_names_are_forgotten_after_a_while() -> None:
    queue = make_queue(2)
    queue.note_delivered(queue.outbox.take(1.0), 1.0)
    assert queue.outbox.list_settled(5.0) == ()
    assert ids(queue.outbox.list_settled(6.1)) == ["0x0", "0x1"]
    queue.outbox.note_settled(6.1)
    assert queue.outbox.list_settled(6.1) == ()
    assert queue.outbox.list_forgotten(600.0) == ()
    for entry in queue.outbox.list_forgotten(601.1):
        queue.remove(entry)
    queue.outbox.note_forgotten(601.1)
    assert queue.outbox.list_forgotten(601.1) == ()
    assert not queue.entries


def test_what_nobody_collects_is_found() -> None:
    queue = make_queue(2)
    assert queue.outbox.list_uncollected(0.0) == ()
    assert len(queue.outbox.list_uncollected(1.0)) == 2


def test_tasks_that_follow_each_other_belong_together() -> None:
    queue = make_queue(50)
    assert queue.outbox.find_burst(0.1) is None
    queue = make_queue(2)
    assert queue.outbox.find_burst(1.0) is queue.outbox.bursts[0]
    assert queue.outbox.find_burst(1.1) is None
    queue.outbox.take(0.8)
    assert queue.outbox.find_burst(0.9) is None


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (sqlite3.SQLITE_BUSY, "another process holds s.sqlite"),
        (sqlite3.SQLITE_NOTADB, "s.sqlite is damaged"),
        (sqlite3.SQLITE_FULL, "the disk with s.sqlite is full: make room"),
        (sqlite3.SQLITE_READONLY, "cannot write s.sqlite"),
        (sqlite3.SQLITE_IOERR | 8 << 8, "cannot read or write s.sqlite"),
        (sqlite3.SQLITE_MISUSE, "s.sqlite: oh"),
    ],
)
def test_a_stores_errors_say_what_to_do(code, told) -> None:
    error = sqlite3.OperationalError("oh")
    error.sqlite_errorcode = code
    with pytest.raises(StoreError, match=told), telling_errors(Path("s.sqlite")):
        raise error


def test_bytes_that_are_no_text_are_told_as_damage() -> None:
    told = r"s\.sqlite is damaged \(a text in it is none: .*\); nothing was changed\. Move it"
    with pytest.raises(StoreError, match=told) as caught, telling_errors(Path("s.sqlite")):
        b"a prompt\xff".decode()
    assert "prompt" not in str(caught.value)


def test_nothing_goes_out_before_the_client_knows_all_that_came_together() -> None:
    queue = make_queue(3)
    first, *_ = queue.entries.values()
    first.posts = 1
    queue.take_again(first)
    assert queue.outbox.take(3.0) == ()
    queue.note_known(first, 0, 3.0)  # the first POST's answer, which nobody waits for any more
    assert queue.outbox.take(3.0) == ()
    assert queue.outbox.next_change(3.0) == 45.0
    queue.note_known(first, 1, 3.5)
    assert queue.outbox.next_change(3.0) == 3.5
    assert len(queue.outbox.take(3.5)) == 3
