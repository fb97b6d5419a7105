"""The verb ``node``: lends an engine to a network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.options import ApiKeyEnv, ChatTemplateFile, Endpoint
from dria_magpie.errors import InvalidInputError

if TYPE_CHECKING:
    from dria_magpie.models import Engine
    from dria_magpie.network.agent import Agent
    from dria_magpie.node import Node


def node(
    network: Annotated[str, typer.Option(help="URL of the network.")],
    creds: Annotated[Path, typer.Option(help="The node's credentials.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve.", show_default="the small one")
    ] = None,
    endpoint: Endpoint = None,
    api_key_env: ApiKeyEnv = None,
    chat_template: ChatTemplateFile = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Dialogues at once.", show_default="the engine's")
    ] = None,
) -> None:
    """Serve models to a network, until Ctrl-C: what runs then is handed back, not lost."""
    from dria_magpie.cli.connection import check_template, read_key
    from dria_magpie.cli.log import log_as_json
    from dria_magpie.engines import LlamaEngine, OpenAIEngine
    from dria_magpie.network.loop import run
    from dria_magpie.node import Node

    check_template(chat_template, endpoint)
    engines: list[Engine]
    if endpoint is None:
        engines = [LlamaEngine(name) for name in model or ()] or [LlamaEngine()]
    else:
        key = read_key(api_key_env)
        engines = [
            OpenAIEngine(endpoint, api_key=key, models=model or (), chat_template=chat_template)
        ]
    made = Node(engines, slots=slots)
    log_as_json()
    try:
        code = run(_serve(made, network, creds))
    except asyncio.CancelledError:
        code = 130
    raise typer.Exit(code)


async def _serve(node: Node, url: str, creds: Path) -> int:
    agent = _make_agent(node, url, creds)

    def stop() -> bool:
        agent.drain()
        return True

    with Interrupts(stop) as interrupts:
        await agent.serve()
    return 130 if interrupts.caught else 0


def _make_agent(node: Node, url: str, creds: Path) -> Agent:
    from dria_magpie.network.agent import Agent
    from dria_magpie.network.broker import Broker
    from dria_magpie.network.credentials.creds import Credentials
    from dria_magpie.network.signing import NodeKey

    credentials = Credentials.read(creds)
    if not credentials.node_key:
        raise InvalidInputError(
            f"{creds} is a {credentials.kind}'s; the network's owner makes a node's with "
            "dria-magpie network invite DIR --node NAME"
        )
    return Agent(node, Broker(url, credentials), NodeKey.from_hex(credentials.node_key))
