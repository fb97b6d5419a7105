"""``python -m benchmarks``: everything; with names, only those."""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks.table import Figure, machine, print_table

NAMES = (
    "startup",
    "orchestration",
    "sweep",
    "rows",
    "synthesis",
    "network",
    "network_load",
    "throughput",
    "cache",
)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    where = machine()
    figures: list[Figure] = []
    for name in names:
        figures += import_module(f"benchmarks.{name}").measure()
    print(where, end="\n\n")
    print_table(figures)


if __name__ == "__main__":
    main()
