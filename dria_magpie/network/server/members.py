"""Who was invited to a network, and who was shown the door."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dria_magpie.errors import DriaMagpieError
from dria_magpie.network.server.files import write_file


class Member(BaseModel):
    """A node or a client of a network.

    Attributes:
        name: as the owner gave it.
        kind: of the member.
        token: what its subjects carry: a node's address, a client's name.
        user: the public key that it shows to the broker.
        invited: when.
        expires: when its credentials end; None if they never do.
        revoked: since when they are void; None if they are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["node", "client"]
    token: str
    user: str
    invited: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    @property
    def state(self) -> Literal["invited", "expired", "revoked"]:
        """Whether its credentials are good."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= datetime.now(UTC) else "invited"


_MEMBERS = TypeAdapter(tuple[Member, ...])


def read_members(path: Path) -> tuple[Member, ...]:
    """Give everyone who was ever invited, in that order.

    Raises:
        DriaMagpieError: the record cannot be read.
    """
    try:
        return _MEMBERS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DriaMagpieError(
            f"the record of members in {path} cannot be read; put it back from a copy: {error}"
        ) from error


def write_members(path: Path, members: Sequence[Member]) -> None:
    """Keep the record."""
    write_file(path, _MEMBERS.dump_json(tuple(members), indent=2).decode() + "\n")


def list_revoked(members: Sequence[Member]) -> dict[str, int]:
    """Give the users whom the broker must refuse, and since when; the expired ones it knows."""
    return {
        member.user: int(member.revoked.timestamp())
        for member in members
        if member.revoked and not (member.expires and member.expires <= datetime.now(UTC))
    }
