"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[str | None, typer.Option(help="The model; see `models`.")]
Endpoint = Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible endpoint.")]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(help="Variable with the endpoint's key.", show_default="DRIA_API_KEY"),
]
Network = Annotated[str | None, typer.Option(help="URL of a network of nodes.")]
Creds = Annotated[
    Path | None, typer.Option(help="Credentials for the network.", show_default="DRIA_CREDS")
]
ChatTemplateFile = Annotated[
    Path | None,
    typer.Option(help="An endpoint's tokenizer_config.json, .jinja or .gguf file."),
]
