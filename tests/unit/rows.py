"""Runs `Magpie` and `MagpieGenerator` against a script."""

from __future__ import annotations

from dria_magpie import Dria, Node
from dria_magpie.testing import ScriptedEngine

PAIR = {"one": "You are one.", "two": "You are two."}


def say(request):
    return f"{'Q' if request.open_user_turn else 'A'}{len(request.messages)}"


def say_by_seed(request):
    return f"{say(request)} {request.sampling.seed}"


async def process(magpie, rows, answer=say, **engine):
    async with Dria(nodes=[Node(ScriptedEngine(answer, **engine))]) as dria:
        return [row async for row in magpie.process(rows, dria)]


async def generate(generator, answer=say, **engine):
    async with Dria(nodes=[Node(ScriptedEngine(answer, **engine))]) as dria:
        return [row async for row in generator.generate(dria)]


async def ask(magpie, rows, answer=say):
    """The requests of rows that are worked on one after the other."""
    engine = ScriptedEngine(answer, slots=1)
    async with Dria(nodes=[Node(engine)]) as dria:
        _ = [row async for row in magpie.process(rows, dria)]
    return [*engine.requests]


def shown(request):
    return [(message.role, message.content) for message in request.messages]


def roles(row):
    return "".join(message["role"][0] for message in row["conversation"])


def seeds(rows):
    return [seed for row in rows for seed in row["metadata"]["seeds"]]
