"""``dria-magpie models``: what can be served on this machine, and fetching more of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dria_magpie.engines.weights.files import Weights

app = typer.Typer(help="What can be served on this machine, and fetching more of it.")

_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: _AsJson = False) -> None:
    """List the models whose weights are here, or known."""
    if context.invoked_subcommand:
        return
    from dria_magpie.engines.weights.files import list_weights

    found = list_weights()
    if as_json:
        _print(json.dumps([_describe(weights) for weights in found], indent=2))
        return
    for weights in found:
        size = f"{weights.size / 1e6:,.0f} MB" if weights.size else "?"
        verified = ", verified" if weights.sha256 else ""
        _print("\t".join([weights.name, weights.state + verified, size, str(weights.path)]))


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known model, or hf:ORG/REPO/FILE.gguf.")],
) -> None:
    """Fetch a model's weights, or check those that are here."""
    from dria_magpie.engines.weights.fetch import fetch

    _print(str(fetch(name).path))


def _describe(weights: Weights) -> dict[str, Any]:
    return {
        "name": weights.name,
        "state": weights.state,
        "size": weights.size or None,
        "path": str(weights.path),
        "sha256": weights.sha256 or None,
    }


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
