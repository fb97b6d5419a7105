"""Where dialogues run: what arguments say, then the environment, then this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Engine
from dria_magpie.network import LocalNetwork, Network
from dria_magpie.node import Node


def choose_network(
    network: str | None = None,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    models: Sequence[str] = (),
    embedded: Sequence[Engine] = (),
    concurrency: int | None = None,
    chat_template: Path | None = None,
) -> Network:
    """Give the network of the first that is said.

    In this order: `network`, `endpoint`, ``DRIA_NETWORK``, ``DRIA_ENDPOINT``, the embedded model.

    Args:
        network: the URL of a network of nodes.
        endpoint: the URL of an OpenAI-compatible endpoint.
        api_key: the endpoint's key.
        models: what the endpoint serves; asked of it if empty.
        embedded: the engines in this process; none for the default model.
        concurrency: dialogues at once; None for what the engines do by themselves.
        chat_template: the file of an endpoint's chat template, for open user turns.

    Raises:
        InvalidInputError: something that is no URL.
        UnsupportedError: a network of machines, which this version cannot join.
    """
    if network is None and endpoint is None:
        # A variable that is set to nothing says nothing; an argument that is empty is wrong.
        network = os.environ.get("DRIA_NETWORK") or None
        endpoint = os.environ.get("DRIA_ENDPOINT") or None
    if network is not None:
        return _connect(network)
    # Engines import an HTTP client, which a program that only builds graphs does not need.
    from dria_magpie.engines import LlamaEngine, OpenAIEngine

    if endpoint is not None:
        from dria_magpie.engines.openai import DEFAULT_CONCURRENCY

        most = DEFAULT_CONCURRENCY if concurrency is None else concurrency
        engine = OpenAIEngine(
            endpoint,
            api_key=api_key,
            models=models,
            concurrency=most,
            chat_template=chat_template,
        )
        return LocalNetwork([Node(engine)])
    return LocalNetwork([Node(list(embedded) or LlamaEngine(), slots=concurrency)])


def _connect(url: str) -> Network:
    if not url.startswith(("nats://", "tls://", "ws://", "wss://")):
        raise InvalidInputError(
            f"a network is a nats:// URL, not {url!r}; for an endpoint set DRIA_ENDPOINT, or use "
            "Dria(nodes=[Node(engine=OpenAIEngine(url))])"
        )
    raise UnsupportedError(
        f"this version cannot join the network {url}; it runs dialogues in this process and on "
        "OpenAI-compatible endpoints. Leave the network out, with DRIA_NETWORK unset, or name an "
        "endpoint: --endpoint URL, or DRIA_ENDPOINT"
    )
