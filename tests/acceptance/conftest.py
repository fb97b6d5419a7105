"""The benches that sweeps are tested on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.mock_endpoint import MockEndpoint, mock_endpoint
from tests.acceptance.sweep_bench import (
    HALF,
    Bench,
    Disk,
    make_bench,
)


@pytest.fixture(scope="module")
def shared_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockEndpoint]:
    with mock_endpoint(tmp_path_factory.mktemp("endpoint") / "calls.jsonl") as endpoint:
        yield endpoint


@pytest.fixture
def bench(tmp_path: Path, shared_endpoint: MockEndpoint) -> Iterator[Bench]:
    with make_bench(tmp_path, shared_endpoint) as bench:
        yield bench


@pytest.fixture(scope="module")
def half_made(tmp_path_factory: pytest.TempPathFactory, shared_endpoint: MockEndpoint) -> Path:
    """Give the directory of a sweep that stopped after 20 of 40 rows."""
    with make_bench(tmp_path_factory.mktemp("half"), shared_endpoint) as bench:
        bench.write(**HALF, limits={"rows": 20})
        done = bench.sweep()
        assert done.returncode == 0, done.stderr
        return bench.run_dir


@pytest.fixture
def half_bench(half_made: Path, bench: Bench) -> Bench:
    """Give a bench with a sweep that stopped after 20 of 40 rows, and its recipe."""
    shutil.copytree(half_made, bench.run_dir)
    bench.write(**HALF)
    return bench


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    disk = Disk(path)
    if not disk.resize("256k", how=""):
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", "--lazy", str(path)], check=True)
