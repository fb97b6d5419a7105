"""A connection at the first try, or the reason why there is none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from dria_magpie.errors import NetworkError
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.refusal import explain_refusal

if TYPE_CHECKING:
    from nats.aio.client import Client

_SECONDS = 5.0
_CLOSING = 0.3
_ONCE: dict[str, Any] = {
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
}


async def connect_once(url: str, credentials: Credentials, **options: Any) -> Client:
    """Connect to a broker at the first try, or say why that fails.

    ``nats.connect`` by itself goes on trying for minutes, says in the end only that there is no
    other server to try, and waits for ever where a certificate is not to be trusted.

    Args:
        url: of the broker.
        credentials: who connects.
        options: more of ``nats.connect``. Those about reconnecting count once there is a
            connection; without ``allow_reconnect=True`` none is made again.

    Raises:
        InvalidInputError: the credentials have expired, or are not for such a URL.
        NetworkError: nothing answers, or the broker refuses the credentials.
    """
    from nats.aio.client import Client
    from nats.errors import Error, NoServersError

    failures: list[Exception] = []

    async def keep(error: Exception) -> None:
        failures.append(error)
        if told := options.get("error_cb"):
            await told(error)

    later = {name: options.pop(name) for name in _ONCE if name in options}
    wanted = {"connect_timeout": _SECONDS, **credentials.connect_options(url), **options}
    client = Client()
    try:
        await client.connect(**{**wanted, **_ONCE, "error_cb": keep})
    except (OSError, Error) as error:
        # It waits for ever for the end of a connection that did not come to TLS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.close(), _CLOSING)
        told = failures[-1] if failures and isinstance(error, NoServersError) else error
        raise NetworkError(explain_refusal(told)) from told
    client.options.update(later)
    return client
