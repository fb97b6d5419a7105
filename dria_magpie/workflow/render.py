"""Texts out of values: placeholders, lists, histories, the returned text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from dria_magpie.errors import StepError
from dria_magpie.models import Message, Role
from dria_magpie.workflow.memory import Entry, Memory, Value
from dria_magpie.workflow.parts import (
    MessageTemplate,
    PostProcess,
    ReturnValue,
    TaskSize,
    WorkflowTask,
)

# More than any model reads; graphs of strangers must not take a node's memory.
LONGEST = 16_000_000
MOST_MESSAGES = 100_000
_LONGEST_NUMBER = 20
# The characters that Unicode calls white space; str.strip() would take control characters too.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


_write_array = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def render(value: Value) -> str:
    """Give a value as text: lists as each entry with a space and a line feed, absent as ""."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "".join(f"{render(entry)} \n" for entry in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def fill(template: str, texts: Mapping[str, str]) -> str:
    """Put texts in the place of ``{{name}}`` and ``{name}``, in one pass.

    What was put in is never looked at again; a placeholder that names no input stays.

    Raises:
        StepError: the text gets larger than any model reads.
    """
    if "{" not in template or not texts:
        return template
    pattern = _pattern(tuple(texts))

    def text_of(match: re.Match[str]) -> str:
        return texts[match[1] if match[1] is not None else match[2]]

    if template.count("{") * max(map(len, texts.values())) > LONGEST:
        check_length(sum(len(text_of(match)) for match in pattern.finditer(template)))
    return pattern.sub(text_of, template)


@lru_cache(maxsize=256)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"\{{\{{({either})\}}\}}|\{{({either})\}}")


def render_messages(task: WorkflowTask, values: Mapping[str, Value]) -> tuple[Message, ...]:
    """Give a task's messages, filled, with histories spread out.

    Raises:
        StepError: the prompt is larger than any model reads.
    """
    texts = _render_used(task, values)
    messages: list[Message] = []
    length = 0
    for index, template in enumerate(task.messages):
        if template.role == "history":
            added = _spread(template, values, task.messages[index + 1 :])
        else:
            role = _ROLES.get(template.role, "user")
            added = [Message(role, fill(template.content, texts))]
        messages += added
        length += sum([len(message.content) for message in added])
        check_length(length)
        if len(messages) > MOST_MESSAGES:
            raise StepError(f"the prompt of task {task.id!r} exceeds {MOST_MESSAGES:,} messages")
    return tuple(messages)


def is_small(size: TaskSize, held: int, entries: int) -> bool:
    """Tell whether a task's messages can surely be rendered, and are some.

    Args:
        size: of the task.
        held: no fewer than the characters that memory holds, each entry rendered.
        entries: no fewer than its entries.
    """
    # Of any one value: lists have separators, a literal is its key, a size is a number.
    most = held + 2 * entries + size.keys + _LONGEST_NUMBER
    filled = (size.placeholders + size.histories + size.inputs) * most
    # A history of what is no list is one message.
    messages = size.texts + size.histories * max(1, entries)
    return size.texts > 0 and size.characters + filled <= LONGEST and messages <= MOST_MESSAGES


def check_length(characters: int) -> None:
    """Refuse a text that is larger than any model reads.

    Raises:
        StepError: it is.
    """
    if characters > LONGEST:
        raise StepError(f"a text exceeds {LONGEST:,} characters")


def _render_used(task: WorkflowTask, values: Mapping[str, Value]) -> dict[str, str]:
    contents = [message.content for message in task.messages if message.role != "history"]
    texts: dict[str, str] = {}
    length = 0
    for name, value in values.items():
        placeholder = f"{{{name}}}"
        if any(placeholder in content for content in contents):
            texts[name] = render(value)
            length += len(texts[name])
            check_length(length)
    return texts


def _spread(
    template: MessageTemplate, values: Mapping[str, Value], following: Sequence[MessageTemplate]
) -> list[Message]:
    value = values.get(template.content.strip().strip("{}"))
    entries: tuple[Entry, ...] = value if isinstance(value, tuple) else (value,) if value else ()
    # The newest message is the other side's, unless the user has the next word anyway.
    before_user = bool(following) and following[0].role == "user"
    roles: tuple[Role, Role] = ("assistant", "user") if before_user else ("user", "assistant")
    newest = len(entries) - 1
    return [Message(roles[(newest - i) % 2], render(entry)) for i, entry in enumerate(entries)]


def render_return(returned: ReturnValue, memory: Memory) -> str:
    """Give the text that a run returns.

    Raises:
        StepError: it is too large.
    """
    if isinstance(returned.input, tuple):
        rendered: list[str] = []
        for part in returned.input:
            value, memory = memory.access(part)
            rendered.append(render(value))
            check_length(sum(map(len, rendered)))
        if returned.to_json:
            return _write_array(rendered)
        return post_process(render(tuple(rendered)), returned.post_process)
    value, _ = memory.access(returned.input)
    if returned.to_json and isinstance(value, tuple):
        return _write_array([render(entry) for entry in value])
    return post_process(render(value), returned.post_process)


def post_process(text: str, steps: Sequence[PostProcess]) -> str:
    """Change a text, one step after the other; a step that lacks its texts is passed over."""
    for step in steps:
        text = _process(text, step)
    return text


def _process(text: str, step: PostProcess) -> str:
    lhs, rhs = step.lhs, step.rhs
    match step.process_type:
        case "replace":
            if lhs is None or rhs is None:
                return text
            check_length(len(text) + text.count(lhs) * len(rhs))
            return text.replace(lhs, rhs)
        case "append":
            return text + (rhs or "")
        case "prepend":
            return (lhs or "") + text
        case "to_lower":
            return text.lower()
        case "to_upper":
            return text.upper()
        case "trim":
            return text.strip(_SPACE)
        case "trim_start":
            return text.lstrip(_SPACE)
        case "trim_end":
            return text.rstrip(_SPACE)
