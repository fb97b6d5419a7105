"""Text of strangers, made fit for a terminal."""

from __future__ import annotations

import sys
import unicodedata

# Control characters move the cursor, format characters turn the reading direction.
_UNFIT = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Give a text without characters that could drive a terminal; lines and tabs stay."""
    return "".join(c for c in text if c in "\n\t\u200d" or unicodedata.category(c) not in _UNFIT)


def say(text: str) -> None:
    """Tell something on stderr, as stdout is for data."""
    print(printable(text), file=sys.stderr, flush=True)
