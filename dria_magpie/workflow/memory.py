"""A run's memory: three separate stores, as a frozen value.

``cache`` holds one entry a key, ``stacks`` a list a key, ``files`` the chunks for ``HaveSimilar``.
An entry is a text, kept verbatim, or a JSON object that came with the workflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dria_magpie.errors import StepError
from dria_magpie.workflow.graph import Workflow
from dria_magpie.workflow.parts import InputValue
from dria_magpie.workflow.similarity import split_chunks

Entry = str | dict[str, Any]
Entries = tuple[Entry, ...]
Value = Entry | Entries | None
OUTER_INPUT = "__input"
# A stranger's graph can double a text at each step without a model.
MOST_WRITTEN = 64_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run knows. Every change gives a new value.

    Attributes:
        cache: written entries.
        stacks: pushed entries, oldest first.
        files: chunks of inserted texts, oldest first.
        written: characters that this process stored, which a run may not do without end.
    """

    cache: Mapping[str, Entry] = field(default_factory=dict)
    stacks: Mapping[str, Entries] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    written: int = field(default=0, compare=False)

    @classmethod
    def of(cls, workflow: Workflow) -> Memory:
        """Give the memory that a workflow starts with. A list without elements leaves no key."""
        cache: dict[str, Entry] = {}
        stacks: dict[str, Entries] = {}
        for key, value in workflow.external_memory.items():
            if not isinstance(value, list):
                cache[key] = value
            elif value:
                stacks[key] = tuple(value)
        return cls(cache, stacks)

    def write(self, key: str, entry: Entry) -> Memory:
        """Set a key of the cache.

        Raises:
            StepError: the run has stored more than `MOST_WRITTEN` characters.
        """
        written = self._count(entry)
        return Memory({**self.cache, key: entry}, self.stacks, self.files, written)

    def push(self, key: str, entry: Entry) -> Memory:
        """Append to a list, which begins with its first entry.

        Raises:
            StepError: the run has stored more than `MOST_WRITTEN` characters.
        """
        stacks = {**self.stacks, key: (*self.stacks.get(key, ()), entry)}
        return Memory(self.cache, stacks, self.files, self._count(entry))

    def insert(self, text: str) -> Memory:
        """Add a text to the store of ``HaveSimilar``.

        Raises:
            StepError: the run has stored more than `MOST_WRITTEN` characters.
        """
        files = self.files + split_chunks(text)
        return Memory(self.cache, self.stacks, files, self._count(text))

    def _count(self, entry: Entry) -> int:
        written = self.written + (len(entry) if isinstance(entry, str) else 0)
        if written > MOST_WRITTEN:
            raise StepError(f"the run has stored more than {MOST_WRITTEN:,} characters")
        return written

    def pop(self, key: str) -> tuple[Entry | None, Memory]:
        """Take the newest entry off a list; the emptied list stays."""
        entries = self.stacks.get(key, ())
        if not entries:
            return None, self
        stacks = {**self.stacks, key: entries[:-1]}
        return entries[-1], Memory(self.cache, stacks, self.files, self.written)

    def peek(self, key: str, index: int) -> Entry | None:
        """Look at one entry of a list; 0 is the oldest."""
        entries = self.stacks.get(key, ())
        return entries[index] if 0 <= index < len(entries) else None

    def access(self, value: InputValue) -> tuple[Value, Memory]:
        """Read one input; None is an absent value. Only ``pop`` changes the memory."""
        match value.type:
            case "read":
                return self.cache.get(value.key), self
            case "get_all":
                return self.stacks.get(value.key), self
            case "size":
                return str(len(self.stacks.get(value.key, ()))), self
            case "peek":
                return self.peek(value.key, value.index or 0), self
            case "pop":
                return self.pop(value.key)
            case "string":
                return value.key, self
            case "input":
                return self.cache.get(OUTER_INPUT), self

    def to_dict(self) -> dict[str, Any]:
        """Give a JSON object."""
        stacks = {key: list(entries) for key, entries in self.stacks.items()}
        return {"cache": dict(self.cache), "stacks": stacks, "files": list(self.files)}
