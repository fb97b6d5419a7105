"""The verbs, put together."""

from __future__ import annotations

import typer

from dria_magpie.cli.dialogue import dialogue
from dria_magpie.cli.export import export
from dria_magpie.cli.models import app as models
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
app.command(name="dialogue")(dialogue)
app.command(name="sweep")(sweep)
app.command(name="status")(status)
app.command(name="export")(export)
app.add_typer(models, name="models")
