"""`RunDir`: what a sweep has made, whether it goes on or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.export import About, Exported, FileKind, Format, export_rows
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.status import Status, read_status
from dria_magpie.sweep.store import RunLock, Store
from dria_magpie.sweep.store.reading import read_rows
from dria_magpie.sweep.store.store import FILE


class RunDir:
    """The directory of a sweep, read while it is made or afterwards.

    Args:
        path: the directory.

    Raises:
        StoreError: from every method: there is no sweep, or it cannot be read.

    Example::

        run_dir = RunDir("runs/first")
        print(run_dir.status().done)
        run_dir.export("data/dialogues.parquet", format="messages", kind="parquet")
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        """Whether a sweep has begun here."""
        return (self.path / FILE).exists()

    def status(self) -> Status:
        """Read how far the sweep has come."""
        with Store.read(self.path) as store, store.transaction("DEFERRED"):
            return read_status(store, active=RunLock(self.path).is_held())

    def rows(self) -> Iterator[Row]:
        """Give the rows that have ended, done or failed, in the plan's order, as of now.

        They are read at one moment of the store, which cannot shrink its log before the last one
        is read, or the generator closed.
        """
        with Store.read(self.path) as store, store.transaction("DEFERRED"):
            yield from read_rows(store)

    def export(
        self,
        file: str | Path,
        *,
        format: Format = "messages",  # noqa: A002 - what users call it
        kind: FileKind | None = None,
        license: str = "unknown",  # noqa: A002 - the card's field
    ) -> Exported:
        """Write the rows that are done as a dataset, with a card in the same directory.

        Args:
            file: where to.
            format: ``messages`` (OpenAI, TRL), ``sharegpt`` or ``dialogue`` (Dria).
            kind: ``jsonl`` or ``parquet``; by default what the file's name says.
            license: the identifier for the card, as the Hugging Face Hub knows it.

        Raises:
            InvalidInputError: a format or a kind that does not exist.
            StoreError: there is no sweep, or it cannot be read.
            UnsupportedError: Parquet without the package that writes it.
            DriaMagpieError: the file cannot be written.
        """
        file = Path(file)
        kind = kind or ("parquet" if file.suffix == ".parquet" else "jsonl")
        if format not in get_args(Format) or kind not in get_args(FileKind):
            raise InvalidInputError(
                f"format takes {', '.join(get_args(Format))}, and kind "
                f"{', '.join(get_args(FileKind))}; not {format!r} and {kind!r}"
            )
        with Store.read(self.path) as store, store.transaction("DEFERRED"):
            status = read_status(store, active=False)
            about = About(
                name=store.fact("name") or self.path.name,
                recipe=json.loads(store.fact("recipe") or "{}"),
                planned=status.rows,
                failed=status.failed,
                license=license,
            )
            return export_rows(read_rows(store), file, format=format, kind=kind, about=about)
