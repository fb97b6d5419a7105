"""Writes records in the kinds of file that datasets come in."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from dria_magpie.errors import UnsupportedError
from dria_magpie.sweep.export.columns import Column, Record
from dria_magpie.sweep.export.drafts import Draft, explained

FileKind = Literal["jsonl", "parquet"]
Write = Callable[[list[Record]], None]

SUFFIXES: dict[FileKind, tuple[str, ...]] = {
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
}
"""The names by which readers know the kind of a file; the first is the usual one."""


def open_sink(
    kind: FileKind, draft: Draft, columns: Sequence[Column]
) -> contextlib.AbstractContextManager[Write]:
    """Give what writes records to a file; the file is complete when the context is left.

    Raises:
        UnsupportedError: the kind is Parquet, and pyarrow is not installed.
        DriaMagpieError: the file cannot be written.
    """
    return _open_parquet(draft, columns) if kind == "parquet" else _open_jsonl(draft)


@contextlib.contextmanager
def _open_jsonl(draft: Draft) -> Iterator[Write]:
    def write(records: list[Record]) -> None:
        draft.write(b"".join(map(_to_line, records)))

    yield write


def _to_line(record: Record) -> bytes:
    text = json.dumps(record, ensure_ascii=False)
    # Readers that split with str.splitlines take these for ends of lines.
    for end in "\x85\u2028\u2029":
        text = text.replace(end, f"\\u{ord(end):04x}")
    return f"{text}\n".encode()


@contextlib.contextmanager
def _open_parquet(draft: Draft, columns: Sequence[Column]) -> Iterator[Write]:
    arrow, parquet = _import_arrow()
    schema = arrow.schema([(column.name, _arrow_type(arrow, column)) for column in columns])
    writer = parquet.ParquetWriter(draft.file, schema, compression="zstd")

    def write(records: list[Record]) -> None:
        batch = arrow.RecordBatch.from_pylist(records, schema=schema)
        with explained(draft.target):
            writer.write_batch(batch)

    try:
        yield write
        with explained(draft.target):
            writer.close()
    finally:
        # A writer that failed would try again when it is collected, with the file closed.
        writer.is_open = False


def _arrow_type(arrow: Any, column: Column) -> Any:
    value = arrow.type_for_alias(column.dtype)
    if column.fields:
        value = arrow.struct([(name, value) for name in column.fields])
    return arrow.list_(value) if column.many else value


def _import_arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UnsupportedError(
            "Parquet takes pyarrow: pip install 'dria-magpie[export]', or export JSONL"
        ) from error
