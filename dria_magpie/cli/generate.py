"""The verb ``generate``: conversations that a model holds with itself, a JSON line each."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.connection import open_client
from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.options import ApiKeyEnv, ChatTemplateFile, Creds, Endpoint, ModelName, Network
from dria_magpie.cli.row_file import RowFile
from dria_magpie.cli.text import say

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.magpie import MagpieGenerator


def generate(
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many rows.")],
    file: Annotated[Path, typer.Option("-o", "--output", help="The JSONL file to write.")],
    turns: Annotated[int, typer.Option(help="The user's messages with their answers.")] = 1,
    only_instruction: Annotated[
        bool, typer.Option("--only-instruction", help="One message of the user, no answer.")
    ] = False,
    end_with_user: Annotated[
        bool, typer.Option("--end-with-user", help="Leave the last answer out.")
    ] = False,
    system_prompt: Annotated[
        list[str] | None, typer.Option(help="One of these is drawn for each row.")
    ] = None,
    include_system_prompt: Annotated[
        bool, typer.Option("--include-system-prompt", help="Put it before each conversation.")
    ] = False,
    model: ModelName = None,
    endpoint: Endpoint = None,
    chat_template: ChatTemplateFile = None,
    api_key_env: ApiKeyEnv = None,
    network: Network = None,
    creds: Creds = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed, other rows.")] = 0,
) -> None:
    """Have a model write instructions, and answer them."""
    from dria_magpie.factory.arguments import check_turns
    from dria_magpie.magpie import MagpieGenerator

    generator = MagpieGenerator(
        num_rows=number,
        n_turns=check_turns(turns, "--turns"),
        only_instruction=only_instruction,
        end_with_user=end_with_user,
        system_prompt=system_prompt or None,
        include_system_prompt=include_system_prompt,
        models=() if model is None else (model,),
        seed=seed,
    )
    client = open_client(
        models=generator.models,
        endpoint=endpoint,
        network=network,
        creds=creds,
        api_key_env=api_key_env,
        chat_template=chat_template,
    )
    raise typer.Exit(_write(generator, client, file))


def _write(generator: MagpieGenerator, client: Dria, path: Path) -> int:
    """Write the rows and give the exit code; those before an error or Ctrl-C are kept."""
    with RowFile(path) as file:
        try:
            asyncio.run(_generate(generator, client, file))
        except (KeyboardInterrupt, asyncio.CancelledError):
            say(f"interrupted; {file}")
            return 130
        except Exception:
            say(str(file))
            raise
        file.keep()
        say(str(file))
    return 0


async def _generate(generator: MagpieGenerator, client: Dria, file: RowFile) -> None:
    with Interrupts(lambda: False):
        async with client, aclosing(generator.generate(client)) as rows:
            async for row in rows:
                file.add(row)
