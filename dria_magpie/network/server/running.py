"""A network that runs: its broker and its hub, each started again when it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dria_magpie.errors import NetworkError
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.server.files import holding
from dria_magpie.network.server.home import NetworkHome
from dria_magpie.network.server.kept import Kept
from dria_magpie.network.server.leashed import Leashed
from dria_magpie.network.server.process import start_server

# What the hub answers to once it is up
_STATUS = "owner.status"
_WRONG_USAGE = 2
_LOOK = 0.05
_PATIENCE = 5.0


def hub_command(home: NetworkHome) -> list[str]:
    """Give the command that runs the hub; like ``dria-magpie hub DIR``, wherever that is."""
    code = "from dria_magpie.cli import main; main()"
    # -P: what lies in the working directory must not be imported in place of the library
    return [sys.executable, "-P", "-c", code, "hub", str(home.path.resolve())]


async def run_network(
    home: NetworkHome,
    stopped: asyncio.Event,
    *,
    on_ready: Callable[[], None],
    binary: Path | None = None,
    hub: Sequence[str] | None = None,
) -> int:
    """Run a network until it is to stop.

    Args:
        home: the network.
        stopped: set when it is to stop: first the hub, then the broker. When this is cancelled,
            both end all the same.
        on_ready: called once, when nodes and clients can come.
        binary: nats-server; None for the one that is installed.
        hub: the hub's command; None for `hub_command`.

    Returns:
        0, or 2 if the hub says that it was called wrongly.

    Raises:
        InvalidInputError: the broker cannot be started; see `start_server`.
        DriaMagpieError: another process runs this network, or the broker ended at once.
    """
    command = list(hub or hub_command(home))

    async def start_hub() -> Leashed:
        return Leashed(command)

    kept_broker = Kept("broker", lambda: start_server(home, binary))
    kept_hub = Kept("hub", start_hub, last=_WRONG_USAGE)
    taken = f"another process runs the network in {home.path}; end it first"
    with holding(home.files.up, taken):
        try:
            await kept_broker.start()
            await kept_hub.start()
            return await _watch(home, stopped, kept_broker, kept_hub, on_ready)
        finally:
            try:
                await kept_hub.stop()
            finally:
                await kept_broker.stop()


async def _watch(
    home: NetworkHome,
    stopped: asyncio.Event,
    broker: Kept,
    hub: Kept,
    on_ready: Callable[[], None],
) -> int:
    async def announce() -> None:
        await _wait_for_hub(home)
        on_ready()

    told = asyncio.create_task(announce())
    end = asyncio.create_task(stopped.wait())
    keeping = asyncio.create_task(hub.keep())
    tasks: list[asyncio.Task[object]] = [told, end, keeping, asyncio.create_task(broker.keep())]
    try:
        pending = set(tasks)
        while not (end.done() or keeping.done()):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what nobody expected
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return keeping.result() if keeping.done() and not keeping.cancelled() else 0


async def _wait_for_hub(home: NetworkHome) -> None:
    """Wait until the hub answers, whatever becomes of broker and hub in between."""
    while True:
        try:
            if await _ask_hub(home):
                return
        except NetworkError:
            pass  # the broker is on its way back
        await asyncio.sleep(_LOOK)


async def _ask_hub(home: NetworkHome) -> bool:
    from nats.errors import Error, NoRespondersError

    connection = await connect_once(home.local_url, home.credentials("hub"))
    try:
        while connection.is_connected:
            try:
                await connection.request(_STATUS, b"", timeout=_PATIENCE)
            except NoRespondersError:
                await asyncio.sleep(_LOOK)
            except Error:
                return False
            else:
                return True
        return False
    finally:
        await connection.close()
