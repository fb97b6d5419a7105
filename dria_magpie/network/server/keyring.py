"""The keys of a network's owner, and what is signed with them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.keys import BrokerKey
from dria_magpie.network.credentials.permissions import Kind, permissions_of
from dria_magpie.network.credentials.tokens import mint_account, mint_operator, mint_user
from dria_magpie.network.server.files import make_directory, write_file
from dria_magpie.network.server.members import Member, list_revoked


@dataclass(frozen=True, slots=True)
class Keyring:
    """Who has these is the network's owner.

    Attributes:
        operator: vouches for the accounts.
        account: of all members and the hub.
        system: of whoever may change accounts while the broker runs.
    """

    operator: BrokerKey
    account: BrokerKey
    system: BrokerKey

    @classmethod
    def generate(cls) -> Keyring:
        """Draw new ones."""
        account, system = (BrokerKey.generate("account") for _ in range(2))
        return cls(BrokerKey.generate("operator"), account, system)

    @classmethod
    def read(cls, directory: Path) -> Keyring:
        """Read them.

        Raises:
            DriaMagpieError: one is missing or damaged.
        """
        try:
            seeds = [(directory / f"{each.name}.seed").read_text() for each in fields(cls)]
            return cls(*(BrokerKey.from_seed(seed.strip()) for seed in seeds))
        except (OSError, UnicodeDecodeError, InvalidInputError) as error:
            raise DriaMagpieError(
                f"the network's keys in {directory} cannot be read; put them back from a copy: "
                f"{error}"
            ) from error

    def write(self, directory: Path) -> None:
        """Keep them where only their owner can read them."""
        make_directory(directory)
        for each in fields(self):
            write_file(directory / f"{each.name}.seed", getattr(self, each.name).seed + "\n")

    def issue(
        self,
        kind: Kind,
        name: str,
        *,
        token: str,
        expires: datetime | None = None,
        node_key: str | None = None,
        certificate: str = "",
    ) -> Credentials:
        """Make credentials.

        Args:
            kind: of the member.
            name: as people call it.
            token: what its subjects carry.
            expires: when they end; None if they never do.
            node_key: a node's private key for signing.
            certificate: of the authority to trust, as PEM.

        Raises:
            InvalidInputError: the token is none of this kind.
        """
        user = BrokerKey.generate("user")
        jwt = mint_user(
            self.system if kind == "system" else self.account,
            user.public,
            name=name,
            tags=(f"kind:{kind}", f"token:{token}"),
            permissions=permissions_of(kind, token),
            now=int(time.time()),
            expires=int(expires.timestamp()) if expires else None,
        )
        return Credentials(jwt, user.seed, node_key, certificate)

    def vouch(self, name: str) -> str:
        """Give the operator's token for a network of this name."""
        system = self.system.public
        now = int(time.time())
        return mint_operator(self.operator, name=name, system_account=system, now=now)

    def admit(self, name: str, members: Sequence[Member]) -> dict[str, str]:
        """Give the accounts' tokens by public key; the revoked are named in them."""
        now = int(time.time())
        revoked = list_revoked(members)
        account, system = self.account.public, self.system.public
        return {
            account: mint_account(
                self.operator, account, name=name, now=now, storage=True, revoked=revoked
            ),
            system: mint_account(self.operator, system, name="SYS", now=now, storage=False),
        }
