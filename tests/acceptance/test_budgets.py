"""What the package may cost: time to start, size on disk, time of each call. Generous limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.metadata import Distribution, distribution
from pathlib import Path
from statistics import median

import pytest
from packaging.requirements import Requirement

import dria_magpie
from benchmarks import orchestration

SCRIPT = Path(sys.executable).with_name("dria-magpie")
PYTHON = (sys.executable, "-c")
STARTS = 9


def seconds(command: tuple[str, ...], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("command", "most"),
    [
        pytest.param((str(SCRIPT), "--help"), 0.2, id="help"),
        pytest.param((*PYTHON, "import dria_magpie"), 0.15, id="import"),
        pytest.param((*PYTHON, "from dria_magpie import Dria"), 0.35, id="client"),
    ],
)
def test_starts_quickly(command, most, tmp_path):
    # With bytecode, as pip leaves an installed package
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    bare = (*PYTHON, "pass")
    seconds(command, environment)
    pairs = [(seconds(command, environment), seconds(bare, environment)) for _ in range(STARTS)]
    assert median(ours for ours, _ in pairs) - median(bare for _, bare in pairs) <= most


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


def test_adds_little_to_a_call():
    """The rate depends on who else works on this machine; `make bench` measures it."""
    _, cpu = orchestration.measure(dialogues=500, runs=3)
    assert cpu.ratio is not None
    assert cpu.ratio <= 3.3
