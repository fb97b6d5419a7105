"""Makes texts of any content fit for UTF-8, YAML and Markdown."""

from __future__ import annotations

import json
import re

from dria_magpie.models.text import clean_text


def yaml_string(text: str) -> str:
    """Give a text as a YAML scalar on one line that is read back as the same text."""
    quoted = json.dumps(clean_text(text), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def code_span(text: str) -> str:
    """Give a text as inline code of Markdown, on one line."""
    line = one_line(text)
    bars = "`" * (_longest_run(line) + 1)
    gap = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{bars}{gap}{line}{gap}{bars}"


def code_block(text: str, language: str) -> str:
    """Give a text as a fenced block of Markdown that no backticks in the text can end."""
    bars = "`" * max(3, _longest_run(text) + 1)
    return f"{bars}{language}\n{_visible(text)}\n{bars}"


def plain_markdown(text: str) -> str:
    """Give a text as Markdown that shows it verbatim, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~$])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Put a space for each run of white space."""
    return _visible(" ".join(text.split()))


def shorten(text: str, length: int) -> str:
    """Cut a text that is longer than so many characters, and say so with an ellipsis."""
    return text if len(text) <= length else f"{text[:length].rstrip()} …"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _visible(text: str) -> str:
    """Put U+FFFD for control characters, which neither readers nor the hub can show."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", clean_text(text))
