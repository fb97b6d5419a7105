"""Text in blocks between ``-----BEGIN X-----`` and ``-----END X-----``, as NATS and PEM have it."""

from __future__ import annotations

import re

USER = "NATS USER JWT"
SEED = "USER NKEY SEED"
NODE_KEY = "NODE KEY"
CERTIFICATE = "CERTIFICATE"

# NATS ends its own blocks with six dashes, PEM with five
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\s*\n(.*?)\n-{5,6}END \1-{5,6}", re.DOTALL)


def write_block(name: str, content: str) -> str:
    """Give a block of NATS, with a line's end."""
    return f"-----BEGIN {name}-----\n{content}\n------END {name}------\n"


def read_blocks(text: str) -> dict[str, str]:
    """Give the blocks' contents by name."""
    return {found[1]: found[2].strip() for found in _find(text)}


def read_certificates(text: str) -> str:
    """Give every certificate, as PEM; "" if there is none."""
    return "".join(f"{found[0]}\n" for found in _find(text) if found[1] == CERTIFICATE)


def _find(text: str) -> list[re.Match[str]]:
    return list(_BLOCK.finditer(text.replace("\r\n", "\n")))
