"""What the package may weigh. What it may take in time is measured by `make bench`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dria_magpie

PYTHON = (sys.executable, "-c")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        pytest.param(
            "import dria_magpie", {"aiohttp", "asyncio", "jinja2", "pydantic"}, id="package"
        ),
        pytest.param("import dria_magpie.cli", {"aiohttp", "jinja2", "pydantic", "rich"}, id="cli"),
        pytest.param(
            "from dria_magpie import Dria, MagPie", {"aiohttp", "jinja2", "rich"}, id="client"
        ),
        pytest.param(
            "from dria_magpie import LlamaEngine", {"huggingface_hub", "xllamacpp"}, id="embedded"
        ),
    ],
)
def test_imports_nothing_heavy_before_it_is_needed(code, absent):
    program = f"{code}; import sys; print(*sys.modules, sep=chr(10))"
    out = subprocess.run([*PYTHON, program], capture_output=True, text=True, check=True).stdout
    assert not absent & set(out.split())


def core(name: str, found: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """A distribution and all that it requires without extras."""
    found = {} if found is None else found
    key = name.lower().replace("_", "-")
    if key not in found:
        found[key] = distribution(name)
        for text in found[key].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                core(requirement.name, found)
    return found


def test_the_core_is_small():
    files = [file for found in core("dria-magpie").values() for file in found.files or ()]
    own = Path(dria_magpie.__file__).parent
    paths = {Path(str(file.locate())).resolve() for file in files} | {*own.rglob("*")}
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 60 * 2**20
