"""The broker's keys: ed25519, in the text form that NATS gives them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

import nkeys  # type: ignore[import-untyped]

from dria_magpie.errors import InvalidInputError

Role = Literal["operator", "account", "user"]
_PREFIXES: dict[Role, int] = {
    "operator": nkeys.PREFIX_BYTE_OPERATOR,
    "account": nkeys.PREFIX_BYTE_ACCOUNT,
    "user": nkeys.PREFIX_BYTE_USER,
}


@dataclass(frozen=True, slots=True)
class BrokerKey:
    """A pair of keys.

    Attributes:
        public: the public one; its first letter says the role: O, A or U.
        seed: what the private one is made of. A secret.

    Example::

        account = BrokerKey.generate("account")
    """

    public: str
    seed: str = field(repr=False)

    @classmethod
    def generate(cls, role: Role) -> BrokerKey:
        """Draw a pair."""
        return cls.from_seed(nkeys.encode_seed(os.urandom(32), _PREFIXES[role]).decode())

    @classmethod
    def from_seed(cls, seed: str) -> BrokerKey:
        """Read a pair.

        Raises:
            InvalidInputError: it is no seed.
        """
        try:
            pair = nkeys.from_seed(seed.encode())
            return cls(pair.public_key.decode(), seed)
        except Exception as error:  # nkeys has bare ones, and lets those of base64 through
            raise InvalidInputError(
                "not the seed of a NATS key: it is cut off or mixed up"
            ) from error

    def sign(self, data: bytes) -> bytes:
        """Sign; 64 bytes."""
        signature: bytes = nkeys.from_seed(self.seed.encode()).sign(data)
        return signature
