"""The gateway's store where it is damaged, or somebody else's: told of, and left as it is."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest

from dria_magpie.errors import StoreError
from dria_magpie.gateway.keys import create_key, list_keys, revoke_key
from dria_magpie.gateway.store import Store
from dria_magpie.gateway.store.connection import FILE, open_store
from tests.integration.gateway_client import engine, serving

PAGE = 4096
NO_TEXT = "CAST(x'4142ff' AS TEXT)"
DAMAGED = r"(?s)is damaged \(.*\); nothing was changed\. Move it and its -wal file away, then"


async def start(directory) -> None:
    async with serving(directory, engine()):
        pass


async def create(directory) -> None:
    create_key(directory, "another")


async def show(directory) -> None:
    list_keys(directory)


async def revoke(directory) -> None:
    revoke_key(directory, "key-7")


def leave_by_kill(path, *, change: str) -> None:
    """Make a store with a log beside it, which has the last of its keys and a change."""
    keys = [(f"key-{number}", f"digest-{number}") for number in range(300)]
    insert = "INSERT INTO keys (name, digest, created) VALUES (?, ?, 0)"
    path.parent.mkdir()
    with closing(open_store(path)) as connection:
        connection.executemany(insert, keys[:-1])
    with closing(open_store(path)) as connection:
        connection.execute(insert, keys[-1])
        connection.execute(change)
        left = read_files(path)
    for name, data in left.items():
        path.with_name(name).write_bytes(data)
    assert left[f"{FILE}-wal"]


def read_files(path) -> dict[str, bytes]:
    found = (path, path.with_name(f"{FILE}-wal"))
    return {each.name: each.read_bytes() for each in found if each.exists()}


@pytest.mark.parametrize("use", [start, create, show, revoke])
async def test_a_log_that_a_kill_left_beside_a_damaged_file_stays_there(directory, use) -> None:
    path = directory / FILE
    leave_by_kill(path, change="UPDATE keys SET used = 1 WHERE number = 1")
    data = path.read_bytes()
    # But for the first page and some others, which are in the log, everything is lost.
    path.write_bytes(data[:PAGE] + b"\xff" * (len(data) - PAGE))
    before = read_files(path)
    for _ in range(2):
        with pytest.raises(StoreError, match=DAMAGED):
            await use(directory)
        assert read_files(path) == before


@pytest.mark.parametrize("use", [start, create, show])
async def test_what_is_only_in_the_log_that_a_kill_left_is_kept(directory, use) -> None:
    path = directory / FILE
    leave_by_kill(path, change="UPDATE keys SET used = 1 WHERE number = 1")
    await use(directory)
    assert {"key-0", "key-299"} <= {key.name for key in list_keys(directory)}
    # The gateway merges a log that is beside a whole file.
    await start(directory)
    assert list(read_files(path)) == [FILE]
    keys = list_keys(directory)
    assert (keys[0].used, len(keys)) == (1, 301 if use is create else 300)


@pytest.mark.parametrize("use", [start, show, revoke])
@pytest.mark.parametrize("column", ["name", "digest"])
async def test_a_keys_text_that_is_none_is_damage_and_not_quoted(directory, use, column) -> None:
    path = directory / FILE
    leave_by_kill(path, change=f"UPDATE keys SET {column} = {NO_TEXT} WHERE number = 5")
    before = read_files(path)
    with pytest.raises(StoreError, match=DAMAGED) as caught:
        await use(directory)
    assert "AB" not in str(caught.value)
    assert read_files(path) == before


@pytest.mark.parametrize("column", ["id", "models"])
async def test_a_tasks_text_that_is_none_is_damage(directory, column) -> None:
    path = directory / FILE
    leave_by_kill(path, change=make_task(column))
    before = read_files(path)
    with pytest.raises(StoreError, match=DAMAGED):
        await start(directory)
    assert read_files(path) == before


@pytest.mark.parametrize("column", ["workflow", "state", "item"])
async def test_a_long_text_that_is_none_is_damage_once_it_is_read(directory, column) -> None:
    leave_by_kill(directory / FILE, change=make_task(column))
    store = Store(directory / FILE)
    await store.start()
    with pytest.raises(StoreError, match=DAMAGED) as caught:
        await (store.read_items([1]) if column == "item" else store.read_work(1))
    assert "AB" not in str(caught.value)
    await store.aclose()


def make_task(column: str) -> str:
    """Give what inserts a task in whose column there are bytes that are no text."""
    values = dict.fromkeys(("id", "models", "workflow", "state", "item"), "'[]'")
    values[column] = NO_TEXT
    return (
        f"INSERT INTO tasks (key, burst, identity, public_key, received, {', '.join(values)}) "
        f"VALUES (1, 1, 1, x'00', 0, {', '.join(values.values())})"
    )


async def test_a_store_with_flipped_bits_is_taken_or_told_of_and_left_as_it_is(directory) -> None:
    """A flipped bit may also hit a letter of a text, where nobody can see it."""
    path = directory / FILE
    leave_by_kill(path, change=make_task("item"))
    whole = read_files(path)
    chance = random.Random(3)
    said = []
    for _ in range(100):
        damaged = bytearray(whole[FILE])
        for _ in range(8):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        before = whole | {FILE: bytes(damaged)}
        for name, data in before.items():
            path.with_name(name).write_bytes(data)
        store = Store(path)
        try:
            await store.start()
        except StoreError as error:
            said.append(str(error))
            assert read_files(path) == before
        await store.aclose()
    assert len(said) > 5
    assert all(FILE in text for text in said)


async def test_a_damaged_or_foreign_store_is_left_as_it_is(directory) -> None:
    directory.mkdir()
    path = directory / FILE
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="is damaged"):
        await start(directory)
    assert path.read_bytes().startswith(b"not a database")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="not the store of a gateway"):
        list_keys(directory)
    path.unlink()
    with closing(open_store(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="another version"):
        list_keys(directory)
