"""``dria-magpie network``: make a network of nodes, run it, let members in and out."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.text import say
from dria_magpie.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from dria_magpie.network.server import NetworkHome

app = typer.Typer(
    help="A network of nodes on many machines: make it, run it, let members in and out.",
    no_args_is_help=True,
)

_Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The network's directory.")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36525)


@app.command()
def init(
    directory: _Directory,
    host: Annotated[
        str | None,
        typer.Option(
            help="Name or address under which other machines reach this one.",
            show_default="this machine only",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="For NATS; the next one is for WebSockets.")] = 4222,
) -> None:
    """Make a network in a directory of its own."""
    home = _home().create(directory, host, port)
    say(f"made a network at {home.facts.url} and {home.facts.websocket_url}")
    say(f"who has {home.files.keys} owns the network: keep a copy, and show it to nobody")


@app.command()
def up(
    directory: _Directory,
    server: Annotated[
        Path | None, typer.Option(help="nats-server.", show_default="the installed one")
    ] = None,
) -> None:
    """Run a network: its broker and its hub, each started again if it ends."""
    from dria_magpie.cli.log import log_as_json

    home = _home().open(directory)
    log_as_json()
    try:
        code = asyncio.run(_run(home, server))
    except asyncio.CancelledError:
        code = 130
    raise typer.Exit(code)


async def _run(home: NetworkHome, server: Path | None) -> int:
    from dria_magpie.network.server.running import run_network

    stopped = asyncio.Event()

    def stop() -> bool:
        stopped.set()
        return True

    def tell() -> None:
        say(f"ready: {home.facts.url} {home.facts.websocket_url}")

    with Interrupts(stop) as interrupts:
        code = await run_network(home, stopped, on_ready=tell, binary=server)
    return 130 if interrupts.caught else code


@app.command()
def invite(
    directory: _Directory,
    node: Annotated[list[str] | None, typer.Option(help="A node's name.")] = None,
    client: Annotated[list[str] | None, typer.Option(help="A client's name.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="How long for, such as 12h or 30d.", show_default="for ever"),
    ] = None,
) -> None:
    """Let members in: print a file of credentials for each, to be handed to it in secret."""
    home = _home().open(directory)
    wanted: list[tuple[Literal["node", "client"], str]] = [
        *(("node", name) for name in node or ()),
        *(("client", name) for name in client or ()),
    ]
    if not wanted:
        raise InvalidInputError("give --node NAME or --client NAME, as often as there are members")
    period = read_duration(expires) if expires is not None else None
    home.check_free(name for _, name in wanted)
    for kind, name in wanted:
        home.invite(kind, name, period)
        print(home.files.creds(name), flush=True)


@app.command()
def revoke(
    directory: _Directory,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Members.")],
) -> None:
    """Make members' credentials void; whoever is connected with them is cut off at once."""
    from dria_magpie.network.server.revocation import publish

    home = _home().open(directory)
    home.check_known(names)
    for name in names:
        home.revoke(name)
    published = asyncio.run(publish(home))
    gone = ", ".join(names)
    if published.effective:
        say(f"revoked, and cut off from the running network: {gone}")
    else:
        say(f"revoked from the network's next start on: {gone}")
        say(f"no running network could be told: {published.reason}")


@app.command()
def status(
    directory: _Directory,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show nodes and queues, why tasks wait, and why nodes idle."""
    from dria_magpie.cli.network_status import describe, read_status

    told = asyncio.run(read_status(open_home(directory)))
    print(json.dumps(told, indent=2) if as_json else describe(told))


def open_home(directory: Path) -> NetworkHome:
    """Open a network's directory.

    Raises:
        InvalidInputError: there is none.
    """
    return _home().open(directory)


def _home() -> type[NetworkHome]:
    try:
        from dria_magpie.network.server import NetworkHome
    except ImportError as error:
        raise UnsupportedError(
            f"networks need more: pip install 'dria-magpie[network]' ({error})"
        ) from error
    return NetworkHome


def read_duration(text: str) -> timedelta:
    """Read a length of time: a number and one of m, h, d, w.

    Raises:
        InvalidInputError: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip())
    period = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < period <= _LONGEST:
        raise InvalidInputError(
            f"--expires takes a number and one of m, h, d, w, such as 12h or 30d; not {text!r}"
        )
    return period
