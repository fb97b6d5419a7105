"""Reading personas: from a recipe, or from a file of people who collect them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.sweep.recipe.parts import PersonaSource

DEFAULT_COLUMN = "persona"
Personas = tuple[str, ...]
Found = Iterator[tuple[str, object]]  # where it stands, and what stands there


def read_personas(source: PersonaSource) -> Personas:
    """Give the personas of a source, in their order.

    Raises:
        InvalidInputError: the file cannot be read, or something in it is no persona; the text
            names the line.
        UnsupportedError: a Parquet file without the package that reads it.
    """
    if source.inline is not None:
        return source.inline
    path = source.path
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"personas come from {', '.join(_READERS)} files, not from {path}")
    try:
        personas = tuple(_check(path, where, value) for where, value in reader(path, source.column))
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text: {error}") from error
    if not personas:
        raise InvalidInputError(f"{path} has no personas")
    return personas


def _check(path: Path, where: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{path}, {where}: a persona is a text, not {value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{path}, {where}: not valid text: {error}") from error
    return value.strip()


def _read_txt(path: Path, column: str | None) -> Found:
    if column is not None:
        raise InvalidInputError(f"{path} is plain text, a line a persona: it has no columns")
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"line {number}", line


def _read_csv(path: Path, column: str | None) -> Found:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        # Spreadsheets of half the world write semicolons.
        delimiter = max(",;\t", key=header.count)
        rows = csv.DictReader(file, strict=True, delimiter=delimiter)
        try:
            name = _choose(path, column, rows.fieldnames or ())
            for row in rows:
                where = f"line {rows.reader.line_num}"
                if None in row:
                    raise InvalidInputError(
                        f"{path}, {where}: more fields than the header has; a text with a "
                        f"{delimiter!r} in it is put in double quotes"
                    )
                yield where, row[name]
        except csv.Error as error:
            where = f"{path}, line {rows.reader.line_num}"
            raise InvalidInputError(f"{where}: not CSV: {error}") from error


def _read_jsonl(path: Path, column: str | None) -> Found:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"line {number}", _entry(path, number, line, column)


def _entry(path: Path, number: int, line: str, column: str | None) -> Any:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(value, dict):
        return value
    name = _choose(f"{path}, line {number}", column, value)
    return value[name]


def _read_parquet(path: Path, column: str | None) -> Found:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UnsupportedError(
            f"reading {path} takes pyarrow: pip install 'dria-magpie[export]'"
        ) from error
    number = 0
    try:
        with ParquetFile(path) as file:
            name = _choose(path, column, file.schema_arrow.names)
            for batch in file.iter_batches(columns=[name]):
                # Asked for "a.b", Parquet also gives the "b" of a struct "a".
                for value in batch.column(batch.schema.get_all_field_indices(name)[0]):
                    number += 1
                    yield f"row {number}", value.as_py()
    except ArrowException as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet: {error}") from error


def _choose(where: object, column: str | None, names: Iterable[str]) -> str:
    known = list(names)
    wanted = column or (known[0] if len(known) == 1 else DEFAULT_COLUMN)
    if wanted not in known:
        said = ", ".join(map(repr, known)) or "none"
        raise InvalidInputError(f"{where}: no column {wanted!r}; there are: {said}")
    return wanted


_READERS = {".txt": _read_txt, ".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
