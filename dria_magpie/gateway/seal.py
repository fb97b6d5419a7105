"""What a client gets: a result that only it can read, signed by the node that it picked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from ecies import encrypt

from dria_magpie.gateway.identities import Identities
from dria_magpie.models.text import clean_text

# The one text that has a client give a task up, instead of paying for it again and again.
GIVE_UP = "Invalid prompt"
_LONGEST_REASON = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Whom an item is for. Times are seconds since 1970.

    Attributes:
        task: the client's id of the task.
        key_digest: SHA-256 of its API key, in hex.
        public_key: the task's, 65 bytes.
        identity: the number of the node that it picked.
        received: when the task came.
    """

    task: str
    key_digest: str
    public_key: bytes
    identity: int
    received: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a task was run. Times are seconds since 1970.

    Attributes:
        model: the models that really ran.
        started: when it began.
        ended: when it was finished.
    """

    model: str
    started: float
    ended: float


def seal_result(identities: Identities, to: Address, run: Execution, text: str) -> str:
    """Give the item for a task that succeeded: encrypted with its key, and signed."""
    sealed = encrypt(to.public_key, clean_text(text).encode()).hex()
    return _sign(identities, to, run, {"ciphertext": sealed})


def seal_failure(identities: Identities, to: Address, run: Execution, reason: str) -> str:
    """Give the item for a task that failed for good; it ends the client's wait."""
    told = f"{GIVE_UP}: {clean_text(reason)[:_LONGEST_REASON]}"
    return _sign(identities, to, run, {"error": told})


def _sign(identities: Identities, to: Address, run: Execution, content: dict[str, str]) -> str:
    stats = {
        "receivedAt": _timestamp(to.received),
        "publishedAt": _timestamp(run.ended),
        "executionStartedAt": _timestamp(run.started),
        "executionEndedAt": _timestamp(run.ended),
    }
    named = {"taskId": f"{to.task}--{to.key_digest}", **content, "model": run.model, "stats": stats}
    return json.dumps(identities.wrap(to.identity, named), separators=(",", ":"))


def _timestamp(seconds: float) -> str:
    # Always six digits: Python 3.10, where clients run, reads no others.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
