"""Where dialogues run when no argument says so."""

from __future__ import annotations

import os

from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Engine
from dria_magpie.network import LocalNetwork, Network
from dria_magpie.node import Node


def choose_network(rpc_token: str | None = None) -> Network:
    """Give the network that the environment names, else the embedded one.

    ``DRIA_NETWORK`` comes before ``DRIA_ENDPOINT``, whose key is ``DRIA_API_KEY`` or `rpc_token`.

    Raises:
        InvalidInputError: a variable that is no URL.
        UnsupportedError: a network of machines, which this version cannot join.
    """
    url = os.environ.get("DRIA_NETWORK")
    if url:
        return connect(url)
    endpoint = os.environ.get("DRIA_ENDPOINT")
    if endpoint:
        return LocalNetwork([Node(_endpoint(endpoint, rpc_token))])
    return LocalNetwork([Node(_embedded())])


def connect(url: str) -> Network:
    """Give the network at an URL.

    Raises:
        InvalidInputError: it is no ``nats://`` URL.
        UnsupportedError: this version cannot join a network of machines.
    """
    if not url.startswith(("nats://", "tls://", "ws://", "wss://")):
        raise InvalidInputError(
            f"a network is a nats:// URL, not {url!r}; for an endpoint set DRIA_ENDPOINT, or use "
            "Dria(nodes=[Node(engine=OpenAIEngine(url))])"
        )
    raise UnsupportedError(
        f"this version cannot join the network {url}; it runs dialogues in this process and on "
        "OpenAI-compatible endpoints: leave DRIA_NETWORK unset, or set DRIA_ENDPOINT"
    )


def _endpoint(url: str, rpc_token: str | None) -> Engine:
    # Engines import an HTTP client, which a program that only builds graphs does not need.
    from dria_magpie.engines import OpenAIEngine

    return OpenAIEngine(url, api_key=os.environ.get("DRIA_API_KEY") or rpc_token)


def _embedded() -> Engine:
    from dria_magpie.engines import LlamaEngine

    engine: Engine = LlamaEngine()
    return engine
