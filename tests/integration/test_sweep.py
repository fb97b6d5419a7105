"""Sweeps in this process, on a scripted engine and a real store."""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from dria_magpie import (
    Dria,
    EmptyCompletionError,
    EndpointError,
    Generation,
    GenerationRequest,
    InvalidInputError,
    Node,
    Row,
    RunDir,
    StoreError,
    Sweep,
)
from dria_magpie.engines import OpenAIEngine
from dria_magpie.errors import ContextLengthError
from dria_magpie.sweep import Recipe
from dria_magpie.testing import ScriptedEngine
from tests.integration.endpoint import MisbehavingEndpoint, answer, completion, raw

BASE = {"personas": ["A nurse", "A baker", "A diver"], "pairing": "random", "turns": [1, 3]}
Answer = Callable[[GenerationRequest], Any]


class Caller:
    """An engine's script that keeps the seed of each call, answered or not."""

    def __init__(
        self, answer: Answer = lambda request: f"Said by {request.sampling.seed}."
    ) -> None:
        self.answer = answer
        self.seeds: list[int] = []
        self.answered: list[int] = []

    async def __call__(self, request: GenerationRequest) -> Any:
        seed = request.sampling.seed
        assert seed is not None
        self.seeds.append(seed)
        answer = self.answer(request)
        if isinstance(answer, Awaitable):
            answer = await answer
        if not isinstance(answer, BaseException):
            self.answered.append(seed)
        return answer


def dria(answer: Any, *, slots: int = 4) -> Dria:
    return Dria(nodes=[Node(ScriptedEngine(answer, slots=slots))])


async def make(sweep: Sweep, answer: Any, *, slots: int = 4, **options: Any) -> list[Row]:
    async with dria(answer, slots=slots) as client:
        return [row async for row in sweep.run(client, **options)]


def recipe(**more: Any) -> dict[str, Any]:
    return {**BASE, "rows": 20, "seed": 5, **more}


def stored_seeds(run_dir: Path) -> list[int]:
    """The seeds of the turns that are kept."""
    with sqlite3.connect(run_dir / "store.sqlite") as store:
        found = store.execute("SELECT json_extract(turn, '$.sampling.seed') FROM turns").fetchall()
    store.close()
    return [seed for [seed] in found]


async def test_every_planned_row_is_made_once_and_kept(tmp_path: Path) -> None:
    caller = Caller()
    sweep = Sweep.from_recipe(recipe(), tmp_path / "run")
    rows = await make(sweep, caller)
    assert sorted(row.id for row in rows) == sorted(planned.id for planned in sweep.plan)
    assert all(len(row.messages) == 2 * sweep.plan[row.number].turns for row in rows)
    assert all(row.messages[0].role == "user" for row in rows)
    assert len(caller.seeds) == len(set(caller.seeds)) == sum(len(row.turns) for row in rows)
    assert [row.id for row in sweep.run_dir.rows()] == [planned.id for planned in sweep.plan]
    assert list(sweep.run_dir.rows()) == sorted(rows, key=lambda row: row.number)
    assert str(sweep.ending) == "complete"
    status = sweep.run_dir.status()
    assert (status.done, status.left, status.running, status.active) == (20, 0, 0, False)
    assert status.turns == len(caller.seeds)


async def test_a_sweep_that_is_complete_makes_no_call(tmp_path: Path) -> None:
    await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    caller = Caller()
    assert await make(Sweep.from_recipe(recipe(), tmp_path), caller) == []
    assert caller.seeds == []


async def test_who_leaves_the_loop_early_keeps_everything_before(tmp_path: Path) -> None:
    caller = Caller()
    sweep = Sweep.from_recipe(recipe(), tmp_path)
    async with dria(caller) as client, aclosing(sweep.run(client)) as rows:
        async for _ in rows:
            break
    assert sweep.ending is not None
    assert sweep.ending.kind == "stopped"
    kept = set(stored_seeds(tmp_path))
    again = Caller()
    await make(Sweep.from_recipe(recipe(), tmp_path), again)
    assert not kept & set(again.seeds)
    assert RunDir(tmp_path).status().done == 20


async def test_a_row_goes_on_inside_of_its_dialogue(tmp_path: Path) -> None:
    def third_fails(request: GenerationRequest) -> Any:
        return EndpointError("no", 400) if len(request.messages) > 3 else "Fine."

    whole = recipe(turns=2, rows=1)
    [row] = await make(Sweep.from_recipe(whole, tmp_path), third_fails)
    assert (row.status, row.reason, len(row.turns)) == ("failed", "EndpointError 400", 2)
    caller = Caller()
    sweep = Sweep.from_recipe(whole, tmp_path)
    [row] = await make(sweep, caller, retry_failed=True)
    assert (row.status, len(row.messages), len(caller.seeds)) == ("done", 4, 2)
    assert row.messages[0].content == "Fine."
    assert row.attempts == 2
    # Seeds of its own: what failed may fail in the same way.
    assert not {row.seed + 2, row.seed + 3} & set(caller.seeds)


async def test_a_failed_row_stays_failed_until_it_is_asked_for(tmp_path: Path) -> None:
    await make(Sweep.from_recipe(recipe(rows=3), tmp_path), lambda _: EndpointError("no", 400))
    assert RunDir(tmp_path).status().failed_by_reason == {"EndpointError 400": 3}
    caller = Caller()
    assert await make(Sweep.from_recipe(recipe(rows=3), tmp_path), caller) == []
    rows = await make(Sweep.from_recipe(recipe(rows=3), tmp_path), caller, retry_failed=True)
    assert [row.status for row in rows] == ["done"] * 3
    status = RunDir(tmp_path).status()
    assert (status.done, status.failed, status.failed_by_reason) == (3, 0, {})


async def test_another_attempt_goes_on_with_seeds_of_its_own(tmp_path: Path) -> None:
    failures = Counter[int]()

    def second_fails_once(request: GenerationRequest) -> Any:
        second = request.messages[-1].role == "user" and "Said" in request.messages[-1].content
        if second and not failures[0]:
            failures[0] += 1
            return EmptyCompletionError("nothing")
        return f"Said {request.sampling.seed}"

    caller = Caller(second_fails_once)
    [row] = await make(Sweep.from_recipe(recipe(rows=1, turns=1), tmp_path), caller)
    assert (row.status, row.attempts) == ("done", 2)
    assert len(caller.seeds) == len(set(caller.seeds)) == 3
    assert row.turns[0].seed == row.seed
    assert row.turns[1].seed not in {row.seed, row.seed + 1}


async def test_retries_are_bounded(tmp_path: Path) -> None:
    caller = Caller(lambda _: EmptyCompletionError("nothing"))
    [row] = await make(Sweep.from_recipe(recipe(rows=1, retries=3), tmp_path), caller)
    assert (row.status, row.attempts, len(caller.seeds)) == ("failed", 4, 4)


async def test_what_cannot_get_better_is_not_tried_again(tmp_path: Path) -> None:
    caller = Caller(lambda _: ContextLengthError("too long"))
    [row] = await make(Sweep.from_recipe(recipe(rows=1), tmp_path), caller)
    assert (row.reason, row.error, len(caller.seeds)) == ("ContextLengthError", "too long", 1)


async def test_an_outage_ends_the_sweep_and_fails_no_row(tmp_path: Path) -> None:
    calls = 0

    def dies(_: GenerationRequest) -> Any:
        nonlocal calls
        calls += 1
        return "Fine." if calls <= 10 else EndpointError("down", 503)

    sweep = Sweep.from_recipe(recipe(rows=200, turns=1, retries=0), tmp_path)
    rows = await make(sweep, dies)
    assert {row.status for row in rows} == {"done"}
    assert sweep.ending is not None
    assert sweep.ending.kind == "outage"
    assert "down" in sweep.ending.reason
    assert calls < 40
    status = sweep.run_dir.status()
    assert (status.failed, status.done) == (0, len(rows))
    assert status.ending.startswith("outage")
    await make(Sweep.from_recipe(recipe(rows=200, turns=1, retries=0), tmp_path), Caller())
    assert sweep.run_dir.status().done == 200


async def test_a_refusal_of_everybody_ends_the_sweep_at_once(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe(recipe(rows=200), tmp_path)
    caller = Caller(lambda _: EndpointError("who are you?", 401))
    assert await make(sweep, caller, slots=2) == []
    assert len(caller.seeds) <= 2
    assert "who are you?" in str(sweep.ending)


async def test_single_failures_among_successes_are_the_rows_own(tmp_path: Path) -> None:
    def some_fail(request: GenerationRequest) -> Any:
        assert request.sampling.seed is not None
        return EndpointError("no", 400) if request.sampling.seed % 3 == 0 else "Fine."

    sweep = Sweep.from_recipe(recipe(rows=300, turns=1), tmp_path)
    rows = await make(sweep, some_fail)
    assert len(rows) == 300
    assert Counter(row.status for row in rows)["failed"] > 50
    assert str(sweep.ending) == "complete"


@pytest.mark.parametrize(("refused", "sessions"), [(0, 3), (1, 1), (2, 1), (3, 1), (4, 1)])
async def test_a_persona_that_is_always_refused_fails_its_own_rows_only(
    tmp_path: Path, refused: int, sessions: int
) -> None:
    # Of a product all rows of one instructor come one after another, more than an outage takes.
    # As long as nothing has worked, each 20 of them end a session, and have failed all the same.
    instructors = [f"Asker {number}" for number in range(5)]

    def answer(request: GenerationRequest) -> Any:
        said = " ".join(message.content for message in request.messages)
        return EndpointError("no", 400) if instructors[refused] in said else "Fine."

    asked = {
        "instructors": instructors,
        "responders": [f"Teacher {number}" for number in range(40)],
        "pairing": "product",
        "turns": 1,
    }
    sweep = Sweep.from_recipe(asked, tmp_path)
    rows = []
    for left in reversed(range(sessions)):
        rows += await make(sweep, answer)
        assert sweep.ending is not None
        assert sweep.ending.kind == ("halted" if left else "complete")
    assert sorted(row.number for row in rows) == list(range(200))
    failed = [row for row in rows if row.status == "failed"]
    assert sorted(row.number for row in failed) == list(range(40 * refused, 40 * refused + 40))
    assert {row.origin["instructor_persona"] for row in failed} == {instructors[refused]}
    caller = Caller(answer)
    assert await make(Sweep.from_recipe(asked, tmp_path), caller) == []
    assert caller.seeds == []


@pytest.mark.parametrize("slots", [1, 8])
@pytest.mark.parametrize("filtered", [0, 7, 49])
async def test_a_row_that_a_filter_refuses_fails_alone_though_it_is_the_first_to_end(
    tmp_path: Path, slots: int, filtered: int
) -> None:
    sweep = Sweep.from_recipe(recipe(rows=50, turns=1), tmp_path)
    seed, refused = sweep.plan[filtered].seed, asyncio.Event()

    async def answer(request: GenerationRequest) -> Any:
        if request.sampling.seed == seed:
            refused.set()
            return EndpointError("a content filter", 403)
        if slots > 1 and filtered < slots:
            await refused.wait()
        return "Fine."

    rows = await asyncio.wait_for(make(sweep, answer, slots=slots), 30)
    assert str(sweep.ending) == "complete"
    assert Counter(row.status for row in rows) == {"done": 49, "failed": 1}
    assert [row.number for row in rows if row.status == "failed"] == [filtered]
    status = sweep.run_dir.status()
    assert (status.done, status.failed, status.left) == (49, 1, 0)
    assert status.failed_by_reason == {"EndpointError 403": 1}


class DrainTelling(ScriptedEngine):
    """Tells when it is drained, as it is when a sweep ends before its plan does."""

    def __init__(self, answer: Any, **options: Any) -> None:
        super().__init__(answer, **options)
        self.drained = asyncio.Event()

    def drain(self) -> None:
        super().drain()
        self.drained.set()


async def make_outage(sweep: Sweep) -> list[Row]:
    """Make a sweep whose first row is answered once 20 others have failed, and it has ended."""
    slow = sweep.plan[0].seed

    async def answer(request: GenerationRequest) -> Any:
        if request.sampling.seed != slow:
            return EndpointError("down", 503)
        await engine.drained.wait()
        return "Fine."

    engine = DrainTelling(answer, slots=4)
    async with Dria(nodes=[Node(engine)]) as client:
        rows = await asyncio.wait_for(_collect(sweep, client), 30)
    assert engine.calls <= 20 + 4
    return rows


@pytest.mark.parametrize("turns", [1, 2])
async def test_an_outage_waits_for_the_answers_that_are_under_way(
    tmp_path: Path, turns: int
) -> None:
    whole = recipe(rows=60, turns=turns, retries=0)
    sweep = Sweep.from_recipe(whole, tmp_path)
    await make_outage(sweep)
    assert sweep.ending is not None
    assert sweep.ending.kind == "halted"
    assert sweep.ending.reason.startswith("20 rows failed, and none succeeded meanwhile")
    assert sweep.ending.reason.endswith("down")
    slow = sweep.plan[0].seed
    assert stored_seeds(tmp_path) == [slow]
    assert sweep.run_dir.status().turns == 1
    caller = Caller()
    await make(Sweep.from_recipe(whole, tmp_path), caller)
    assert slow not in caller.seeds
    assert RunDir(tmp_path).status().done == 60


@pytest.mark.parametrize("turns", [1, 2])
async def test_an_outage_fails_no_row_though_an_answer_comes_after_it(
    tmp_path: Path, turns: int
) -> None:
    sweep = Sweep.from_recipe(recipe(rows=60, turns=turns, retries=0), tmp_path)
    assert await make_outage(sweep) == []
    status = sweep.run_dir.status()
    assert (status.failed, status.done, status.turns) == (0, 0, 1)


async def test_whoever_drains_the_client_stops_the_sweep(tmp_path: Path) -> None:
    caller = Caller()
    sweep = Sweep.from_recipe(recipe(turns=3), tmp_path)
    async with dria(caller) as client, aclosing(sweep.run(client)) as rows:
        made = [await anext(rows)]
        client.drain()
        made += [row async for row in rows]
    assert sweep.ending is not None
    assert sweep.ending.kind == "stopped"
    assert "drained" in sweep.ending.reason
    assert len(made) < 20
    assert {row.status for row in made} == {"done"}
    status = sweep.run_dir.status()
    assert (status.failed, status.done, status.ending) == (0, len(made), str(sweep.ending))
    assert sorted(stored_seeds(tmp_path)) == sorted(caller.answered)
    again = Caller()
    await make(Sweep.from_recipe(recipe(turns=3), tmp_path), again)
    assert not set(again.seeds) & set(caller.answered)
    assert sweep.run_dir.status().done == 20


@pytest.mark.parametrize("said", [2**53 + 1, 10**30])
async def test_absurd_counts_of_tokens_leave_a_store_that_can_be_read(
    tmp_path: Path, said: int
) -> None:
    usage = {
        "prompt_tokens": said,
        "completion_tokens": said,
        "prompt_tokens_details": {"cached_tokens": said},
    }
    body = json.dumps({**completion("Fine."), "usage": usage})
    async with MisbehavingEndpoint([answer("Fine."), raw(body)]) as endpoint:
        client = Dria(nodes=[Node(OpenAIEngine(endpoint.url, models=["m"]))])
        sweep = Sweep.from_recipe(recipe(rows=10, turns=1), tmp_path)
        async with client:
            rows = [row async for row in sweep.run(client)]
    assert str(sweep.ending) == "complete"
    assert {row.status for row in rows} == {"done"}
    assert list(sweep.run_dir.rows()) == sorted(rows, key=lambda row: row.number)
    # One answer of twenty says what can be.
    status = sweep.run_dir.status()
    assert (status.turns, status.prompt_tokens, status.completion_tokens) == (20, 11, 7)
    assert sweep.run_dir.export(tmp_path / "out.jsonl").rows == 10


async def test_a_model_that_nobody_serves_ends_the_sweep(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe(recipe(models=["nobody"]), tmp_path)
    assert await make(sweep, Caller()) == []
    assert "does not serve 'nobody'" in str(sweep.ending)


async def test_stop_begins_nothing_new_and_keeps_what_is_under_way(tmp_path: Path) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_: GenerationRequest) -> str:
        begun.release()
        await go_on.wait()
        return "Fine."

    caller = Caller(wait)
    sweep = Sweep.from_recipe(recipe(turns=2), tmp_path)
    assert sweep.stop() == 0
    async with dria(caller) as client:
        task = asyncio.create_task(_collect(sweep, client))
        for _ in range(4):
            await begun.acquire()
        assert sweep.stop() == 4
        go_on.set()
        assert await task == []
    assert len(caller.seeds) == 4
    assert sorted(stored_seeds(tmp_path)) == sorted(caller.seeds)
    assert str(sweep.ending).startswith("stopped")
    again = Caller()
    await make(Sweep.from_recipe(recipe(turns=2), tmp_path), again)
    assert not set(again.seeds) & set(caller.seeds)
    assert RunDir(tmp_path).status().done == 20


async def _collect(sweep: Sweep, client: Dria) -> list[Row]:
    return [row async for row in sweep.run(client)]


async def test_a_limit_of_rows_is_for_all_sessions(tmp_path: Path) -> None:
    for most, expected in ((3, 3), (3, 0), (8, 5)):
        sweep = Sweep.from_recipe(recipe(limits={"rows": most}), tmp_path)
        assert len(await make(sweep, Caller())) == expected
        assert str(sweep.ending) == f"limit: limits.rows = {most} is used up"
    await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    assert RunDir(tmp_path).status().done == 20


async def test_a_limit_of_tokens_ends_within_the_calls_under_way(tmp_path: Path) -> None:
    def answer(_: GenerationRequest) -> Generation:
        return Generation(text="Fine.", prompt_tokens=60, completion_tokens=40)

    sweep = Sweep.from_recipe(recipe(limits={"tokens": 1000}), tmp_path)
    await make(sweep, answer)
    status = sweep.run_dir.status()
    assert 1000 <= status.prompt_tokens + status.completion_tokens <= 1000 + 4 * 100
    assert str(sweep.ending) == "limit: limits.tokens = 1,000 is used up"
    caller = Caller(answer)
    await make(Sweep.from_recipe(recipe(limits={"tokens": 1000}), tmp_path), caller)
    assert caller.seeds == []


async def test_a_limit_of_seconds_breaks_off_what_is_under_way(tmp_path: Path) -> None:
    async def never(_: GenerationRequest) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    sweep = Sweep.from_recipe(recipe(limits={"seconds": 0.2}), tmp_path)
    assert await asyncio.wait_for(make(sweep, never), 5) == []
    assert str(sweep.ending) == "limit: limits.seconds = 0.2 is used up"
    caller = Caller()
    assert await make(Sweep.from_recipe(recipe(limits={"seconds": 0.2}), tmp_path), caller) == []
    assert caller.seeds == []


async def test_rows_may_grow_and_the_old_ones_stay(tmp_path: Path) -> None:
    await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    before = list(RunDir(tmp_path).rows())
    caller = Caller()
    rows = await make(Sweep.from_recipe(recipe(rows=30), tmp_path), caller)
    assert sorted(row.number for row in rows) == list(range(20, 30))
    assert list(RunDir(tmp_path).rows())[:20] == before
    assert not set(caller.seeds) & {turn.seed for row in before for turn in row.turns}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": {"temperature": 0.1}}, "sampling"),
        ({"seed": 6}, "seed"),
        ({"turns": 3, "language": "Turkish"}, "language, turns"),
        ({"personas": ["A nurse", "A baker"]}, "its personas"),
        ({"rows": 19}, "planned with 20 rows, and now with 19"),
    ],
)
async def test_another_recipe_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    caller = Caller()
    with pytest.raises(InvalidInputError, match=said):
        await make(Sweep.from_recipe(recipe(**change), tmp_path), caller)
    assert caller.seeds == []
    assert RunDir(tmp_path).status().rows == 20


async def test_two_sweeps_cannot_fill_one_directory(tmp_path: Path) -> None:
    first, second = (Sweep.from_recipe(recipe(), tmp_path) for _ in range(2))
    async with dria(Caller()) as client, aclosing(first.run(client)) as rows:
        await anext(rows)
        with pytest.raises(StoreError, match="another process makes the sweep"):
            await make(second, Caller())
        assert [row async for row in rows]
    assert RunDir(tmp_path).status().done == 20


async def test_one_sweep_cannot_run_twice_at_once(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe(recipe(), tmp_path)
    second = Caller()
    async with dria(Caller()) as client, aclosing(sweep.run(client)) as rows:
        await anext(rows)
        started = time.monotonic()
        with pytest.raises(InvalidInputError, match="this sweep runs already"):
            await make(sweep, second)
        assert time.monotonic() - started < 1  # it does not wait for its own lock
        assert sweep.progress() is not None
        assert [row async for row in rows]
    assert second.seeds == []
    assert str(sweep.ending) == "complete"
    assert await make(sweep, second) == []
    assert RunDir(tmp_path).status().done == 20


async def test_a_session_is_kept_every_second_though_no_turn_ends(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: GenerationRequest) -> str:
        begun.set()
        await go_on.wait()
        return "Fine."

    sweep = Sweep.from_recipe(recipe(rows=1, turns=1), tmp_path)
    async with dria(wait) as client:
        task = asyncio.create_task(_collect(sweep, client))
        await begun.wait()
        async with asyncio.timeout(5):
            while sweep.run_dir.status().seconds <= 0.5:  # noqa: ASYNC110 - time is tested
                await asyncio.sleep(0.05)
        status = sweep.run_dir.status()
        assert (status.turns, status.active) == (0, True)
        assert status.seconds < 3
        go_on.set()
        assert len(await task) == 1


async def test_status_and_rows_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe(recipe(), tmp_path)
    async with dria(Caller()) as client, aclosing(sweep.run(client)) as rows:
        await anext(rows)
        status = sweep.run_dir.status()
        now = sweep.progress()
        assert status.active
        assert now is not None
        assert (status.done, status.turns) == (now.done, now.turns)
        assert len(list(sweep.run_dir.rows())) == status.done
    assert sweep.progress() is None


async def test_a_gap_that_the_store_left_is_filled(tmp_path: Path) -> None:
    await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    store = sqlite3.connect(tmp_path / "store.sqlite")
    with store:
        store.execute("DELETE FROM rows WHERE number IN (0, 7, 8)")
        store.execute("DELETE FROM turns WHERE row IN (0, 7, 8)")
    store.close()
    rows = await make(Sweep.from_recipe(recipe(), tmp_path), Caller())
    assert sorted(row.number for row in rows) == [0, 7, 8]


async def test_text_is_kept_verbatim(tmp_path: Path) -> None:
    texts = ["\ud83d half", "NUL \0 inside", "{{x}} \u2028 ☕", '"quoted" \\ back']
    answers = iter(texts)
    sweep = Sweep.from_recipe(recipe(rows=1, turns=2), tmp_path)
    [row] = await make(sweep, lambda _: next(answers))
    assert [message.content for message in row.messages] == texts
    assert list(sweep.run_dir.rows()) == [row]


async def test_a_store_that_cannot_be_written_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dria_magpie.sweep.store.connection.PATIENCE", 0.05)
    sweep = Sweep.from_recipe(recipe(), tmp_path)
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    caller = Caller(lambda _: other.execute("BEGIN IMMEDIATE") and "Fine.")
    with pytest.raises(StoreError, match="another process holds"):
        await make(sweep, caller, slots=1)
    other.close()
    kept = stored_seeds(tmp_path)
    caller = Caller()
    await make(Sweep.from_recipe(recipe(), tmp_path), caller)
    assert not set(kept) & set(caller.seeds)
    assert RunDir(tmp_path).status().done == 20


async def test_a_recipe_value_will_do(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe(Recipe.of(recipe(rows=2)), tmp_path)
    assert len(await make(sweep, Caller())) == 2


def test_a_recipe_tells_no_directory_of_a_model() -> None:
    models = [
        "/x/y/z.gguf",
        "hf:org/repo/z.gguf",
        "org/model",
        {"name": "/x/y/w.gguf", "weight": 2},
    ]
    said = Recipe.of(recipe(models=models)).to_dict()["models"]
    assert [model["name"] for model in said] == [
        "z.gguf",
        "hf:org/repo/z.gguf",
        "org/model",
        "w.gguf",
    ]
    assert "/x/y" not in json.dumps(said)


async def test_a_recipe_that_names_a_model_by_its_path_keeps_no_directory(tmp_path: Path) -> None:
    asked = recipe(rows=1, models=["/x/y/z.gguf"])
    engine = ScriptedEngine(lambda _: "Fine.", models=["/x/y/z.gguf"])
    sweep = Sweep.from_recipe(asked, tmp_path / "run")
    async with Dria(nodes=[Node(engine)]) as client:
        assert [row.status for row in await _collect(sweep, client)] == ["done"]
    store = sqlite3.connect(tmp_path / "run" / "store.sqlite")
    facts = dict(store.execute("SELECT name, value FROM facts"))
    store.close()
    assert "z.gguf" in facts["recipe"]
    assert "/x/y" not in json.dumps(facts)


async def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    process = psutil.Process()
    sweep = Sweep.from_recipe(recipe(rows=6000, turns=1), tmp_path)
    sizes = []
    async with dria(lambda _: "It depends. " * 50, slots=64) as client:
        position = 0
        async for _ in sweep.run(client):
            position += 1
            if position in {2000, 6000}:
                gc.collect()
                sizes.append(process.memory_info().rss)
    assert sizes[1] - sizes[0] < 5_000_000
