"""From the command line's options to a client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dria_magpie.errors import InvalidInputError, ModelFileError

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.models import Engine


def open_client(
    *, model: str | None, endpoint: str | None, network: str | None, api_key_env: str | None
) -> Dria:
    """Give a client for an endpoint, a network, or what the environment says; see `Dria`.

    Raises:
        InvalidInputError: options that exclude each other, or a key's variable that is not set.
    """
    # Imported here so that `--help` does not wait for them.
    from dria_magpie.client import Dria
    from dria_magpie.node import Node

    if endpoint and network:
        raise InvalidInputError("give --endpoint or --network, not both")
    if endpoint:
        return Dria(nodes=[Node(_endpoint(endpoint, model, api_key_env))])
    if network:
        return Dria(network)
    engine = None if _environment_decides() else _embedded(model)
    return Dria(nodes=[Node(engine)]) if engine else Dria()


def _environment_decides() -> bool:
    return bool(os.environ.get("DRIA_NETWORK") or os.environ.get("DRIA_ENDPOINT"))


def _endpoint(url: str, model: str | None, api_key_env: str | None) -> Engine:
    from dria_magpie.engines import OpenAIEngine

    key = os.environ.get(api_key_env or "DRIA_API_KEY")
    if api_key_env and not key:
        raise InvalidInputError(f"--api-key-env names {api_key_env}, which is not set")
    engine: Engine = OpenAIEngine(url, api_key=key, models=(model,) if model else ())
    return engine


def _embedded(model: str | None) -> Engine | None:
    """Give an engine for a model that can run here; None leaves it to the default network."""
    if model is None:
        return None
    from dria_magpie.engines import LlamaEngine
    from dria_magpie.engines.model_names import parse_name

    try:
        parse_name(model)
    except ModelFileError:
        return None
    engine: Engine = LlamaEngine(model)
    return engine
