"""Where everything is in the directory of a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of files and directories.

    Attributes:
        home: the directory of the network.
    """

    home: Path

    @property
    def facts(self) -> Path:
        """What the network is."""
        return self.home / "network.json"

    @property
    def members(self) -> Path:
        """Who was invited, and who was revoked."""
        return self.home / "members.json"

    @property
    def keys(self) -> Path:
        """The owner's keys: who has them is the owner."""
        return self.home / "keys"

    def creds(self, name: str) -> Path:
        """The credentials of a member, of ``hub`` or of ``system``; gone once they are revoked."""
        return self.home / "creds" / f"{name}.creds"

    @property
    def config(self) -> Path:
        """The broker's configuration."""
        return self.home / "server.conf"

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.home / "server.log"

    @property
    def resolver(self) -> Path:
        """The accounts' tokens, which the broker replaces while it runs."""
        return self.home / "resolver"

    @property
    def store(self) -> Path:
        """The broker's messages, encrypted."""
        return self.home / "jetstream"

    @property
    def tls(self) -> Path:
        """The certificates; see `dria_magpie.network.server.tls`."""
        return self.home / "tls"

    @property
    def certificate(self) -> str:
        """The authority that members have to be told of, as PEM; "" if there is none."""
        file = self.tls / "ca.pem"
        return file.read_text() if file.exists() else ""

    @property
    def lock(self) -> Path:
        """Held by whoever changes something."""
        return self.home / "lock"

    @property
    def up(self) -> Path:
        """Held by whoever runs the network."""
        return self.home / "up.lock"
