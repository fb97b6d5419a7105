"""What nodes made of a task, as it travels: turns, and the seals of the nodes that made them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

from dria_magpie.errors import StateError
from dria_magpie.network.order import Order
from dria_magpie.network.signing import NodeKey, recover

RecordKind = Literal["state", "handed back", "done"]
_KINDS = {"state", "handed back", "done"}
_LONGEST, _LONGEST_ERROR = 200, 4000  # characters of what strangers write into losses and notes


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
