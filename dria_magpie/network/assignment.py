"""What the hub and a node say to each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from dria_magpie.errors import StateError
from dria_magpie.network.envelope import join_parts, split_parts

BEAT = 3.0
LEASE = 9.0
# What the broker keeps of one node's results until the hub has read them; it drops what is beyond.
MOST_HANDED_IN = 24
_LONGEST = 300
_MOST_MODELS = 100
_MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A task for a named node, with what else there is to say to it.

    Attributes:
        nonce: of this assignment, drawn by the hub; "" if there is none.
        model: for generations that name none.
        order: the task, as `Order.read` takes it.
        record: what earlier nodes made of it, as `Record.read` takes it.
        settled: nonces of assignments of which the hub has what was handed in.
        taken_back: nonces of assignments of which nothing more is wanted.
    """

    nonce: str = ""
    model: str = ""
    order: bytes = b""
    record: bytes = b""
    settled: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Give it as it travels."""
        head = {"nonce": self.nonce, "model": self.model}
        said = {"settled": self.settled, "taken_back": self.taken_back}
        return join_parts({**head, **{k: v for k, v in said.items() if v}}, self.order, self.record)

    @classmethod
    def read(cls, payload: bytes) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            StateError: it is no such thing.
        """
        head, parts = split_parts(payload)
        try:
            order, record = parts
            return cls(
                nonce=head["nonce"],
                model=head["model"],
                order=order,
                record=record,
                settled=tuple(head.get("settled", ())),
                taken_back=tuple(head.get("taken_back", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"not an assignment: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a node says of itself every few seconds.

    Attributes:
        models: names of the served models, the default first.
        slots: dialogues that it runs at once.
        running: nonces of the assignments that it works on.
        draining: it takes no more.
        build: the engine and its version; spot checks compare nodes of one build.
        hardware: the kind of machine, likewise.
    """

    models: tuple[str, ...]
    slots: int
    running: tuple[str, ...] = ()
    draining: bool = False
    build: str = ""
    hardware: str = ""

    def to_bytes(self) -> bytes:
        """Give it as it travels."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, payload: bytes) -> Self:
        """Read what `to_bytes` gave.

        Raises:
            StateError: it is no such thing, or says more than a node may have.
        """
        try:
            said: dict[str, Any] = json.loads(payload)
            beat = cls(
                **{**said, "models": tuple(said["models"]), "running": tuple(said["running"])}
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StateError(f"not a node's beat: {error!r}") from error
        if not beat._is_sound():
            raise StateError("not a node's beat: a value is out of its range")
        return beat

    def _is_sound(self) -> bool:
        texts: tuple[Any, ...] = (*self.models, *self.running, self.build, self.hardware)
        slots: Any = self.slots
        draining: Any = self.draining
        return (
            all(isinstance(text, str) and len(text) <= _LONGEST for text in texts)
            and type(slots) is int
            and 0 <= slots <= _MOST_SLOTS
            and type(draining) is bool
            and len(self.models) <= _MOST_MODELS
            and len(self.running) <= _MOST_SLOTS
        )
