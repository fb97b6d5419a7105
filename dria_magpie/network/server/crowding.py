"""No member may take up the broker with connections: it takes any number under one credential."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dria_magpie.errors import DriaMagpieError
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.server.home import NetworkHome

if TYPE_CHECKING:
    from nats.aio.client import Client

logger = logging.getLogger(__name__)
# Of one credential; a client may run as many processes on a cluster.
MOST_CONNECTIONS = 256
_LOOK = 5.0
_SECONDS = 5.0
_PAGE = 256


async def watch(home: NetworkHome) -> None:
    """Close what any one member has opened beyond that, its newest first, until cancelled."""
    from nats.errors import Error

    while True:
        await asyncio.sleep(_LOOK)
        try:
            connection = await connect_once(home.local_url, home.credentials("system"))
            try:
                await close_surplus(home, connection)
            finally:
                await connection.close()
        except (DriaMagpieError, Error, OSError, ValueError, KeyError) as error:
            # The broker is away, or has too much to do: it is asked again.
            logger.info("connections not seen: %r", error, extra={"action": "connections_unseen"})


async def close_surplus(home: NetworkHome, connection: Client) -> None:
    """Close surplus connections, as they are now.

    Args:
        home: the network.
        connection: of its system account.
    """
    asked = await _ask(connection, "PING.STATSZ", {})
    if asked["statsz"]["connections"] <= MOST_CONNECTIONS:
        return
    server, users = await _list_connections(connection)
    names = {member.user: member.name for member in home.members()}
    for user, numbers in users.items():
        surplus = sorted(numbers)[MOST_CONNECTIONS:]
        if surplus and user in names:
            context = {"action": "connections_closed", "member": names[user]}
            logger.warning("%d connections of a member are closed", len(surplus), extra=context)
            for number in surplus:
                await _ask(connection, f"{server}.KICK", {"cid": number})


async def _list_connections(connection: Client) -> tuple[str, dict[str, list[int]]]:
    """Give the server's name, and the numbers of connections by user, which only grow."""
    users: dict[str, list[int]] = defaultdict(list)
    offset = 0
    while True:
        wanted = {"auth": True, "sort": "cid", "limit": _PAGE, "offset": offset}
        answer = await _ask(connection, "PING.CONNZ", wanted)
        found = answer["data"]["connections"]
        for one in found:
            users[one.get("authorized_user", "")].append(one["cid"])
        offset += len(found)
        if len(found) < _PAGE:
            return answer["server"]["id"], users


async def _ask(connection: Client, verb: str, asked: dict[str, Any]) -> Any:
    subject = f"$SYS.REQ.SERVER.{verb}"
    answer = await connection.request(subject, json.dumps(asked).encode(), timeout=_SECONDS)
    return json.loads(answer.data)
