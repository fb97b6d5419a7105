"""What each kind of member may do, by subjects that carry its own token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, assert_never

from dria_magpie.errors import InvalidInputError

Kind = Literal["node", "client", "hub", "system"]
MAX_PAYLOAD = 600_000  # bytes of a message of a node or a client
# The hub sends a task together with what nodes made of it.
HUB_PAYLOAD = 1_500_000
HUB = "HUB"  # no client can have this token, which is in capital letters, nor read its inbox

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ADDRESS = re.compile(r"[0-9a-f]{40}")
# One inbox for all requests and a few subjects; a broker keeps each in memory
_SUBSCRIPTIONS = 16


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a user may do; everything else is refused.

    Attributes:
        publish: subjects.
        subscribe: subjects.
        subscriptions: how many at once; 0 for any number.
        payload: bytes of a message; 0 for whatever the broker takes.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    subscriptions: int = 0
    payload: int = 0


def permissions_of(kind: Kind, token: str) -> Permissions:
    """Give what a member may do.

    Nodes and clients have no right to JetStream's API, where a consumer could be emptied or its
    messages acknowledged by anyone.

    Args:
        kind: of the member.
        token: what its subjects carry: a node's address, a client's name.

    Raises:
        InvalidInputError: it is no token of this kind, so its subjects could be another's.
    """
    match kind:
        case "node":
            if not _ADDRESS.fullmatch(token):
                raise InvalidInputError(f"a node's token is 40 hexadecimal digits, not {token!r}")
            return Permissions(
                (f"node.{token}.*", f"alive.{token}"),
                (f"work.{token}", f"{inbox_of(token)}.>"),
                _SUBSCRIPTIONS,
                MAX_PAYLOAD,
            )
        case "client":
            check_name(token)
            return Permissions(
                (f"task.{token}.>", f"ask.{token}.*"),
                (f"told.{token}.>", f"{inbox_of(token)}.>"),
                _SUBSCRIPTIONS,
                MAX_PAYLOAD,
            )
        case "hub" | "system":
            return Permissions((">",), (">",))
        case _:
            assert_never(kind)


def inbox_of(token: str) -> str:
    """Give the subject under which a member gets answers."""
    return f"_INBOX.{token}"


def check_name(name: str) -> str:
    """Check the name of a member and give it back.

    Raises:
        InvalidInputError: it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot be the name of a member: it takes 1 to 32 of a-z, 0-9, _ and -, and "
            "begins with a letter or a digit"
        )
    return name
