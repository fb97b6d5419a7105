"""What the hub and a node say to each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from dria_magpie.errors import StateError
from dria_magpie.network.envelope import join_parts, split_parts

BEAT = 3.0
LEASE = 9.0
# What the broker keeps of one node's results until the hub has read them; it drops what is beyond.
MOST_HANDED_IN = 24
End = Literal["settled", "taken back"]
_LONGEST = 300
_MOST_MODELS = 100
_MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A task for a named node.

    Attributes:
        nonce: of this assignment, drawn by the hub.
        model: for generations that name none.
        order: the task, as `Order.read` takes it.
        record: what earlier nodes made of it, as `Record.read` takes it.
        end: that it is over: ``settled`` if the hub has what was handed in, ``taken back`` if
            nothing more is wanted; None as long as it is not.
    """

    nonce: str
    model: str
    order: bytes
    record: bytes
    end: End | None = None

    def to_bytes(self) -> bytes:
        """Give it as it travels."""
        head = {"nonce": self.nonce, "model": self.model, "end": self.end}
        return join_parts(head, self.order, self.record)

    @classmethod
    def ended(cls, nonce: str, end: End) -> Self:
        """Give the word that an assignment is one no more."""
        return cls(nonce=nonce, model="", order=b"", record=b"", end=end)

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
                end=head["end"],
            )
        except (ValueError, KeyError) as error:
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
