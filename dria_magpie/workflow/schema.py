"""Structured output: what a task's ``schema`` asks of the engine."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from dria_magpie.errors import StepError
from dria_magpie.workflow.plain import check_json

_GEMINI_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}


def response_format(schema: Any) -> Mapping[str, Any] | None:
    """Give OpenAI's ``response_format`` for any of the encodings that clients send.

    JSON Schema comes as a dict or as JSON text; Gemini's dialect with its upper-case types is
    translated. An empty schema asks for JSON of any form; so does a regular expression in base64,
    as no endpoint in common use takes one.

    Raises:
        StepError: it is none of these.
    """
    if schema is None or schema == "":
        return None
    if isinstance(schema, str):
        schema = _decode(schema)
        if schema is None:
            return {"type": "json_object"}
    if not isinstance(schema, Mapping):
        raise StepError(f"a schema is a JSON Schema object, not {type(schema).__name__}")
    if not schema:
        return {"type": "json_object"}
    plain = _translate(schema)
    if plain.get("type") == "object" or "properties" in plain:
        plain.setdefault("additionalProperties", False)
    name = str(plain.get("title", "answer"))
    safe = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:64] or "answer"
    inner = {"name": safe, "schema": plain, "strict": True}
    return {"type": "json_schema", "json_schema": inner}


def _decode(text: str) -> Any:
    try:
        schema = json.loads(text)
        check_json(schema)
    except (ValueError, RecursionError):
        schema = None
    if isinstance(schema, dict):
        return schema
    try:
        base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise StepError("a schema text is JSON Schema, or a pattern in base64") from error
    return None


def _translate(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _translate_item(key, value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_translate(item) for item in schema]
    return schema


def _translate_item(key: str, value: Any) -> Any:
    if key == "type" and isinstance(value, str) and value in _GEMINI_TYPES:
        return value.lower()
    return _translate(value)
