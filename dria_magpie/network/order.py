"""A task as it travels: JSON, a line a part.

Lines are forwarded as they came, so that nobody along the way has to write them anew, and so that
a signature is over bytes that everybody sees alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from dria_magpie.errors import LimitError, StateError
from dria_magpie.models import Task, Turn
from dria_magpie.workflow import ExecutionState, Workflow
from dria_magpie.workflow.shape import read_halves

MOST_BYTES = 512 * 1024
# Of what another node goes on from: it must be able to say, at least, why it could not.
MOST_UNFINISHED = MOST_BYTES - 8 * 1024
_SEEDS = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task as its client handed it in.

    Attributes:
        models: any of which will do; empty for whatever is served.
        seed: of the run; see `ExecutionState.seed`.
        shape: the graph, and
        filling: what fills it, as `Workflow` has them.
        given: turns that were there before, as JSON, oldest first.
        again: it may have been handed in before, and may have its result already.
        digest: of all of it: what nodes sign that they worked on.
    """

    models: tuple[str, ...]
    seed: int
    shape: str
    filling: str
    given: tuple[str, ...] = ()
    again: bool = False
    digest: bytes = field(repr=False)

    @classmethod
    def read(cls, payload: bytes) -> Order:
        """Read what `write_order` gave.

        Raises:
            StateError: it is no such thing.
        """
        try:
            head, shape, filling, *given = payload.decode().split("\n")
            said = json.loads(head)
            models, seed, again = tuple(said["models"]), said["seed"], bool(said["again"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StateError(f"not a task: {error!r}") from error
        if not all(isinstance(model, str) for model in models):
            raise StateError("not a task: models are names")
        if type(seed) is not int or not 0 <= seed < _SEEDS:
            raise StateError(f"not a task: a seed is a whole number from 0 to {_SEEDS - 1}")
        digest = sha256(payload).digest()
        return cls(
            models=models,
            seed=seed,
            shape=shape,
            filling=filling,
            given=tuple(given),
            again=again,
            digest=digest,
        )

    def parse_workflow(self) -> Workflow:
        """Read the graph.

        Raises:
            GraphError: it is none.
            StateError: it is no JSON.
        """
        try:
            return read_halves(self.shape, self.filling)
        except (ValueError, RecursionError) as error:
            raise StateError(f"the workflow is no JSON: {error}") from error


def write_order(
    task: Task, workflow: Workflow, state: ExecutionState, *, again: bool = False
) -> bytes:
    """Give a task as it travels.

    Args:
        task: what the user handed in.
        workflow: its graph, parsed.
        state: where its run stands.
        again: it may have been handed in before.

    Raises:
        LimitError: it is larger than a network takes.
    """
    head = json.dumps({"models": list(task.models), "seed": state.seed, "again": again})
    lines = [head, workflow.shape, workflow.filling, *map(write_turn, state.turns)]
    payload = "\n".join(lines).encode()
    if len(payload) > MOST_BYTES:
        raise LimitError(
            f"the task has {len(payload):,} bytes, and a network takes {MOST_BYTES:,}: shorten "
            "its personas or memory, or run it with Dria(nodes=[...])"
        )
    return payload


def write_turn(turn: Turn) -> str:
    """Give a turn as a line."""
    return json.dumps(turn.to_dict())


def read_turns(lines: Iterable[str]) -> tuple[Turn, ...]:
    """Read turns.

    Raises:
        StateError: one of them is none.
    """
    try:
        return tuple(map(Turn.from_json, lines))
    except (ValueError, RecursionError) as error:
        raise StateError(f"not a turn: {error}") from error
