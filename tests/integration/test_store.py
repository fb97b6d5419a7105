"""The store of a sweep, and the lock on its directory: kept, shared, damaged, and full."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie import Dria, Node, RunDir, Sweep
from dria_magpie.errors import EndpointError, StoreError
from dria_magpie.models import Sampling, TaskResult, Turn
from dria_magpie.sweep.plan import Plan, PlannedRow
from dria_magpie.sweep.recipe import Recipe
from dria_magpie.sweep.row import Row, make_row
from dria_magpie.sweep.status import read_status
from dria_magpie.sweep.store import Pace, RunLock, SavedRow, Store, connection
from dria_magpie.sweep.store.reading import (
    read_rows,
    read_saved,
    read_unbegun,
    read_unfinished,
)
from dria_magpie.testing import ScriptedEngine
from dria_magpie.workflow import ExecutionState

PLAN = Plan.of(Recipe.of({"personas": ["a", "b", "c"], "rows": 5000, "turns": 3}))
FILE = "store.sqlite"
ANY_TEXT = st.text(st.characters() | st.sampled_from("\ud800\udbff\udc00\udfff\0\n😀"))
NUMBERS = st.integers(0, 2**40)
TURNS = st.builds(
    Turn,
    task_id=ANY_TEXT,
    text=ANY_TEXT,
    model=ANY_TEXT,
    reasoning=ANY_TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
    prompt_tokens=NUMBERS,
    completion_tokens=NUMBERS,
    seconds=st.floats(0, 1e6),
    sampling=st.builds(Sampling, seed=st.none() | st.integers(0, 2**31 - 1)),
    node=ANY_TEXT,
)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        yield opened


def make_turn(text="said", **values) -> Turn:
    counts = {"prompt_tokens": 10, "completion_tokens": 4, "seconds": 1.5}
    return Turn(**{"task_id": "t", "text": text, "model": "m", **counts, **values})


def start(number=0) -> ExecutionState:
    return ExecutionState.start(PLAN.task(PLAN[number]).workflow, seed=7)


def say(store: Store, number: int, *turns: Turn) -> ExecutionState:
    """Begin a row and keep its turns, as a sweep does."""
    workflow = PLAN.task(PLAN[number]).workflow
    state = start(number)
    store.begin(PLAN[number])
    for turn in turns:
        state = state.with_turn(turn).with_output(workflow, turn.text)
        store.keep_turn(number, state)
    return state


def row_of(number: int, state: ExecutionState | None = None, error=None) -> Row:
    turns = state.turns if state else ()
    result = TaskResult(id=PLAN[number].id, model="m", error=error, turns=turns)
    return make_row(PLAN[number], result, attempts=1)


def finish(store: Store, number: int, *, fails=False) -> None:
    state = say(store, number, make_turn("why"), make_turn("because"))
    error = EndpointError("it was down", 503) if fails else None
    store.finish(row_of(number, state, error))


def pace_of(seconds: float, tokens: float, rows: float) -> Pace:
    return Pace(seconds=seconds, tokens_per_second=tokens, rows_per_second=rows, quiet_seconds=0.25)


# Rows


def test_a_store_is_made_once_and_opened_again(tmp_path):
    with Store.open(tmp_path) as store:
        store.begin(PLAN[0])
    with Store.open(tmp_path) as store:
        assert read_unfinished(store) == [0]
    with Store.read(tmp_path) as store:
        assert read_unfinished(store) == [0]


def test_to_begin_a_row_twice_changes_nothing(store):
    state = say(store, 0, make_turn())
    store.begin(PLAN[0])
    store.begin(PlannedRow(number=0, id="x", seed=1, origin={}, turns=1, model=""))
    assert read_saved(store, 0) == SavedRow(0, 1, state)
    assert store.query("SELECT id, seed FROM rows") == [(PLAN[0].id, PLAN[0].seed)]


def test_a_row_that_has_no_turn_has_no_state(store):
    store.begin(PLAN[0])
    assert read_saved(store, 0) == SavedRow(0, 1, None)


def test_each_turn_that_was_kept_is_read_back_with_the_state(store):
    say(store, 1, make_turn("of another row"))
    texts = ("why?", "because\ud800", "half \udc00 a 😀\0", "")
    turns = [make_turn(text, sampling=Sampling(seed=3, stop=("x",))) for text in texts]
    state = say(store, 0, *turns)
    assert len(state.turns) == 4
    assert read_saved(store, 0) == SavedRow(0, 1, state)


@given(st.lists(TURNS, min_size=1, max_size=4))
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_turns_are_read_back_as_they_were(store, turns):
    store.begin_again(0, 1, None)
    state = say(store, 0, *turns)
    read = read_saved(store, 0).state
    assert read == state
    assert read.to_dict() == state.to_dict()


def test_a_turn_that_is_kept_twice_counts_as_one_turn(store):
    state = say(store, 0, make_turn())
    store.keep_turn(0, state)
    assert read_saved(store, 0).state == state


def test_a_row_that_is_done_keeps_its_turns_and_no_state(store):
    state = say(store, 0, make_turn("why"), make_turn("because", completion_tokens=6))
    store.finish(row_of(0, state))
    assert store.query("SELECT count(*) FROM states") == [(0,)]
    [row] = read_rows(store)
    assert (row.number, row.id, row.seed, row.status) == (0, PLAN[0].id, PLAN[0].seed, "done")
    assert (row.origin["instructor_persona"], row.origin["responding_persona"], row.model) == (
        "a",
        "b",
        "m",
    )
    assert [(m.role, m.content) for m in row.messages] == [
        ("user", "why"),
        ("assistant", "because"),
    ]
    assert row.turns == state.turns
    assert (row.prompt_tokens, row.completion_tokens, row.seconds) == (20, 10, 3.0)
    assert (row.reason, row.error, row.attempts) == ("", "", 1)


def test_a_row_that_failed_keeps_its_state_and_says_why(store):
    state = say(store, 0, make_turn())
    store.finish(row_of(0, state, EndpointError("down \ud800", 503)))
    [row] = read_rows(store)
    assert (row.status, row.reason, row.error) == ("failed", "EndpointError 503", "down \ufffd")
    assert row.turns == state.turns
    assert read_saved(store, 0).state == state
    assert read_unfinished(store) == []


def test_failed_rows_are_taken_up_again_where_they_stand(store):
    finish(store, 0)
    finish(store, 1, fails=True)
    store.take_up_failed()
    assert read_unfinished(store) == [1]
    saved = read_saved(store, 1)
    assert (saved.attempts, len(saved.state.turns)) == (2, 2)
    found = store.query("SELECT status, attempts, reason, error FROM rows ORDER BY number")
    assert found == [("done", 1, "", ""), ("running", 2, "", "")]
    status = read_status(store, active=False)
    assert (status.failed, status.failed_by_reason, status.begun) == (0, {}, 1)


def test_rows_that_did_not_fail_are_not_taken_up_again(store):
    finish(store, 0)
    say(store, 1, make_turn())
    store.take_up_failed()
    store.take_up_failed()
    assert store.query("SELECT status, attempts FROM rows") == [("done", 1), ("running", 1)]


def test_another_attempt_goes_on_from_the_state(store):
    state = say(store, 0, make_turn(), make_turn())
    store.begin_again(0, 2, state)
    assert read_saved(store, 0) == SavedRow(0, 2, state)


def test_another_attempt_without_a_state_begins_anew(store):
    other = say(store, 1, make_turn())
    say(store, 0, make_turn(), make_turn())
    store.begin_again(0, 2, None)
    assert read_saved(store, 0) == SavedRow(0, 2, None)
    assert read_saved(store, 1) == SavedRow(1, 1, other)


def test_a_fallen_attempt_still_counts_what_it_used(store):
    say(store, 0, make_turn(), make_turn())
    store.begin_again(0, 2, None)
    say(store, 0, make_turn())
    assert read_status(store, active=False).completion_tokens == 3 * 4


def test_rows_are_read_in_order_whatever_the_gaps(store):
    numbers = [*range(0, 260, 2), 300, 301, 302, 4999]
    chance = random.Random(5)
    for number in chance.sample(numbers, len(numbers)):
        finish(store, number, fails=number % 6 == 0)
    for number in (1, 3, 700):
        say(store, number, make_turn())
    rows = list(read_rows(store))
    assert [row.number for row in rows] == numbers
    assert all([turn.text for turn in row.turns] == ["why", "because"] for row in rows)
    assert all(row.status == ("failed" if row.number % 6 == 0 else "done") for row in rows)


def test_turns_are_read_row_by_row(store):
    """A dialogue may be long, so that only one is held at a time."""
    for number in range(3):
        finish(store, number)
    with store.transaction() as writing:
        writing.execute("UPDATE turns SET turn = '{' WHERE row = 1")
    rows = read_rows(store)
    assert next(rows).number == 0
    with pytest.raises(StoreError, match="is damaged"):
        next(rows)


def test_a_row_that_ended_without_a_turn_is_read_with_none(store):
    finish(store, 0)
    store.begin(PLAN[1])
    store.finish(row_of(1, error=EndpointError("no", 400)))
    finish(store, 2)
    assert [len(row.turns) for row in read_rows(store)] == [2, 0, 2]


def test_without_rows_there_is_nothing_to_read(store):
    assert list(read_rows(store)) == []
    assert read_unfinished(store) == []


@given(st.sets(st.integers(0, 30)), st.integers(0, 40))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_rows_that_nobody_began_are_all_the_others(tmp_path_factory, begun, planned):
    with Store.open(tmp_path_factory.mktemp("run")) as store:
        for number in begun:
            store.begin(PLAN[number])
        expected = [number for number in range(planned) if number not in begun]
        found = [number for number in read_unbegun(store, planned) if number < planned]
        assert found == expected


def test_the_rows_of_a_huge_plan_are_not_counted_out(store):
    store.begin(PLAN[3])
    numbers = iter(read_unbegun(store, 10**12))
    assert [next(numbers) for _ in range(5)] == [0, 1, 2, 4, 5]


# Facts, sessions, counts


def test_facts_are_kept_and_replaced(store):
    assert store.fact("name") is None
    store.keep_facts(name="first", recipe="{}")
    store.keep_facts(name="second")
    assert (store.fact("name"), store.fact("recipe")) == ("second", "{}")


def test_sessions_add_their_times_and_the_last_one_has_the_pace(store):
    store.keep_facts(planned="10")
    for seconds, ending in ((5.0, "limit: x"), (2.5, "halted: half \ud800")):
        number = store.begin_session()
        store.keep_session(number, pace_of(0.5, 1.0, 0.1), "")
        store.keep_session(number, pace_of(seconds, 30.0, 2.0), ending)
    status = read_status(store, active=False)
    assert (status.seconds, status.tokens_per_second, status.quiet_seconds) == (7.5, 30.0, 0.25)
    assert (status.ending, status.eta_seconds) == ("halted: half \ufffd", None)
    running = read_status(store, active=True)
    assert (running.ending, running.eta_seconds) == ("", 5.0)


def test_a_status_counts_as_one_who_counts_by_hand(store):
    chance = random.Random(3)
    store.keep_facts(planned="60")
    kinds, turns, tokens = Counter(), 0, 0
    for number in range(40):
        made = [
            make_turn(completion_tokens=chance.randrange(9)) for _ in range(chance.randrange(5))
        ]
        state = say(store, number, *made)
        turns += len(made)
        tokens += sum(turn.completion_tokens for turn in made)
        kind = chance.choice(["running", "", "EndpointError", "StoreError"])
        kinds[kind] += 1
        errors = {"EndpointError": EndpointError("x"), "StoreError": StoreError("x")}
        if kind != "running":
            store.finish(row_of(number, state, errors.get(kind)))
    status = read_status(store, active=False)
    assert (status.rows, status.done, status.begun) == (60, kinds[""], kinds["running"])
    assert status.running == 0
    assert read_status(store, active=True).running == kinds["running"]
    assert status.failed_by_reason == {k: kinds[k] for k in ("EndpointError", "StoreError")}
    assert status.failed == sum(status.failed_by_reason.values())
    assert (status.turns, status.completion_tokens) == (turns, tokens)
    assert status.prompt_tokens == 10 * turns
    assert status.left == 60 - status.done - status.failed


def test_an_empty_store_has_a_status(store):
    status = read_status(store, active=False)
    assert (status.rows, status.done, status.turns, status.seconds) == (0, 0, 0, 0.0)


# Who else is there


def test_a_reader_sees_what_is_committed_in_the_middle_of_a_write(store, tmp_path):
    finish(store, 0)
    with store.transaction() as writing:
        writing.execute("UPDATE rows SET status = 'failed'")
        writing.execute("INSERT INTO facts VALUES ('half', 'done')")
        with Store.read(tmp_path) as reader:
            assert [row.status for row in read_rows(reader)] == ["done"]
            assert reader.fact("half") is None
        assert RunDir(tmp_path).status().done == 1
    with Store.read(tmp_path) as reader:
        assert [row.status for row in read_rows(reader)] == ["failed"]


def test_a_reader_sees_one_state_while_it_reads(store, tmp_path):
    finish(store, 0)
    with Store.read(tmp_path) as reader, reader.transaction("DEFERRED"):
        assert len(list(read_rows(reader))) == 1
        finish(store, 1)
        assert len(list(read_rows(reader))) == 1
    with Store.read(tmp_path) as reader:
        assert len(list(read_rows(reader))) == 2


def test_a_reader_cannot_write(store, tmp_path):
    with Store.read(tmp_path) as reader, pytest.raises(StoreError):
        reader.begin(PLAN[0])


def test_a_failed_transaction_leaves_nothing_behind(store):
    with pytest.raises(StoreError):
        store.keep_facts(half="done", other=None)
    assert store.fact("half") is None
    store.keep_facts(half="done")


@pytest.mark.parametrize("open_store", [Store.open, Store.read])
def test_a_store_that_another_program_holds_is_told_so(tmp_path, monkeypatch, open_store):
    Store.open(tmp_path).close()
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process holds") as caught:
            open_store(tmp_path)
        assert "everything that was finished is kept" in str(caught.value)
    open_store(tmp_path).close()


def test_a_write_waits_for_another_and_then_gives_up_unharmed(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    with (
        Store.open(tmp_path) as store,
        closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process holds"):
            store.begin(PLAN[0])
        other.execute("ROLLBACK")
        # Answers that come meanwhile are not to wait for as long again, one after the other.
        with pytest.raises(StoreError, match="another process holds"):
            store.begin(PLAN[0])
    with Store.open(tmp_path) as store:
        store.begin(PLAN[0])
        assert read_unfinished(store) == [0]


# Lock

HOLDER = """
import sys, time
from pathlib import Path
from dria_magpie.sweep.store import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_is_held_until_it_is_left(tmp_path):
    lock = RunLock(tmp_path)
    assert not lock.is_held()
    assert list(tmp_path.iterdir()) == []
    with lock:
        assert RunLock(tmp_path).is_held()
    assert not RunLock(tmp_path).is_held()
    with lock:
        assert RunLock(tmp_path).is_held()


def test_a_second_holder_in_this_process_is_refused(tmp_path):
    started = time.monotonic()
    with RunLock(tmp_path):
        with pytest.raises(StoreError, match="another process makes the sweep"), RunLock(tmp_path):
            pass
        assert time.monotonic() - started < 5
        assert RunLock(tmp_path).is_held()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    started = time.monotonic()
    with pytest.raises(StoreError, match="another process makes the sweep"), RunLock(tmp_path):
        pass
    assert time.monotonic() - started < 5
    assert RunLock(tmp_path).is_held()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not RunLock(tmp_path).is_held()
    with RunLock(tmp_path):
        pass


def test_who_looks_at_a_lock_keeps_nobody_from_taking_it(tmp_path):
    with RunLock(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "lock", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reader.execute("COMMIT")
        with RunLock(tmp_path):
            assert RunLock(tmp_path).is_held()


def test_a_lock_that_is_left_by_an_error_is_free(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        raise ZeroDivisionError
    assert not RunLock(tmp_path).is_held()


@pytest.mark.parametrize("data", [b"x" * 5000, b"not a lock"])
def test_a_file_of_somebody_else_is_no_lock(tmp_path, data):
    (tmp_path / "lock").write_bytes(data)
    with pytest.raises(StoreError), RunLock(tmp_path):
        pass
    assert (tmp_path / "lock").read_bytes() == data


# What is no store, or was one


def refuse(tmp_path, open_store=Store.open) -> str:
    """Give what is said of a store, and see to it that the file stays as it is."""
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert FILE in str(caught.value)
    return str(caught.value)


def test_there_is_nothing_to_read_without_a_store(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreError, match="has no sweep"):
            Store.read(path)
        with pytest.raises(StoreError, match="has no sweep"):
            RunDir(path).status()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("open_store", [Store.open, Store.read])
@pytest.mark.parametrize("data", [b"not a database" * 500, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, open_store, data):
    (tmp_path / FILE).write_bytes(data)
    assert "is damaged" in refuse(tmp_path, open_store)


@pytest.mark.parametrize("open_store", [Store.open, Store.read])
def test_a_database_of_another_version_is_refused_and_left_alone(tmp_path, open_store):
    Store.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as newer:
        newer.execute("PRAGMA user_version = 3")
        newer.commit()
    assert "another version of dria-magpie (format 3, here 2)" in refuse(tmp_path, open_store)


def make_somebody_elses(path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()


def test_a_database_of_somebody_else_is_refused_by_readers(tmp_path):
    make_somebody_elses(tmp_path / FILE)
    assert "is not the store of a sweep" in refuse(tmp_path, Store.read)


def test_a_database_of_somebody_else_is_refused(tmp_path):
    make_somebody_elses(tmp_path / FILE)
    with pytest.raises(StoreError, match="is not the store of a sweep"):
        Store.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    make_somebody_elses(tmp_path / FILE)
    refuse(tmp_path)


def make_large(tmp_path) -> bytes:
    with Store.open(tmp_path) as store:
        for number in range(60):
            finish(store, number)
    return (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_store_that_is_cut_off_is_refused_and_left_alone(tmp_path, share):
    whole = make_large(tmp_path)
    (tmp_path / FILE).write_bytes(whole[: int(len(whole) * share)])
    said = refuse(tmp_path)
    assert "is damaged" in said
    assert ".recover" in said


def test_a_damaged_store_is_refused_or_tells_what_is_wrong(tmp_path):
    """A flipped bit may also hit a letter of a text, where nobody can see it."""
    whole = make_large(tmp_path)
    chance = random.Random(9)
    said = []
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / FILE).write_bytes(damaged)
        try:
            with Store.open(tmp_path) as store:
                for row in read_rows(store):
                    assert row.turns
                read_unfinished(store)
        except StoreError as error:
            said.append(str(error))
    assert len(said) > 5
    assert all(said)


@pytest.mark.parametrize("table", ["states", "turns"])
@pytest.mark.parametrize("text", [" ", "{", "[]", "{}", "5", "[" * 100_000])
def test_a_damaged_turn_or_state_is_told(store, table, text):
    say(store, 0, make_turn())
    with store.transaction() as writing:
        writing.execute(f"UPDATE {table} SET {table[:-1]} = ?", (text,))
    with pytest.raises(StoreError, match="is damaged"):
        read_saved(store, 0)


def test_bytes_that_are_no_text_are_told_and_not_quoted(store):
    say(store, 0, make_turn())
    with store.transaction() as writing:
        writing.execute("UPDATE turns SET turn = CAST(x'7365637265746c79ff' AS TEXT)")
    with pytest.raises(StoreError, match="is damaged") as raised:
        read_saved(store, 0)
    assert "secretly" not in str(raised.value)


def test_an_empty_state_is_damaged_too(store):
    say(store, 0, make_turn())
    store.query("UPDATE states SET state = ''")
    with pytest.raises(StoreError, match="is damaged"):
        read_saved(store, 0)


def test_a_directory_in_place_of_the_store_is_told(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        Store.open(tmp_path)


def test_a_missing_directory_is_told(tmp_path):
    with pytest.raises(StoreError, match="check its permissions, and those of its directory"):
        Store.open(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="check its permissions"):
            Store.open(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_told_and_nothing_is_half_kept(store):
    finish(store, 0)
    [(pages,)] = store.query("PRAGMA page_count")
    store.query(f"PRAGMA max_page_count = {pages}")
    state = say(store, 1)
    large = state.with_turn(make_turn("x" * 100_000))
    with pytest.raises(StoreError, match=r"the disk with .* is full: make room"):
        store.keep_turn(1, large)
    assert read_saved(store, 1) == SavedRow(1, 1, None)
    assert store.query("SELECT count(*) FROM turns WHERE row = 1") == [(0,)]
    assert [row.number for row in read_rows(store)] == [0]
    store.query("PRAGMA max_page_count = 100000")
    store.keep_turn(1, large)
    assert read_saved(store, 1).state == large


def test_a_process_that_is_killed_loses_no_turn_that_was_kept(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.integration.test_store import make_turn, say\n"
        "from dria_magpie.sweep.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "for number in range(20): say(store, number, make_turn('kept'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with Store.open(tmp_path) as store:
        assert read_unfinished(store) == list(range(20))
        assert all(read_saved(store, n).state.turns[0].text == "kept" for n in range(20))


# A sweep whose engine is drained by somebody else


async def test_rows_that_a_drained_engine_did_not_take_are_not_failed(tmp_path):
    recipe = Recipe.of({"personas": ["a", "b", "c"], "rows": 12, "turns": 4})
    sweep = Sweep.from_recipe(recipe, tmp_path)
    async with Dria(
        nodes=[Node(engine=ScriptedEngine(["x"] * 1000, slots=3, latency=0.02))]
    ) as dria:
        async for row in sweep.run(dria):
            dria.drain()
            assert row.status == "done"
    assert RunDir(tmp_path).status().failed == 0
