"""Writes the finished rows of a sweep as a dataset, with a card, and pushes it to the hub.

Example::

    exported = export_rows(
        rows,
        Path("data/dialogues.parquet"),
        format="messages",
        kind="parquet",
        about=About(name="tutors", recipe=recipe, planned=1000, failed=3, license="apache-2.0"),
    )
    print(push(exported, "someone/tutors"))
"""

from __future__ import annotations

from dria_magpie.sweep.export.columns import Format
from dria_magpie.sweep.export.hub import push
from dria_magpie.sweep.export.sinks import FileKind
from dria_magpie.sweep.export.values import About, Exported
from dria_magpie.sweep.export.write import export_rows

__all__ = ["About", "Exported", "FileKind", "Format", "export_rows", "push"]
