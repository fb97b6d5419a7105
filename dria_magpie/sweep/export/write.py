"""Writes rows into a file, and the card beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.export.card import Facts, place_card, write_card
from dria_magpie.sweep.export.columns import Format, Record, columns_of, to_record
from dria_magpie.sweep.export.drafts import Draft
from dria_magpie.sweep.export.sinks import SUFFIXES, FileKind, open_sink
from dria_magpie.sweep.export.tally import Tally, count_bytes
from dria_magpie.sweep.export.values import About, Exported
from dria_magpie.sweep.row import Row

_BATCH_ROWS = 1_000
_BATCH_BYTES = 8 * 2**20


def export_rows(
    rows: Iterable[Row],
    file: Path,
    *,
    format: Format,  # noqa: A002 - the public name
    kind: FileKind,
    about: About,
) -> Exported:
    """Write the rows that are done, and a card that tells how they were made.

    Rows are taken one by one, so any number of them fits into memory. Both files appear whole
    when the last row was taken, in the place of older ones; whatever fails before leaves these
    as they were. The card is README.md of the file's directory: a directory has one, and it
    describes the export that was last. A README.md that no export wrote stays, and the card is
    named after the file. No rows at all make an empty file, which ``datasets`` does not load.

    Args:
        rows: of a sweep, in the order that the file is to have; failed ones are left out.
        file: where to write; its directory is made if it is missing.
        format: how the dialogue is put: ``messages`` with ``role`` and ``content`` as chat
            templates take it, ``sharegpt`` or ``dialogue`` by speaker.
        kind: ``jsonl``, or ``parquet``, which takes the extra ``export``.
        about: what the card tells besides.

    Raises:
        InvalidInputError: the file is none that readers take for this kind.
        UnsupportedError: pyarrow is not installed.
        DriaMagpieError: the file cannot be written.
    """
    _check_name(file, kind)
    columns, tally = columns_of(format, about.kind), Tally()
    with Draft(file) as data:
        with open_sink(kind, data, columns) as write:
            for batch in _batches(rows, format, tally):
                write(batch)
        facts = Facts(
            file=file.name, size=data.seal(), kind=kind, columns=columns, tally=tally, about=about
        )
        with Draft(place_card(file)) as card:
            card.write(write_card(facts).encode())
            card.seal()
            data.keep()
            card.keep()
    return Exported(file=file, rows=tally.rows, cut_off=tally.cut_off, card=card.target)


def _check_name(file: Path, kind: FileKind) -> None:
    if file.suffix not in SUFFIXES[kind]:
        endings = " or ".join(SUFFIXES[kind])
        raise InvalidInputError(
            f"a {kind} file has a name that ends in {endings}, or no reader would know it; "
            f"not {file.name!r}"
        )
    if file.exists() and not file.is_file():
        raise InvalidInputError(f"{file} is no file that can be replaced; choose another name")


def _batches(
    rows: Iterable[Row],
    format: Format,  # noqa: A002 - the public name
    tally: Tally,
) -> Iterator[list[Record]]:
    """Give records of rows that are done, as many at once as a row group is to hold."""
    batch: list[Record] = []
    size = 0
    for row in rows:
        if row.status != "done":
            continue
        record = to_record(row, format)
        length = count_bytes(record)
        tally.add(row, length)
        batch.append(record)
        size += length
        if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
