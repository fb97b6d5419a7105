"""The verb ``sweep``: a recipe in, a run directory full of dialogues out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dria_magpie.cli.connection import open_client
from dria_magpie.cli.options import ApiKeyEnv, ChatTemplateFile, Creds, Endpoint, Network
from dria_magpie.cli.text import say
from dria_magpie.errors import InvalidInputError


def sweep(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    run_dir: Annotated[Path, typer.Option("-o", "--output", help="The run directory.")],
    endpoint: Endpoint = None,
    api_key_env: ApiKeyEnv = None,
    chat_template: ChatTemplateFile = None,
    network: Network = None,
    creds: Creds = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Dialogues at once.", show_default="64; embedded: 4"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take up the rows again that failed.")
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Minutes to wait for an endpoint that has gone.")
    ] = 10.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make a few rows, and say what all will cost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: JSON.")] = False,
) -> None:
    """Make a batch of dialogues. The same command again goes on where it ended."""
    from dria_magpie.cli.making import describe_plan, make
    from dria_magpie.sweep import Sweep

    if dry_run and retry_failed:
        raise InvalidInputError("give --dry-run or --retry-failed, not both")
    if as_json and not dry_run:
        raise InvalidInputError("--json belongs to --dry-run; `status --json` tells the rest")
    made = Sweep.from_recipe(recipe, run_dir)
    say(describe_plan(made.plan))
    client = open_client(
        models=[model.name for model in made.plan.recipe.models],
        endpoint=endpoint,
        network=network,
        creds=creds,
        api_key_env=api_key_env,
        concurrency=concurrency,
        chat_template=chat_template,
        run_id=made.run_id,
    )
    if dry_run:
        from dria_magpie.cli.forecast import print_forecast

        print_forecast(made, client, as_json=as_json)
        return
    code = make(made, client, retry_failed=retry_failed, patience=patience * 60)
    raise typer.Exit(code)
