"""The verb ``probe``: how well a model writes users' messages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.connection import check_template, find_endpoint, read_key
from dria_magpie.cli.options import ApiKeyEnv, ChatTemplateFile, Endpoint, ModelName
from dria_magpie.cli.text import printable

if TYPE_CHECKING:
    from dria_magpie.magpie.probe import ProbeReport, RawEngine


def probe(
    model: ModelName = None,
    endpoint: Endpoint = None,
    chat_template: ChatTemplateFile = None,
    api_key_env: ApiKeyEnv = None,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Instructions.")] = 36,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Another seed, other instructions.")
    ] = 0,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="The share of usable ones to exit with 0.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Draw some instructions from a model, and tell how many a user could have written."""
    engine = _make_engine(model, find_endpoint(endpoint), chat_template, read_key(api_key_env))
    report = asyncio.run(_probe(engine, model, number, seed))
    print(json.dumps(report.to_dict(), indent=2) if as_json else _describe(report))
    raise typer.Exit(0 if report.usable >= threshold else 1)


def _make_engine(
    model: str | None, endpoint: str | None, chat_template: Path | None, key: str | None
) -> RawEngine:
    from dria_magpie.engines import LlamaEngine, OpenAIEngine

    check_template(chat_template, endpoint)
    if endpoint is not None:
        return OpenAIEngine(
            endpoint,
            api_key=key,
            models=[model] if model else [],
            chat_template=chat_template,
        )
    return LlamaEngine(model) if model else LlamaEngine()


async def _probe(engine: RawEngine, model: str | None, number: int, seed: int) -> ProbeReport:
    from dria_magpie.magpie.probe import probe

    try:
        await engine.start()
        return await probe(engine, model or engine.models[0], number, seed=seed)
    finally:
        await engine.aclose()


def _describe(report: ProbeReport) -> str:
    lines = [
        f"{report.model}: {report.usable:.0%} of {report.drawn} instructions are usable",
        *(f"  {kind:<14} {n:>4}  {n / report.drawn:.0%}" for kind, n in report.faults.items()),
        f"prompt from {report.template}:",
        f"  {report.prompt!r}",
        *([f"  {report.check}"] if report.check else []),
        "usable, for example:",
        *(f"  - {text[:200]!r}" for text in report.examples),
    ]
    if report.bad_examples:
        lines.append("not usable, for example:")
        lines += [f"  - {kind}: {text[:200]!r}" for kind, text in report.bad_examples.items()]
    return printable("\n".join(lines))
