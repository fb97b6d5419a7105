"""The verb ``generate``: conversations that a model holds with itself, a JSON line each."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from dria_magpie.cli.connection import open_client
from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.options import ApiKeyEnv, ChatTemplateFile, Endpoint, ModelName, Network
from dria_magpie.cli.text import say
from dria_magpie.errors import InvalidInputError

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
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other rows.")] = 0,
) -> None:
    """Have a model write instructions, and answer them."""
    from dria_magpie.magpie import MagpieGenerator

    generator = MagpieGenerator(
        num_rows=number,
        n_turns=turns,
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
        api_key_env=api_key_env,
        chat_template=chat_template,
    )
    raise typer.Exit(_write(generator, client, file))


def _write(generator: MagpieGenerator, client: Dria, file: Path) -> int:
    """Write the rows and give the exit code; those before an error or Ctrl-C are kept."""
    try:
        out = file.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise InvalidInputError(f"{file} exists already; take another name for -o") from error
    written = _Written()
    try:
        with out:
            asyncio.run(_generate(generator, client, out, written))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(f"interrupted; {written} in {file}")
        return 130
    finally:
        if not written.rows:
            file.unlink()
    say(f"{written} in {file}")
    return 0


class _Written:
    """Counts what was written."""

    def __init__(self) -> None:
        self.rows = self.messages = self.cut_off = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows += 1
        self.messages += len(row["metadata"]["finish_reasons"])
        self.cut_off += row["metadata"]["finish_reasons"].count("length")

    def __str__(self) -> str:
        cut = f", {self.cut_off:,} of {self.messages:,} messages cut off" if self.cut_off else ""
        return f"{self.rows:,} rows{cut}"


async def _generate(
    generator: MagpieGenerator, client: Dria, out: IO[str], written: _Written
) -> None:
    with Interrupts(lambda: False):
        async with client, aclosing(generator.generate(client)) as rows:
            async for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                out.flush()
                written.add(row)
