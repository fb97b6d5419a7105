"""Keys of nodes, as on Dria: secp256k1, and an address from the public key."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak

from dria_magpie.errors import InvalidInputError

SIGNATURE_BYTES = 65


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A node's private key.

    Attributes:
        hex: the key, 64 hexadecimal digits. A secret.
        address: who the node is: 40 hexadecimal digits in small letters, the last 20 bytes of
            keccak256 of the public key.

    Example::

        key = NodeKey.generate()
        recover(digest, key.sign(digest)) == key.address
    """

    hex: str = field(repr=False)
    address: str
    _key: PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> NodeKey:
        """Draw a key."""
        return cls._of(PrivateKey())

    @classmethod
    def from_hex(cls, text: str) -> NodeKey:
        """Read a key.

        Raises:
            InvalidInputError: it is none.
        """
        try:
            return cls._of(PrivateKey(bytes.fromhex(text)))
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"not a node's key: {error}") from error

    @classmethod
    def _of(cls, key: PrivateKey) -> NodeKey:
        return cls(key.secret.hex(), address_of(key.public_key), key)

    def sign(self, digest: bytes) -> str:
        """Sign 32 bytes; give 130 hexadecimal digits."""
        return self._key.sign_recoverable(digest, hasher=None).hex()


def recover(digest: bytes, signature: str) -> str:
    """Give the address that signed 32 bytes; "" if nobody can have signed so."""
    try:
        raw = bytes.fromhex(signature)
        if len(raw) != SIGNATURE_BYTES:
            return ""
        return address_of(PublicKey.from_signature_and_message(raw, digest, hasher=None))
    except Exception:  # noqa: BLE001 - coincurve raises bare ones, and a stranger wrote this
        return ""


def address_of(key: PublicKey) -> str:
    """Give the address of a public key."""
    return _hash(key.format(compressed=False)[1:])


@lru_cache(maxsize=4096)
def _hash(public: bytes) -> str:
    return keccak.new(digest_bits=256, data=public).hexdigest()[-40:]
