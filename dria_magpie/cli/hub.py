"""The verb ``hub``: the trusted side of a network, alone; ``network up`` runs one, too."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.interrupt import Interrupts

if TYPE_CHECKING:
    from dria_magpie.network.server import NetworkHome

logger = logging.getLogger(__name__)


def hub(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The network's directory.")],
) -> None:
    """Run a network's hub: it gives tasks to nodes, and accepts what is right."""
    from dria_magpie.cli.log import log_as_json
    from dria_magpie.cli.network import open_home
    from dria_magpie.network.loop import run

    home = open_home(directory)
    log_as_json()
    try:
        code = run(_run(home))
    except asyncio.CancelledError:
        code = 130
    raise typer.Exit(code)


async def _run(home: NetworkHome) -> int:
    from dria_magpie.network.hub import Hub
    from dria_magpie.network.server import crowding

    stopped = asyncio.Event()

    def stop() -> bool:
        stopped.set()
        return True

    barring: set[asyncio.Task[None]] = set()

    def bar(address: str) -> None:
        task = asyncio.create_task(_bar(home, address))
        barring.add(task)
        task.add_done_callback(barring.discard)

    hub = Hub(home.local_url, home.credentials("hub"), bar=bar, names=lambda: _read_names(home))
    watching = asyncio.create_task(crowding.watch(home))
    with Interrupts(stop) as interrupts:
        try:
            await hub.start()
            await stopped.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await hub.aclose()
    return 130 if interrupts.caught else 0


def _read_names(home: NetworkHome) -> dict[str, str]:
    return {member.token: member.name for member in home.members() if member.kind == "node"}


async def _bar(home: NetworkHome, address: str) -> None:
    """Take a node's access away."""
    from dria_magpie.errors import DriaMagpieError
    from dria_magpie.network.server.revocation import publish

    try:
        home.revoke(_read_names(home)[address])
        published = await publish(home)
    except (DriaMagpieError, KeyError) as error:
        context = {"action": "bar_failed", "node": address}
        logger.error("a node's access cannot be taken away: %r", error, extra=context)  # noqa: TRY400
        return
    context = {"action": "access_revoked", "node": address}
    logger.warning("a node's access was taken away: %s", published, extra=context)
