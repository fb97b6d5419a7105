"""What travels: a task as it was handed in, and what nodes made of it. JSON, a line a part.

Lines are forwarded as they came, so that nobody along the way has to write them anew, and so that
a signature is over bytes that everybody sees alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

from dria_magpie.errors import LimitError, StateError
from dria_magpie.models import Task, Turn
from dria_magpie.network.signing import NodeKey, recover
from dria_magpie.workflow import ExecutionState, Workflow

MOST_BYTES = 512 * 1024
RecordKind = Literal["state", "handed back", "done"]
_KINDS = {"state", "handed back", "done"}
_LONGEST, _LONGEST_ERROR = 200, 4000  # characters of what strangers write into losses and notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task as its client handed it in.

    Attributes:
        models: any of which will do; empty for whatever is served.
        seed: of the run; see `ExecutionState.seed`.
        workflow: the graph as JSON.
        given: turns that were there before, as JSON, oldest first.
        again: it may have been handed in before, and may have its result already.
        digest: of all of it: what nodes sign that they worked on.
    """

    models: tuple[str, ...]
    seed: int
    workflow: str
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
            head, workflow, *given = payload.decode().split("\n")
            said = json.loads(head)
            models, seed, again = tuple(said["models"]), said["seed"], bool(said["again"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StateError(f"not a task: {error!r}") from error
        if not all(isinstance(model, str) for model in models) or type(seed) is not int:
            raise StateError("not a task: models are names, and a seed is a whole number")
        digest = sha256(payload).digest()
        return cls(
            models=models,
            seed=seed,
            workflow=workflow,
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
            graph = json.loads(self.workflow)
        except (ValueError, RecursionError) as error:
            raise StateError(f"the workflow is no JSON: {error}") from error
        return Workflow.parse(graph)


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
    payload = "\n".join([head, workflow.model_dump_json(), *map(write_turn, state.turns)]).encode()
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
        return tuple(Turn.from_dict(json.loads(line)) for line in lines)
    except (ValueError, RecursionError) as error:
        raise StateError(f"not a turn: {error}") from error


@dataclass(frozen=True, slots=True)
class Seal:
    """A node's signature under the turns that it made, and under what it says of the run.

    Attributes:
        node: its address.
        nonce: of the assignment under which it worked.
        turns: how many turns there are with its own.
        kind: whether the run goes on from there.
        signature: 130 hexadecimal digits.
    """

    node: str
    nonce: str
    turns: int
    kind: RecordKind
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What nodes made of a task so far.

    Attributes:
        turns: those that nodes made, as JSON, oldest first.
        seals: one for each node that worked on it, in their order.
        error: why the run failed for good, as kind and text; None if it did not.
    """

    turns: tuple[str, ...] = ()
    seals: tuple[Seal, ...] = ()
    error: tuple[str, str] | None = None

    @property
    def last(self) -> Seal:
        """The seal of the node that handed it in."""
        return self.seals[-1]

    @classmethod
    def read(cls, payload: bytes) -> Record:
        """Read what `to_bytes` gave.

        Raises:
            StateError: it is no such thing.
        """
        try:
            head, *turns = payload.decode().split("\n")
            said = json.loads(head)
            seals = tuple(Seal(*values) for values in said["seals"])
            told = said["error"] and (said["error"][0], said["error"][1])
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise StateError(f"not a record: {error!r}") from error
        if not all(map(_is_seal, seals)):
            raise StateError("not a record: a seal is damaged")
        if told and not all(isinstance(t, str) and len(t) <= _LONGEST_ERROR for t in told):
            raise StateError("not a record: its error is none")
        return cls(turns=tuple(turns), seals=seals, error=told or None)

    def to_bytes(self) -> bytes:
        """Give it as it travels."""
        seals = [[s.node, s.nonce, s.turns, s.kind, s.signature] for s in self.seals]
        head = json.dumps({"seals": seals, "error": self.error})
        return "\n".join([head, *self.turns]).encode()

    def sealed(self, order: Order, key: NodeKey, nonce: str, kind: RecordKind) -> Record:
        """Give it with a seal for what it holds now.

        Args:
            order: what it is made of.
            key: of the node that hands it in.
            nonce: of the node's assignment.
            kind: whether the run goes on from there.
        """
        digest = _digest(order, self, len(self.turns), nonce, kind)
        seal = Seal(key.address, nonce, len(self.turns), kind, key.sign(digest))
        return replace(self, seals=(*self.seals, seal))

    def signer(self, order: Order, seal: Seal) -> str:
        """Give the address that made a seal; "" for nobody."""
        return recover(_digest(order, self, seal.turns, seal.nonce, seal.kind), seal.signature)


def _digest(order: Order, record: Record, turns: int, nonce: str, kind: RecordKind) -> bytes:
    hashed = order.digest
    for line in record.turns[:turns]:
        hashed = sha256(hashed + line.encode()).digest()
    error = record.error if kind == "done" else None
    return sha256(json.dumps([nonce, turns, kind, error]).encode() + hashed).digest()


def _is_seal(seal: Seal) -> bool:
    texts: tuple[Any, ...] = (seal.node, seal.nonce, seal.signature, seal.kind)
    return (
        all(isinstance(text, str) and len(text) <= _LONGEST for text in texts)
        and type(seal.turns) is int
        and seal.turns >= 0
        and seal.kind in _KINDS
    )


def join_parts(head: Mapping[str, Any], *parts: bytes) -> bytes:
    """Put parts of several lines each under one head."""
    sizes = [len(part) for part in parts]
    return b"".join([json.dumps({**head, "sizes": sizes}).encode(), b"\n", *parts])


def split_parts(payload: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:
    """Take apart what `join_parts` gave.

    Raises:
        StateError: it is no such thing.
    """
    head, _, rest = payload.partition(b"\n")
    try:
        said = json.loads(head)
        sizes = said["sizes"]
        parts = []
        for size in sizes:
            parts.append(rest[:size])
            rest = rest[size:]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(f"not a message of the network: {error!r}") from error
    return said, parts
