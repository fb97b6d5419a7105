"""`NetworkHome`: the directory of a network, and who is in it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from dria_magpie.errors import InvalidInputError
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.permissions import check_name
from dria_magpie.network.server.creation import create_network
from dria_magpie.network.server.facts import Facts, read_facts
from dria_magpie.network.server.files import holding, write_file
from dria_magpie.network.server.keyring import Keyring
from dria_magpie.network.server.layout import Layout
from dria_magpie.network.server.members import Member, read_members, write_members

_RESERVED = {"hub", "system"}
_PATIENCE = 30.0


class NetworkHome:
    """A network, in a directory of its own that holds its keys, members and messages.

    Args:
        path: the directory.
        facts: what is known of the network.

    Example::

        home = NetworkHome.create("net")
        home.invite("node", "gpu-1", expires=timedelta(days=30))
        print(home.files.creds("gpu-1"), home.facts.url)
    """

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self.files = Layout(path)
        self.facts = facts

    @classmethod
    def create(cls, path: str | Path, host: str | None = None, port: int = 4222) -> NetworkHome:
        """Make a network: its keys, and with a host name its certificates.

        Args:
            path: its directory.
            host: the name or address under which other machines reach it; None for this machine.
            port: for NATS; the next one is for WebSockets.

        Raises:
            InvalidInputError: there is a network already, or host or port cannot be.
            DriaMagpieError: it cannot be written.
        """
        return cls(Path(path), create_network(Layout(Path(path)), host, port))

    @classmethod
    def open(cls, path: str | Path) -> NetworkHome:
        """Open a network's directory.

        Raises:
            InvalidInputError: there is none.
            DriaMagpieError: it cannot be read.
        """
        return cls(Path(path), read_facts(Path(path)))

    def members(self) -> tuple[Member, ...]:
        """Give everyone who was ever invited, in that order, the revoked included.

        Raises:
            DriaMagpieError: the record cannot be read.
        """
        return read_members(self.files.members)

    def check_free(self, names: Iterable[str]) -> None:
        """Check that these could be invited.

        Raises:
            InvalidInputError: a name cannot be one, is there twice, or belongs to a member.
        """
        taken = {member.name for member in self.members() if not member.revoked}
        for name in names:
            if check_name(name) in _RESERVED:
                raise InvalidInputError(f"{name} is not a member's name; take another")
            if name in taken:
                raise InvalidInputError(
                    f"{name} was invited before, and credentials are never replaced silently: take "
                    f"another name, or dria-magpie network revoke {self.path} {name} first"
                )
            taken.add(name)

    def check_known(self, names: Iterable[str]) -> None:
        """Check that these were invited once.

        Raises:
            InvalidInputError: one was not.
        """
        known = dict.fromkeys(member.name for member in self.members())
        for name in names:
            if name not in known:
                there = ", ".join(known) or "nobody yet"
                raise InvalidInputError(f"nobody was invited as {name!r}; known: {there}")

    def invite(
        self, kind: Literal["node", "client"], name: str, expires: timedelta | None = None
    ) -> Credentials:
        """Make a member, and its credentials in ``files.creds(name)``, to be handed to it.

        Args:
            kind: of the member.
            name: what it is called.
            expires: how long its credentials are good for; None for ever.

        Raises:
            InvalidInputError: a member has this name and was not revoked, or it cannot be one.
            DriaMagpieError: the file cannot be written.
        """
        with self.holding():
            self.check_free([name])
            now = datetime.now(UTC).replace(microsecond=0)
            until = now + expires if expires is not None else None
            token, node_key = _draw_node() if kind == "node" else (name, None)
            made = Keyring.read(self.files.keys).issue(
                kind,
                name,
                token=token,
                expires=until,
                node_key=node_key,
                certificate=self.files.certificate,
            )
            member = Member(
                name=name, kind=kind, token=token, user=made.user, invited=now, expires=until
            )
            # First, as nobody could revoke credentials that are not on record
            write_members(self.files.members, (*self.members(), member))
            write_file(self.files.creds(name), made.text)
        return made

    def revoke(self, name: str) -> Member:
        """Make a member's credentials void in the record; `publish` tells the broker.

        Nothing changes if they are void already.

        Raises:
            InvalidInputError: nobody was invited under this name.
        """
        with self.holding():
            self.check_known([name])
            members = self.members()
            place = max(place for place, member in enumerate(members) if member.name == name)
            member = members[place]
            if not member.revoked:
                member = member.model_copy(update={"revoked": datetime.now(UTC)})
                after = (*members[:place], member, *members[place + 1 :])
                write_members(self.files.members, after)
                self.files.creds(name).unlink(missing_ok=True)
        return member

    @property
    def local_url(self) -> str:
        """Where the broker is for programs on its own machine."""
        return f"{'tls' if self.facts.host else 'nats'}://127.0.0.1:{self.facts.port}"

    def credentials(self, who: Literal["hub", "system"]) -> Credentials:
        """Give the credentials of the owner's side, for `local_url`.

        Raises:
            InvalidInputError: they are not there.
        """
        return replace(
            Credentials.read(self.files.creds(who)),
            # As it is now: the owner may have put another one there
            certificate=self.files.certificate,
            host=self.facts.host or "",
        )

    def holding(self) -> AbstractContextManager[None]:
        """Keep other commands from changing this network.

        Raises:
            DriaMagpieError: another one has been changing it for half a minute.
        """
        said = f"another command has been changing the network in {self.path} for half a minute"
        return holding(self.files.lock, said, patience=_PATIENCE)


def _draw_node() -> tuple[str, str]:
    from dria_magpie.network.signing import NodeKey

    key = NodeKey.generate()
    return key.address, key.hex
