"""Sweeps in this process, on a scripted engine and a real store."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
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
from dria_magpie.errors import ContextLengthError
from dria_magpie.sweep import Recipe
from dria_magpie.testing import ScriptedEngine

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
    assert (row.status, row.reason, len(row.turns)) == ("failed", "EndpointError", 2)
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
    assert RunDir(tmp_path).status().failed_by_reason == {"EndpointError": 3}
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
    assert sweep.ending.kind == "halted"
    assert "down" in sweep.ending.reason
    assert calls < 40
    status = sweep.run_dir.status()
    assert (status.failed, status.done) == (0, len(rows))
    assert status.ending.startswith("halted")
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
