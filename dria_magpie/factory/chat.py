"""What the factories' graphs have in common: two sides that speak by turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dria_magpie.errors import ParseError
from dria_magpie.factory.arguments import SECONDS_PER_MESSAGE
from dria_magpie.factory.results import Result
from dria_magpie.workflow import Workflow

HISTORY = {"role": "history", "content": "{{chat}}"}
Parsed = dict[str, Any]


def user(content: str) -> dict[str, str]:
    """Give a message of the user."""
    return {"role": "user", "content": content}


def make_side(
    name: str, keys: Sequence[str], messages: Sequence[dict[str, str]], **more: Any
) -> dict[str, Any]:
    """Give the task of a side: it reads keys of the memory, and adds its message to the chat."""
    inputs = [{"name": k, "value": {"type": "read", "key": k}, "required": True} for k in keys]
    chat = {"name": "chat", "value": {"type": "get_all", "key": "chat"}, "required": False}
    return {
        "id": name,
        "operator": "generation",
        "messages": list(messages),
        "inputs": [*inputs, chat],
        "outputs": [{"type": "push", "key": "chat", "value": "__result"}],
        **more,
    }


def make_graph(first: dict[str, Any], second: dict[str, Any], messages: int) -> Workflow:
    """Give the graph of a chat that ends after so many messages."""
    return Workflow.parse(
        {
            # A run that reaches max_steps fails, so one more than it takes.
            "config": {
                "max_steps": messages + 1,
                "max_time": messages * SECONDS_PER_MESSAGE,
                "tools": [],
            },
            "tasks": [first, second, {"id": "_end", "operator": "end", "messages": [user("")]}],
            "steps": _make_steps(first["id"], second["id"], messages),
            "return_value": {"input": {"type": "get_all", "key": "chat"}, "to_json": True},
        }
    )


def _make_steps(first: str, second: str, messages: int) -> list[dict[str, Any]]:
    """Give the steps: after the side that speaks last, the chat may end."""
    last, other = (first, second) if messages % 2 else (second, first)
    said_enough = {
        "input": {"type": "size", "key": "chat"},
        "expected": str(messages),
        "expression": "GreaterThanOrEqual",
        "target_if_not": other,
    }
    ends = {"source": last, "target": "_end", "condition": said_enough}
    goes_on = {"source": other, "target": last}
    return [ends, goes_on] if last == first else [goes_on, ends]


def parse_each(result: Any, parse: Callable[[Result], Parsed]) -> Any:
    """Parse a result; or several, where one that cannot be parsed keeps its place.

    Raises:
        ParseError: a single result cannot be parsed.
    """
    if not isinstance(result, (list, tuple)):
        return parse(result)
    parsed: list[Parsed] = []
    for item in result:
        try:
            parsed.append(parse(item))
        except ParseError as error:
            parsed.append({"error": str(error)})
    return parsed
