"""The process that renders chat templates as Hugging Face's renderer does.

Jinja's immutable sandbox keeps a template from objects that are none of its business; the process
keeps it from the machine. A line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from jinja2 import Template, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# One date for all: the same row must have the same prompt on any day, also when it is resumed.
# It is the date that Llama's templates name where they are given no clock.
TODAY = date(2024, 7, 26)
_LONGEST = 4 * 2**20  # characters: a million tokens
_WORDS = 300
# Hugging Face defines these as None, llama.cpp not at all; templates are made for either
_OPTIONAL = ("tools", "documents")


class RefusedError(Exception):
    """The template called ``raise_exception``: it does not take these messages."""


class GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}``: marks answers for training, changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag; its body is rendered in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def render(source: str, variables: Mapping[str, Any]) -> str:
    """Render a template, with the optional variables undefined where None does not do.

    Raises:
        RefusedError: the template refuses the messages, in its own words.
        Exception: it is no template, or breaks out.
    """
    template = _compile(source)
    given = {**dict.fromkeys(_OPTIONAL), **variables}
    try:
        return template.render(given)
    except Exception:
        if not any(name in source for name in _OPTIONAL):
            raise
        with suppress(Exception):
            return template.render(variables)
        raise


@lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    return _environment().from_string(source)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", GenerationTag],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = TODAY.strftime
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(words: Any) -> None:
    raise RefusedError(str(words))


def answer(line: bytes) -> dict[str, str]:
    """Render what a line asks for; tell of every failure."""
    order = json.loads(line)
    try:
        text = render(order["template"], order["variables"])
    except RefusedError as error:
        return {"refused": str(error)[:_WORDS]}
    except MemoryError:
        return {"stopped": "it takes more memory than any prompt"}
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises is its fault
        return {"fault": f"{type(error).__name__}: {error}"[:_WORDS]}
    if len(text) > _LONGEST:
        return {"fault": "it makes a text longer than any prompt"}
    return {"text": text}


def serve(lines: BinaryIO, answers: BinaryIO) -> None:
    """Answer lines until there are no more; the first one says what this process may take."""
    limits = json.loads(lines.readline())
    limit_memory(limits["memory"])
    _say(answers, {})
    for line in lines:
        # The kernel ends it, should the parent have been killed before it could do so
        _set_alarm(limits["seconds"])
        _say(answers, answer(line))
        _set_alarm(0)


def limit_memory(more: int) -> None:
    """Let this process take some bytes more than it has, where the system can see to it."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # macOS does neither tell nor limit it
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _say(answers: BinaryIO, value: Mapping[str, str]) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
