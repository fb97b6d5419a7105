"""Telling the broker who may come in, while it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dria_magpie.errors import DriaMagpieError
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.credentials.refusal import explain_refusal
from dria_magpie.network.server.broker_files import mint_accounts, write_broker_files
from dria_magpie.network.server.home import NetworkHome

_SUBJECT = "$SYS.REQ.CLAIMS.UPDATE"
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a change.

    Attributes:
        effective: whether the running broker has it; else it has it from its next start.
        reason: why it has not; "" if it has.
    """

    effective: bool
    reason: str = ""


async def publish(home: NetworkHome) -> Published:
    """Bring the record of members to the broker: who was revoked is cut off at once.

    Where no broker of this network answers, its files are written; it reads them when it starts.

    Raises:
        DriaMagpieError: the files cannot be written.
    """
    # Held, lest a broker be told of two changes in the wrong order
    with home.holding():
        try:
            await _push(home)
        except DriaMagpieError as error:
            write_broker_files(home.files, home.facts)
            return Published(False, str(error))
    return Published(True)


async def _push(home: NetworkHome) -> None:
    from nats.errors import Error

    connection = await connect_once(home.local_url, home.credentials("system"))
    try:
        token = mint_accounts(home.files, home.facts)[home.facts.account]
        answer = await connection.request(_SUBJECT, token.encode(), timeout=_SECONDS)
    except Error as error:
        raise DriaMagpieError(explain_refusal(error)) from error
    finally:
        await connection.close()
    said = json.loads(answer.data)
    if "error" in said:
        raise DriaMagpieError(f"the broker did not take it: {said['error']}")
