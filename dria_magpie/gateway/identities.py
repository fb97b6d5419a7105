"""The nodes that clients see: ten keys, all of them the gateway's."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from dria_magpie.errors import DriaMagpieError
from dria_magpie.network.server.files import write_file
from dria_magpie.network.signing import NodeKey

# A client gives a node five tasks of a chunk of 50, and waits for ever while there are fewer nodes.
NUMBER = 10
_FILE = "identities.secret"
_SECRET_BYTES = 32


class Identities:
    """Ten signing keys, drawn from one secret, so that they outlive the process.

    Args:
        secret: 32 bytes that nobody else knows.

    Attributes:
        addresses: how clients name them.
    """

    def __init__(self, secret: bytes) -> None:
        derived = (sha256(secret + number.to_bytes(4, "big")) for number in range(NUMBER))
        self._keys = tuple(NodeKey.from_hex(digest.hexdigest()) for digest in derived)
        self.addresses = tuple(key.address for key in self._keys)
        self._beat = lru_cache(maxsize=4)(self._sign_heartbeats)

    @classmethod
    def open(cls, directory: Path) -> Identities:
        """Read the secret of a gateway's directory; it is drawn if there is none.

        Raises:
            DriaMagpieError: it cannot be read, written, or is none.
        """
        path = directory / _FILE
        if not path.exists():
            write_file(path, secrets.token_hex(_SECRET_BYTES) + "\n")
        try:
            secret = bytes.fromhex(path.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise DriaMagpieError(f"cannot read {path}: {error}; put it back from a copy") from None
        if len(secret) != _SECRET_BYTES:
            raise DriaMagpieError(
                f"{path} is damaged; put it back from a copy, or remove it: clients that wait for "
                "results will then wait in vain"
            )
        return cls(secret)

    def find(self, address: str) -> int | None:
        """Give the number of an identity; None if it is nobody's."""
        return self.addresses.index(address) if address in self.addresses else None

    def wrap(self, number: int, content: Mapping[str, object]) -> dict[str, object]:
        """Sign some content the way that nodes on Dria did.

        Returns:
            ``message``, ``signature`` and ``recovery_id``.
        """
        message = base64.b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()
        signed = self._keys[number].sign(sha256(message.encode()).digest())
        return {
            "message": message,
            "signature": signed[:128],
            "recovery_id": int(signed[128:], 16),
        }

    def heartbeats(self, models: Sequence[str]) -> list[str]:
        """Say, once for each identity, that it lives and what it serves."""
        return self._beat(tuple(models)) if models else []

    def _sign_heartbeats(self, models: tuple[str, ...]) -> list[str]:
        # Not how many tasks wait: beyond three, a client passes a node over.
        content = {"models": list(models), "pending_tasks": [0, 0]}
        return [
            json.dumps(self.wrap(number, content) | {"peer_id": address})
            for number, address in enumerate(self.addresses)
        ]
