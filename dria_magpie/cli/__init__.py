"""The command line: ``dria-magpie VERB``. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted with everything finished kept.
"""

from __future__ import annotations

import sys

import typer

from dria_magpie.cli.dialogue import dialogue
from dria_magpie.cli.models import app as models
from dria_magpie.errors import DriaMagpieError, InvalidInputError

app = typer.Typer(
    name="dria-magpie",
    help="Synthetic dialogues between personas, on any model, anywhere it runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(name="dialogue")(dialogue)
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except InvalidInputError as error:
        _end(f"error: {error}", 2)
    except DriaMagpieError as error:
        _end(f"error: {error}", 1)
    except KeyboardInterrupt:
        _end("interrupted", 130)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code)
