"""Where a model's weights are on this machine, and in what state."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from dria_magpie.engines.weights.gguf import has_magic
from dria_magpie.engines.weights.names import KNOWN, HubFile, KnownModel, parse_name

State = Literal["installed", "in the cache", "not fetched", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model's weights on this machine.

    Attributes:
        name: the name under which the model is served.
        state: ``installed`` (with a package, or a file of the user's own), ``in the cache``,
            ``not fetched`` or ``damaged``.
        path: where the file is, or where a fetch would put it.
        size: the file's bytes; 0 if that is not known before it is fetched.
        sha256: the checksum that the file was found to have when it was fetched, else "".
    """

    name: str
    state: State
    path: Path
    size: int = 0
    sha256: str = ""

    @property
    def usable(self) -> bool:
        """Whether the file is there and has the right size and beginning."""
        return self.state in ("installed", "in the cache")

    @property
    def remedy(self) -> str:
        """What to do if it is not usable."""
        if self.name in KNOWN or self.name.startswith("hf:"):
            return f"run: dria-magpie models pull {self.name}"
        return "put the right file there"


def cache_directory() -> Path:
    """Give the directory of fetched weights: below ``DRIA_MAGPIE_CACHE`` or the user's cache."""
    chosen = os.environ.get("DRIA_MAGPIE_CACHE")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("dria-magpie")
    return root.expanduser().absolute() / "models"


def cached_path(source: KnownModel | HubFile) -> Path:
    """Give the place of fetched weights in the cache, whether they are there or not."""
    if isinstance(source, KnownModel):
        return cache_directory() / source.file
    return cache_directory() / "hf" / source.repository / source.file


def receipt_path(path: Path) -> Path:
    """Give the place of the note that a fetch leaves beside the file: its size and sha256."""
    return path.with_name(path.name + ".json")


def find_weights(name: str) -> Weights:
    """Look for a model's weights: the installed package, then the cache. Reads no file whole.

    Raises:
        ModelFileError: the name is unknown, see `parse_name`.

    Example::

        find_weights("smollm2:135m-instruct-q4_1").state  # "installed"
    """
    source = parse_name(name)
    if isinstance(source, Path):
        return _inspect(source.stem, source, "installed", None)
    if isinstance(source, HubFile):
        return _inspect(name, cached_path(source), "in the cache", None)
    installed = _installed_path(source)
    places = [_inspect(name, cached_path(source), "in the cache", source.size)]
    if installed is not None:
        places.insert(0, _inspect(name, installed, "installed", source.size))
    there = [place for place in places if place.state != "not fetched"]
    return next((place for place in places if place.usable), (there or places)[0])


def list_weights() -> list[Weights]:
    """Give the known models, then every file from the hub that is in the cache."""
    hub = cache_directory() / "hf"
    fetched = [f"hf:{path.relative_to(hub).as_posix()}" for path in sorted(hub.rglob("*.gguf"))]
    return [find_weights(name) for name in [*KNOWN, *fetched]]


def _installed_path(known: KnownModel) -> Path | None:
    # Importing the package would import llama_cpp, which is not installed with it.
    spec = importlib.util.find_spec(known.package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((p for p in (Path(f) / known.file for f in folders) if p.is_file()), None)


def _inspect(name: str, path: Path, state: State, size: int | None) -> Weights:
    if not path.is_file():
        return Weights(name=name, state="not fetched", path=path, size=size or 0)
    found = path.stat().st_size
    noted_size, sha256 = _read_receipt(path)
    expected = size or noted_size or found
    if found != expected or not has_magic(path):
        return Weights(name=name, state="damaged", path=path, size=found)
    return Weights(name=name, state=state, path=path, size=found, sha256=sha256)


def _read_receipt(path: Path) -> tuple[int, str]:
    try:
        note = json.loads(receipt_path(path).read_text())
        return int(note["size"]), str(note["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""
