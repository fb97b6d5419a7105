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
    credentials: str | Path | None = None,
    run_id: str | None = None,
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
        credentials: the file for a network of machines; else that of ``DRIA_CREDS``.
        run_id: the run's name there; see `RemoteNetwork`.

    Raises:
        InvalidInputError: something that is no URL, or no credentials.
        UnsupportedError: a network of machines without the packages that it takes.
    """
    if network is None and endpoint is None:
        # A variable that is set to nothing says nothing; an argument that is empty is wrong.
        network = os.environ.get("DRIA_NETWORK") or None
        endpoint = os.environ.get("DRIA_ENDPOINT") or None
    if network is not None:
        return _join(network, credentials, run_id)
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


def _join(url: str, credentials: str | Path | None, run_id: str | None) -> Network:
    if not url.startswith(("nats://", "tls://", "ws://", "wss://")):
        raise InvalidInputError(
            f"a network is a nats:// URL, not {url!r}; for an endpoint set DRIA_ENDPOINT, or use "
            "Dria(nodes=[Node(engine=OpenAIEngine(url))])"
        )
    credentials = credentials or os.environ.get("DRIA_CREDS")
    if not credentials:
        raise InvalidInputError(
            f"joining {url} takes credentials, which the network's owner makes (dria-magpie "
            "network invite DIR --client NAME): --creds FILE, Dria(url, creds=FILE) or DRIA_CREDS"
        )
    try:
        from dria_magpie.network.remote import RemoteNetwork
    except ImportError as error:
        raise UnsupportedError(
            f"networks need more: pip install 'dria-magpie[network]' ({error})"
        ) from error
    return RemoteNetwork(url, credentials, run_id=run_id)
