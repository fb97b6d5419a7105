"""How one family of models writes a conversation down, as plain pieces of text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from dria_magpie.models import Role

Place = Literal["own message", "first user message", "last user message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    r"""The pieces of which a family's prompts are built.

    Attributes:
        name: the family's name.
        pattern: a regular expression that a model's name begins with, in small letters.
        markers: texts that a chat template of the family has, all of them; may be empty.
        user: what stands before and after a user's message.
        assistant: what stands before and after an answer.
        stop: texts that end a user's message.
        bos: what every prompt begins with; may be empty.
        system: what stands before and after a system prompt; None if there can be none.
        place: where the system prompt is put.
        default_system: the system prompt where none is given; None for none at all.
        trims: the roles whose messages lose the blanks at both ends.

    Example::

        find_family("qwen2.5:7b").user  # ("<|im_start|>user\n", "<|im_end|>\n")
    """

    name: str
    pattern: str
    markers: tuple[str, ...]
    user: tuple[str, str]
    assistant: tuple[str, str]
    stop: tuple[str, ...]
    bos: str = ""
    system: tuple[str, str] | None = None
    place: Place = "own message"
    default_system: str | None = None
    trims: frozenset[Role] = frozenset()

    def evolve(self, **changes: Any) -> Family:
        """Give a copy with some attributes changed."""
        return replace(self, **changes)

    def is_named(self, name: str) -> bool:
        """Tell whether a plain name, such as ``llama3.1-8b``, is one of this family's."""
        return re.match(self.pattern, name) is not None

    def is_marked(self, template: str) -> bool:
        """Tell whether a chat template's text is one of this family's."""
        return bool(self.markers) and all(marker in template for marker in self.markers)
