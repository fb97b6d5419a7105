"""The verb ``dialogue``: two personas in, a dialogue out."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.connection import open_client
from dria_magpie.cli.options import ApiKeyEnv, Creds, Endpoint, ModelName, Network
from dria_magpie.cli.transcript import LiveTranscript, Transcript

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.models import Task


def dialogue(
    instructor: Annotated[str, typer.Option(help="Who leads and asks.")],
    responder: Annotated[str, typer.Option(help="Who answers.")],
    turns: Annotated[int, typer.Option(help="Questions, each with its answer.")] = 1,
    topic: Annotated[str | None, typer.Option(help="What they talk about.")] = None,
    language: Annotated[str | None, typer.Option(help="What they speak.")] = None,
    model: ModelName = None,
    endpoint: Endpoint = None,
    api_key_env: ApiKeyEnv = None,
    network: Network = None,
    creds: Creds = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Cap of a message.", show_default="100 on embedded models")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON, also on a terminal.")] = False,
) -> None:
    """Let two personas talk: readable on a terminal, else JSON on stdout."""
    from dria_magpie.factory import MagPie
    from dria_magpie.models import Sampling, Task

    sampling = Sampling(seed=seed, max_tokens=max_tokens)
    graph = MagPie().workflow(
        instructor,
        responder,
        turns,
        topic=topic,
        language=language,
        instructor_sampling=sampling,
        responder_sampling=sampling,
    )
    models = [model] if model else []
    client = open_client(
        models=models,
        endpoint=endpoint,
        network=network,
        creds=creds,
        api_key_env=api_key_env,
    )
    live = sys.stdout.isatty() and not json
    transcript = LiveTranscript(instructor, responder) if live else Transcript()
    task = Task(workflow=graph, models=models)
    raise typer.Exit(_hold(client, task, transcript))


def _hold(client: Dria, task: Task, transcript: Transcript) -> int:
    """Hold the dialogue and give the exit code; what was said before a failure is shown."""
    from dria_magpie.errors import DriaMagpieError

    try:
        asyncio.run(_execute(client, task, transcript))
    except KeyboardInterrupt:
        transcript.close(error="interrupted")
        return 130
    except DriaMagpieError as error:
        transcript.close(error=str(error))
        return 1
    transcript.close()
    return 0


async def _execute(client: Dria, task: Task, transcript: Transcript) -> None:
    async with client:
        await client.execute(task, on_turn=lambda event: transcript.add(event.turn))
