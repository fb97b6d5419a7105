"""What a network is: its name, where it is reached, and who vouches for it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.network.server.layout import Layout

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")


class Facts(BaseModel):
    """A network's facts, as ``network.json`` has them.

    Attributes:
        version: of this format.
        name: the network's.
        host: the name or address under which other machines reach it; None on loopback.
        port: for NATS; the next one is for WebSockets.
        url: where nodes and clients connect to.
        websocket_url: the same, through proxies that know only the web.
        operator, account, system_account: public keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    name: str
    host: str | None
    port: int
    url: str
    websocket_url: str
    operator: str
    account: str
    system_account: str


def read_facts(home: Path) -> Facts:
    """Read a network's facts.

    Raises:
        InvalidInputError: there is no network.
        DriaMagpieError: they cannot be read.
    """
    file = Layout(home).facts
    try:
        return Facts.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"there is no network in {home}; dria-magpie network init {home} makes one"
        ) from error
    except (OSError, ValidationError) as error:
        raise DriaMagpieError(f"{file} cannot be read: {error}") from error


def check_place(host: str | None, port: int) -> None:
    """Refuse where no broker can listen, or what could not be part of a URL.

    Raises:
        InvalidInputError: ...it says what they take.
    """
    if not 1 <= port <= 65534:
        raise InvalidInputError(
            f"port takes 1 to 65534, as the next one is for WebSockets; not {port}"
        )
    if host is not None and not _HOST.fullmatch(host) and not _is_address(host):
        raise InvalidInputError(
            f"host takes the name or the IP address under which nodes reach this machine, without "
            f"scheme or port; not {host!r}"
        )


def write_url(scheme: str, host: str | None, port: int) -> str:
    """Give a URL; ``scheme`` is that without TLS."""
    if host is None:
        return f"{scheme}://127.0.0.1:{port}"
    name = f"[{host}]" if ":" in host else host
    return f"{ {'nats': 'tls', 'ws': 'wss'}[scheme] }://{name}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
