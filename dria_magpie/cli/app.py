"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from dria_magpie import __version__
from dria_magpie.cli.dialogue import dialogue
from dria_magpie.cli.export import export
from dria_magpie.cli.gateway import app as gateway
from dria_magpie.cli.generate import generate
from dria_magpie.cli.hub import hub
from dria_magpie.cli.models import app as models
from dria_magpie.cli.network import app as network
from dria_magpie.cli.node import node
from dria_magpie.cli.probe import probe
from dria_magpie.cli.status import status
from dria_magpie.cli.sweep import sweep

app = typer.Typer(
    name="dria-magpie",
    help="Synthetic dialogues between personas, on any model, anywhere it runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dria-magpie {__version__}")
        raise typer.Exit


@app.callback()
def _take_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


app.command(name="dialogue")(dialogue)
app.command(name="generate")(generate)
app.command(name="probe")(probe)
app.command(name="sweep")(sweep)
app.command(name="status")(status)
app.command(name="export")(export)
app.add_typer(models, name="models")
app.command(name="node")(node)
app.command(name="hub")(hub)
app.add_typer(network, name="network")
app.add_typer(gateway, name="gateway")
