"""What several integration tests share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import aiohttp
import pytest

from dria_magpie.gateway.keys import create_key
from dria_magpie.network.server.process import start_server
from tests.integration.remote_field import make_home

READER = """
import json, sys
from datasets import load_dataset

for line in sys.stdin:
    try:
        data = load_dataset(**json.loads(line), split="train")
        answer = {"features": repr(data.features), "rows": data.to_list(), "info": [
            data.info.dataset_size, data.info.splits["train"].num_examples]}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """Load a file or a directory with `datasets`, in a process that is offline."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment |= {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )

    def ask(path):
        job = {"path": str(path)}
        if path.is_file():
            reader = "parquet" if path.suffix == ".parquet" else "json"
            job = {"path": reader, "data_files": str(path)}
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


@pytest.fixture(scope="module")
def network_home(tmp_path_factory):
    os.environ.setdefault("DRIA_STORE_KEY", "a key for tests and nothing else")
    home = make_home(tmp_path_factory.mktemp("network"))
    server = asyncio.run(start_server(home))
    yield home
    server.kill()


@pytest.fixture
def directory(tmp_path):
    """Where a gateway keeps its files; it is not there yet."""
    return tmp_path / "gw"


@pytest.fixture
def key(directory):
    """Make an API key of the gateway that serves `directory`."""
    return create_key(directory, "me")


@pytest.fixture
async def session():
    """Give what a gateway's client asks with: like the SDK's, a connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
