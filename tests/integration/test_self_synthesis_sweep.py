"""Sweeps of conversations that a model draws from itself: the same store, the same exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dria_magpie import Dria, GenerationRequest, Node, Row, Sampling, Sweep, UnsupportedError
from dria_magpie.models import Generation
from dria_magpie.testing import ScriptedEngine

RECIPE: dict[str, Any] = {
    "kind": "self_synthesis",
    "rows": 12,
    "turns": [1, 2],
    "system_prompts": [{"key": "tutor", "prompt": "You tutor."}, "You translate."],
    "response_sampling": {"max_tokens": 9},
    "seed": 3,
}


def say(request: GenerationRequest) -> str:
    return f"{'What' if request.open_user_turn else 'That'} is {request.sampling.seed}"


async def make(sweep: Sweep, answer: Any = say, **options: Any) -> list[Row]:
    async with Dria(nodes=[Node(ScriptedEngine(answer))]) as dria:
        return [row async for row in sweep.run(dria, **options)]


async def test_rows_are_what_the_plan_says(tmp_path: Path) -> None:
    asked: list[GenerationRequest] = []

    def answer(request: GenerationRequest) -> str:
        asked.append(request)
        return say(request)

    sweep = Sweep.from_recipe(RECIPE, tmp_path)
    rows = await make(sweep, answer)
    assert sorted(row.id for row in rows) == sorted(planned.id for planned in sweep.plan)
    for row in sweep.run_dir.rows():
        planned = sweep.plan[row.number]
        assert row.origin == planned.origin
        assert [message.role for message in row.messages] == ["user", "assistant"] * planned.turns
        assert [message.content.split()[0] for message in row.messages] == (
            ["What", "That"] * planned.turns
        )
    assert {request.messages[0].content for request in asked} == {"You tutor.", "You translate."}
    caps = {request.open_user_turn: request.sampling.max_tokens for request in asked}
    assert caps == {True: 512, False: 9}
    assert len({request.sampling.seed for request in asked}) == len(asked)


async def test_an_export_has_the_prompts_and_the_personas(tmp_path: Path, load: Any) -> None:
    recipe = {**RECIPE, "personas": ["a nurse", "a diver"], "turns": 1}
    recipe["system_prompts"] = [{"key": "talk", "prompt": "Talk to {persona}."}]
    sweep = Sweep.from_recipe(recipe, tmp_path / "run")
    await make(sweep)
    for kind in ("jsonl", "parquet"):
        file = tmp_path / kind / f"x.{kind}"
        exported = sweep.run_dir.export(file, format="messages")
        assert exported.rows == 12
        by_file, by_card = load(file), load(file.parent)
        assert by_card["features"] == by_file["features"]
        assert by_card["rows"] == by_file["rows"]
        first = by_card["rows"][0]
        assert list(first)[:5] == [
            "id",
            "messages",
            "system_prompt",
            "system_prompt_key",
            "persona",
        ]
        assert first["system_prompt"] == "Talk to a nurse."
        assert (first["system_prompt_key"], first["persona"]) == ("talk", "a nurse")
        assert "two personas" not in exported.card.read_text("utf-8")


async def test_more_rows_leave_the_others_as_they_are(tmp_path: Path) -> None:
    first = await make(Sweep.from_recipe(RECIPE, tmp_path))
    grown = Sweep.from_recipe({**RECIPE, "rows": 15}, tmp_path)
    assert {row.number for row in await make(grown)} == {12, 13, 14}
    kept = list(grown.run_dir.rows())
    assert kept[:12] == sorted(first, key=lambda row: row.number)


async def test_an_instruction_that_never_comes_fails_its_row_and_is_drawn_anew(
    tmp_path: Path,
) -> None:
    def answer(request: GenerationRequest) -> Generation | str:
        cut = request.open_user_turn and request.messages[0].content == "You tutor."
        return Generation(text="And", finish_reason="length") if cut else say(request)

    sweep = Sweep.from_recipe({**RECIPE, "retries": 0}, tmp_path)
    rows = await make(sweep, answer)
    failed = [row for row in rows if row.status == "failed"]
    assert {row.origin["system_prompt_key"] for row in failed} == {"tutor"}
    assert {row.reason for row in failed} == {"InstructionError"}
    again = Sweep.from_recipe({**RECIPE, "retries": 0}, tmp_path)
    assert {row.status for row in await make(again, retry_failed=True)} == {"done"}


async def test_an_engine_without_open_user_turns_ends_the_sweep_before_any_row(
    tmp_path: Path,
) -> None:
    def refuse(request: GenerationRequest) -> str:
        raise UnsupportedError("this engine takes no raw prompts")

    sweep = Sweep.from_recipe(RECIPE, tmp_path)
    assert await make(sweep, refuse) == []
    assert str(sweep.ending).endswith("this engine takes no raw prompts")
    assert sweep.run_dir.status().failed == 0


async def test_only_instructions(tmp_path: Path) -> None:
    sweep = Sweep.from_recipe({**RECIPE, "only_instruction": True}, tmp_path)
    rows = await make(sweep)
    assert [[message.role for message in row.messages] for row in rows] == [["user"]] * 12
    async with Dria(nodes=[Node(ScriptedEngine(say))]) as dria:
        assert (await sweep.forecast(dria)).calls == 12
    assert rows[0].turns[0].sampling.evolve(seed=None) == Sampling(
        temperature=1.0, top_p=1.0, max_tokens=512
    )
