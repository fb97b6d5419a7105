"""`Credentials`: what a member of a network holds, and the file that it comes in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from dria_magpie.errors import InvalidInputError
from dria_magpie.network.credentials.blocks import (
    NODE_KEY,
    SEED,
    USER,
    read_blocks,
    read_certificates,
    write_block,
)
from dria_magpie.network.credentials.permissions import Kind, inbox_of
from dria_magpie.network.credentials.tokens import read_claims

ASK = "ask the network's owner for new ones (dria-magpie network invite)"


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a member shows to the broker. Its text is a secret.

    Attributes:
        jwt: the user's token.
        seed: the user's private key.
        node_key: a node's private key for signing, 64 hexadecimal digits; else None.
        certificate: of the authority that the broker's certificate comes from, as PEM; "" if it
            is one that every system knows, or if there is no TLS.
        host: the name in the broker's certificate, where the URL has another; not in the file.

    Example::

        credentials = Credentials.read("gpu-1.creds")
        nats = await connect(**credentials.connect_options("tls://example.org:4222"))
    """

    jwt: str
    seed: str
    node_key: str | None = None
    certificate: str = ""
    host: str = ""

    @classmethod
    def read(cls, path: str | Path) -> Credentials:
        """Read a file.

        Raises:
            InvalidInputError: it is not there, cannot be read, is something else, or has expired.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InvalidInputError(
                f"there is no file {path}: the network's owner makes such files with dria-magpie "
                "network invite, and hands them out"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise InvalidInputError(f"cannot read the credentials in {path}: {reason}") from error
        try:
            credentials = cls.from_text(text)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}; {ASK}") from error
        credentials.check(str(path))
        return credentials

    @classmethod
    def from_text(cls, text: str) -> Credentials:
        """Read a file's text, expired or not.

        Raises:
            InvalidInputError: these are no credentials of a network of this kind.
        """
        blocks = read_blocks(text)
        if missing := [name for name in (USER, SEED) if not blocks.get(name)]:
            raise InvalidInputError(f"not a file of credentials: it has no block {missing[0]!r}")
        made = cls(blocks[USER], blocks[SEED], blocks.get(NODE_KEY), read_certificates(text))
        if made.kind not in get_args(Kind):
            raise InvalidInputError("credentials of NATS, but of no network of dria-magpie")
        if made.kind == "node" and not made.node_key:
            raise InvalidInputError(f"a node's credentials without a block {NODE_KEY!r}")
        return made

    @property
    def text(self) -> str:
        """The file's text. A secret."""
        key = write_block(NODE_KEY, self.node_key) if self.node_key else ""
        return "\n".join(
            part
            for part in (
                write_block(USER, self.jwt),
                write_block(SEED, self.seed),
                key,
                self.certificate,
            )
            if part
        )

    def check(self, what: str = "the network") -> None:
        """Refuse what has expired; a broker would only say that it wants none of it.

        Raises:
            InvalidInputError: they have expired.
        """
        if self.expires and self.expires <= datetime.now(UTC):
            raise InvalidInputError(
                f"{what}: these credentials expired on {self.expires:%Y-%m-%d %H:%M} UTC; {ASK}"
            )

    @cached_property
    def _claims(self) -> dict[str, Any]:
        return read_claims(self.jwt)

    def __repr__(self) -> str:
        return f"<credentials of the {self.kind} {self.name}>"

    @property
    def name(self) -> str:
        """The member's name, as its owner gave it."""
        return str(self._claims.get("name", ""))

    @property
    def kind(self) -> str:
        """``node``, ``client``, ``hub`` or ``system``; "" if the token does not say."""
        return self._tag("kind")

    @property
    def token(self) -> str:
        """What the member's subjects carry: a node's address, a client's name."""
        return self._tag("token")

    @property
    def user(self) -> str:
        """The user's public key."""
        return str(self._claims.get("sub", ""))

    @property
    def expires(self) -> datetime | None:
        """When they end; None if they never do."""
        seconds = self._claims.get("exp")
        return datetime.fromtimestamp(seconds, UTC) if seconds else None

    def _tag(self, name: str) -> str:
        tags = self._claims["nats"].get("tags") or ()
        found = (str(tag).partition(":") for tag in tags)
        return next((value for key, _, value in found if key == name), "")

    def connect_options(self, url: str) -> dict[str, Any]:
        """Give the arguments of ``nats.connect`` that make a connection with these credentials.

        Raises:
            InvalidInputError: the URL is not encrypted, and this network is; or they expired.
        """
        from nats.aio.client import RawCredentials

        self.check()
        scheme = urlsplit(url).scheme
        options: dict[str, Any] = {
            "servers": [url],
            "name": f"{self.kind} {self.name}",
            "user_credentials": RawCredentials(self.text),
            "inbox_prefix": inbox_of(self.token),
        }
        if scheme in {"tls", "wss"}:
            options["tls"] = ssl.create_default_context(cadata=self.certificate or None)
            # Else whoever sits between could say that there is no encryption here
            options["tls_handshake_first"] = scheme == "tls"
            if self.host:
                options["tls_hostname"] = self.host
        elif self.certificate:
            raise InvalidInputError(
                f"{url} is not encrypted, and this network is: its URL begins with tls:// or wss://"
            )
        return options
