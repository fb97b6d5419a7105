"""The head of a card in YAML, by which the hub and ``datasets`` know the data."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence

from dria_magpie.sweep.export.columns import Column
from dria_magpie.sweep.export.text import one_line, yaml_string

TAGS = ("synthetic", "dria-magpie")


def write_head(
    *,
    title: str,
    license: str,  # noqa: A002 - the hub's name for it
    file: str,
    columns: Sequence[Column],
    rows: int,
    arrow_bytes: int,
    file_bytes: int,
) -> str:
    """Give the head with its fences.

    Args:
        title: what the hub shows as the name.
        license: an identifier of the hub.
        file: the data's name in its directory.
        columns: in their order; none if readers are to find them in the file.
        rows: of the data.
        arrow_bytes: the size of the data in memory.
        file_bytes: the size of the file.
    """
    lines = [
        "---",
        f"pretty_name: {yaml_string(one_line(title))}",
        f"license: {yaml_string(license)}",
        "task_categories:",
        "- text-generation",
        "size_categories:",
        f"- {size_category(rows)}",
        "tags:",
        *(f"- {tag}" for tag in TAGS),
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        # The reader takes the path for a pattern.
        f"    path: {yaml_string(glob.escape(file))}",
        "dataset_info:",
        *_features(columns),
        "  splits:",
        "  - name: train",
        f"    num_bytes: {arrow_bytes}",
        f"    num_examples: {rows}",
        f"  download_size: {file_bytes}",
        f"  dataset_size: {arrow_bytes}",
        "---",
    ]
    return "\n".join(lines)


def size_category(rows: int) -> str:
    """Give the hub's name for a number of rows, such as ``1K<n<10K``."""
    if rows < 1_000:
        return "n<1K"
    power = len(str(rows)) - 1
    if power >= 12:
        return "n>1T"
    return f"{_name_power(power)}<n<{_name_power(power + 1)}"


def _name_power(power: int) -> str:
    """Write a power of ten as the hub does: 10K, 1M."""
    thousands, rest = divmod(power, 3)
    return f"{10**rest}{' KMBT'[thousands]}"


def _features(columns: Sequence[Column]) -> Iterator[str]:
    if columns:
        yield "  features:"
    for column in columns:
        yield f"  - name: {column.name}"
        if column.fields:
            yield "    list:"
            for field in column.fields:
                yield f"    - name: {field}"
                yield f"      dtype: {column.dtype}"
        elif column.many:
            # As `datasets` 3 calls what it finds in a file; newer ones, which say list, read both.
            yield f"    sequence: {column.dtype}"
        else:
            yield f"    dtype: {column.dtype}"
