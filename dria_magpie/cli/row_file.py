"""The file that ``generate`` writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dria_magpie.errors import DriaMagpieError, InvalidInputError


class RowFile:
    """Takes rows as JSON lines. Each line is whole, whatever ends it; a file of none is removed.

    Args:
        path: where; nothing may be there.

    Raises:
        InvalidInputError: there is such a file already.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Unbuffered: what is counted is in the file, and nothing is left to write at the end
            self._file = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise InvalidInputError(f"{path} exists already; take another name for -o") from error
        self._path = path
        self._kept = False
        self._size = self._rows = self._messages = self._cut_off = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._rows and not self._kept:
            self._path.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row.

        Raises:
            DriaMagpieError: it cannot be written; the rows before it are kept.
        """
        try:
            self._append(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise DriaMagpieError(f"{self._path} cannot be written: {error.strerror}") from error
        self._rows += 1
        self._messages += len(row["metadata"]["finish_reasons"])
        self._cut_off += row["metadata"]["finish_reasons"].count("length")

    def _append(self, line: bytes) -> None:
        try:
            left = line
            while left:  # A disk that fills up takes a part, and then nothing
                left = left[self._file.write(left) :]
        except BaseException:
            self._file.seek(self._size)
            self._file.truncate()
            raise
        self._size += len(line)

    def keep(self) -> None:
        """Let the file stay, should there be no row in it."""
        self._kept = True

    def __str__(self) -> str:
        if not self._rows and not self._kept:
            return f"no rows, and so no {self._path}"
        of = f"{self._cut_off:,} of {self._messages:,}"
        cut = f", {of} messages cut off" if self._cut_off else ""
        return f"{self._rows:,} rows{cut} in {self._path}"
