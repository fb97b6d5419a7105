"""From the command line's options to a client."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dria_magpie.errors import InvalidInputError, ModelFileError, UnsupportedError

if TYPE_CHECKING:
    from dria_magpie.client import Dria
    from dria_magpie.models import Engine


def open_client(
    *,
    models: Sequence[str],
    endpoint: str | None,
    network: str | None,
    api_key_env: str | None,
    concurrency: int | None = None,
    chat_template: Path | None = None,
    creds: Path | None = None,
    run_id: str | None = None,
) -> Dria:
    """Give a client for an endpoint, a network, or what the environment says; see `Dria`.

    Raises:
        InvalidInputError: options that exclude each other, a key's variable that is not set, or a
            chat template that cannot be used.
    """
    # Imported here so that `--help` does not wait for them.
    from dria_magpie.client import Dria
    from dria_magpie.client.environment import choose_network

    if endpoint is not None and network is not None:
        raise InvalidInputError("give --endpoint or --network, not both")
    key = read_key(api_key_env)
    joins = network is not None or (endpoint is None and bool(os.environ.get("DRIA_NETWORK")))
    served = None if joins else find_endpoint(endpoint)
    check_template(chat_template, served)
    engines = _find_embedded(models) if served is None and not joins else []
    chosen = choose_network(
        network,
        endpoint=endpoint,
        api_key=key,
        models=models,
        embedded=engines,
        concurrency=concurrency,
        chat_template=chat_template,
        credentials=creds,
        run_id=run_id,
    )
    return Dria(chosen)


def find_endpoint(endpoint: str | None) -> str | None:
    """Give the endpoint that the option names, or else the environment; None for none."""
    # A variable that is set to nothing says nothing; an option that is empty is wrong.
    return endpoint if endpoint is not None else os.environ.get("DRIA_ENDPOINT") or None


def check_template(chat_template: Path | None, endpoint: str | None) -> None:
    """Check ``--chat-template``, before anything is paid for.

    Raises:
        InvalidInputError: there is no endpoint that it could be for, or no template in the file.
    """
    if chat_template is None:
        return
    if endpoint is None:
        raise InvalidInputError("--chat-template belongs to --endpoint: a GGUF has its own")
    from dria_magpie.engines.prompts.template import ChatTemplate

    try:
        ChatTemplate.from_file(chat_template)
    except (InvalidInputError, UnsupportedError) as error:
        raise InvalidInputError(f"--chat-template: {error}") from error


def read_key(variable: str | None) -> str | None:
    """Give the endpoint's key, if there is one.

    Raises:
        InvalidInputError: the variable that the user named is not set.
    """
    key = os.environ.get(variable or "DRIA_API_KEY")
    if variable and not key:
        raise InvalidInputError(f"--api-key-env names {variable}, which is not set")
    return key


def _find_embedded(models: Sequence[str]) -> list[Engine]:
    """Give engines for the models that can run here; the default network refuses the others."""
    if not models:
        return []
    from dria_magpie.engines import LlamaEngine
    from dria_magpie.engines.weights.names import parse_name

    engines: list[Engine] = []
    for model in models:
        try:
            parse_name(model)
        except ModelFileError:
            continue
        engines.append(LlamaEngine(model))
    return engines
