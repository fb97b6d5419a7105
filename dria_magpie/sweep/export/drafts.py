"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import BinaryIO, Self

from dria_magpie.errors import DriaMagpieError


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Put an error of the system, which may not name the file, into our words.

    Raises:
        DriaMagpieError: an `OSError` was raised inside.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DriaMagpieError(
            f"cannot write {target}: {reason}; make room there or choose another place"
        ) from error


class Draft:
    """A file in the making, beside the one that it is to replace; gone if it was not kept.

    Attributes:
        target: where it goes.
        file: what libraries write to.

    Raises:
        DriaMagpieError: the disk is full, or the place cannot be written to.

    Example::

        with Draft(Path("data.jsonl")) as draft:
            draft.write(b"{}")
            draft.seal()
            draft.keep()
    """

    file: BinaryIO

    def __init__(self, target: Path) -> None:
        self.target = target
        self._path = target.with_name(f".{token_hex(8)}.part")

    def __enter__(self) -> Self:
        with explained(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.file = self._path.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Write on."""
        with explained(self.target):
            self.file.write(data)

    def seal(self) -> int:
        """Bring what was written to the disk, and give its bytes; only `keep` is left to do."""
        with explained(self.target):
            self.file.flush()
            os.fsync(self.file.fileno())
            size = self.file.tell()
            self.file.close()
        return size

    def keep(self) -> None:
        """Put the draft in the target's place."""
        with explained(self.target):
            self._path.replace(self.target)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A full disk fails once more where the rest of a buffer is written; that was told.
        with contextlib.suppress(OSError):
            self.file.close()
        self._path.unlink(missing_ok=True)
