"""Keeps what a reasoning model thought apart from what it said."""

from __future__ import annotations

import re

# Not between backticks, where an answer tells of the tags themselves.
TAG = re.compile(
    r"(?<!`)(?:<(/?)\s*think(?:ing)?\s*>|\[(/?)think\]|◁(/?)think▷)(?!`)", re.IGNORECASE
)


def split_reasoning(text: str) -> tuple[str, str]:
    """Split an answer into text and reasoning.

    Reasoning is what stands in ``<think>`` or ``<thinking>`` blocks, also in the spellings of
    Mistral and Kimi. A closing tag without an opening one ends a block that the chat template
    opened; a block without an end was cut off if it is the head of the answer, and is text
    elsewhere. An answer without such tags is given back verbatim.

    Returns:
        The text, and the reasoning, blocks joined by a blank line.

    Example::

        split_reasoning("<think>Greet.</think>Hello!")  # ("Hello!", "Greet.")
    """
    tags = list(TAG.finditer(text))
    closing = [tag for tag in tags if "/" in tag.groups()]
    if not tags or (not closing and text[: tags[0].start()].strip()):
        return text, ""
    said: list[str] = []
    thought: list[str] = []
    start = depth = 0
    for tag in tags:
        piece = text[start : tag.start()]
        start = tag.end()
        if "/" in tag.groups():
            if not depth:
                # The template opened the block, so that nothing before this tag was said
                thought += said
                said.clear()
            thought.append(piece)
            depth = max(depth - 1, 0)
        else:
            (thought if depth else said).append(piece)
            depth += 1
    (thought if depth else said).append(text[start:])
    return "".join(said).lstrip(), "\n\n".join(filter(None, map(str.strip, thought)))
