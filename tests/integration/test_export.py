"""Exports as the real reader sees them, and as a disk sees them that is full."""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import sys
import tracemalloc
from contextlib import contextmanager, suppress

import pyarrow.parquet
import pytest
import yaml

from dria_magpie.errors import DriaMagpieError, InvalidInputError, UnsupportedError
from dria_magpie.models import Message, Turn
from dria_magpie.sweep.export import About, export_rows
from dria_magpie.sweep.row import Row

FORMATS = ("messages", "sharegpt", "dialogue")
KINDS = ("jsonl", "parquet")
NASTY = "a: b # c 'd' \"e\" | `f` ``` \\ \x00 \x85 \u2028 \u2029 \r\n- g: [h] {i} 😀"
MODEL = 'org/m: "x" #1 | `y`\nz'
DIALOGUES = {
    "messages": "List({'role': Value('string'), 'content': Value('string')})",
    "sharegpt": "List({'from': Value('string'), 'value': Value('string')})",
    "dialogue": "List({'instructor': Value('string'), 'responder': Value('string')})",
}
NAMES = {"messages": "messages", "sharegpt": "conversations", "dialogue": "dialogue"}


def make_row(number=0, texts=("Why?", "Because."), **changes):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))
    turns = tuple(
        Turn(
            task_id=f"t{i}",
            text=text,
            model=MODEL,
            prompt_tokens=10,
            cached_tokens=4,
            completion_tokens=3,
            finish_reason="length" if i else "stop",
        )
        for i, text in enumerate(texts)
    )
    values = {
        "number": number,
        "id": f"row-{number}",
        "seed": number,
        "status": "done",
        "instructor": "A curious scientist",
        "responder": "An AI assistant",
        "messages": messages,
        "turns": turns,
        "model": MODEL,
        "node": "local",
    }
    values |= changes
    origin = {"instructor_persona": values.pop("instructor")}
    origin["responding_persona"] = values.pop("responder")
    return Row(**values, origin=origin)


def make_about(**changes):
    values = {"name": "a sweep", "recipe": {}, "planned": 9, "failed": 1, "license": "apache-2.0"}
    return About(**{**values, **changes})


def export(rows, file, shape="messages", kind=None, **about):
    kind = kind or file.suffix[1:]
    return export_rows(rows, file, format=shape, kind=kind, about=make_about(**about))


def check_chat(messages):
    """What TRL takes for a conversation."""
    assert messages
    for position, message in enumerate(messages):
        assert set(message) == {"role", "content"}
        assert message["role"] == ("user", "assistant")[position % 2]
        assert isinstance(message["content"], str)
        assert message["content"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", FORMATS)
def test_the_reader_finds_the_same_in_the_file_and_by_the_card(tmp_path, load, shape, kind):
    rows = [make_row(0), make_row(1, (NASTY, NASTY[::-1]), instructor=NASTY, responder=NASTY)]
    file = tmp_path / "data" / f"x.{kind}"
    exported = export(iter(rows), file, shape)
    assert (exported.file, exported.rows) == (file, 2)
    assert exported.card == file.with_name("README.md")
    by_file, by_card = load(file), load(file.parent)
    assert "error" not in by_file
    assert by_card["features"] == by_file["features"]
    assert by_card["rows"] == by_file["rows"]
    assert list(by_card["rows"][0]) == [
        "id",
        NAMES[shape],
        "instructor_persona",
        "responding_persona",
        "model",
        "turns",
        "finish_reasons",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "seed",
        "node",
    ]
    for column in ("turns", "prompt_tokens", "cached_tokens", "completion_tokens", "seed"):
        assert f"'{column}': Value('int64')" in by_card["features"]
    assert "'finish_reasons': List(Value('string'))" in by_card["features"]
    if (shape, kind) != ("dialogue", "jsonl"):
        assert f"'{NAMES[shape]}': {DIALOGUES[shape]}" in by_card["features"]
    size, count = by_card["info"]
    assert count == 2
    assert abs(size - head_of(exported.card)["dataset_info"]["dataset_size"]) <= size * 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_back_verbatim(tmp_path, load, kind):
    export([make_row(7, (NASTY, NASTY[::-1]), instructor=NASTY)], tmp_path / f"x.{kind}")
    (row,) = load(tmp_path)["rows"]
    check_chat(row["messages"])
    assert [message["content"] for message in row["messages"]] == [NASTY, NASTY[::-1]]
    assert (row["instructor_persona"], row["model"]) == (NASTY, MODEL)
    assert {name: row[name] for name in ("id", "turns", "seed", "node", "finish_reasons")} == {
        "id": "row-7",
        "turns": 1,
        "seed": 7,
        "node": "local",
        "finish_reasons": ["stop", "length"],
    }
    tokens = [row[f"{name}_tokens"] for name in ("prompt", "cached", "completion")]
    assert tokens == [20, 8, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_speakers(tmp_path, load, kind):
    export([make_row()], tmp_path / f"x.{kind}", "dialogue")
    (row,) = load(tmp_path)["rows"]
    said = [{who: text for who, text in turn.items() if text} for turn in row["dialogue"]]
    assert said == [{"instructor": "Why?"}, {"responder": "Because."}]
    if kind == "jsonl":
        (line,) = (tmp_path / "x.jsonl").read_text().splitlines()
        assert json.loads(line)["dialogue"] == said


def test_lines_stay_lines_for_readers_that_split_at_any_end(tmp_path):
    export([make_row(0, (NASTY, NASTY))] * 3, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_bytes().decode().splitlines()
    assert [json.loads(line)["messages"][0]["content"] for line in lines] == [NASTY] * 3
    assert "😀" in lines[0]


@pytest.mark.parametrize("name", ["_x", ".x", "a[1]", "a*b?", "a b#c: d", "a'\"b`", "ü", "a\nb"])
def test_names_of_files_that_readers_or_yaml_could_misread(tmp_path, load, name):
    exported = export([make_row()], tmp_path / f"{name}.jsonl")
    assert "```python" in exported.card.read_text()
    (tmp_path / "b.jsonl").write_text('{"other": 1}\n')
    assert len(load(tmp_path)["rows"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_make_a_file_without_rows(tmp_path, load, kind):
    exported = export([make_row(status="failed")], tmp_path / f"x.{kind}")
    assert exported.rows == 0
    assert head_of(exported.card)["dataset_info"]["splits"][0]["num_examples"] == 0
    if kind == "jsonl":
        assert exported.file.read_bytes() == b""
    else:
        table = pyarrow.parquet.read_table(exported.file)
        assert (table.num_rows, table.num_columns) == (0, 12)
    # The reader has no datasets without rows, whatever they are written in.
    assert load(tmp_path)["error"].startswith(("StopIteration", "ValueError"))


def test_several_exports_in_a_directory_share_a_card_of_the_last(tmp_path, load):
    first = export([make_row()], tmp_path / "one.jsonl")
    second = export([make_row(), make_row(1)], tmp_path / "two.parquet", "sharegpt")
    assert first.card == second.card
    assert len(load(tmp_path)["rows"]) == 2
    assert len(load(first.file)["rows"]) == 1


def head_of(card):
    _, head, _ = card.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)


def test_the_head_says_what_the_hub_asks_for(tmp_path):
    file = tmp_path / "x.parquet"
    exported = export([make_row()], file, name=NASTY, license="cc-by-4.0")
    head = head_of(exported.card)
    features = head["dataset_info"].pop("features")
    size = head["dataset_info"]["dataset_size"]
    assert head["pretty_name"].startswith("a: b # c 'd' \"e\" | `f` ``` \\")
    assert {**head, "pretty_name": ""} == {
        "pretty_name": "",
        "license": "cc-by-4.0",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "tags": ["synthetic", "dria-magpie"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "x.parquet"}]}
        ],
        "dataset_info": {
            "splits": [{"name": "train", "num_bytes": size, "num_examples": 1}],
            "download_size": file.stat().st_size,
            "dataset_size": size,
        },
    }
    assert features[1] == {
        "name": "messages",
        "list": [
            {"name": "role", "dtype": "string"},
            {"name": "content", "dtype": "string"},
        ],
    }
    assert {"name": "finish_reasons", "sequence": "string"} in features


def test_a_foreign_readme_is_never_touched(tmp_path):
    readme = tmp_path / "README.md"
    foreign = "---\ntags:\n- dria-magpie\n---\n\n# My project\n"
    readme.write_text(foreign)
    exported = export([make_row()], tmp_path / "x.jsonl")
    assert readme.read_text() == foreign
    assert exported.card == tmp_path / "x.README.md"
    assert export([make_row()], tmp_path / "x.jsonl").card == exported.card, "that one is ours"
    exported.card.write_text("mine now")
    assert export([make_row()], tmp_path / "x.jsonl").card.name == "x.README.2.md"
    assert exported.card.read_text() == "mine now"


@pytest.mark.parametrize("kind", ["directory", "latin-1", "dangling", "quoted", "ruled"])
def test_what_is_no_card_of_ours_is_foreign(tmp_path, kind):
    readme = tmp_path / "README.md"
    if kind == "directory":
        readme.mkdir()
    elif kind == "latin-1":
        readme.write_bytes("---\nname: é\n---\n".encode("latin-1"))
    elif kind == "dangling":
        readme.symlink_to(tmp_path / "nowhere")
    else:
        own = export([make_row()], tmp_path / "own" / "x.jsonl").card.read_text()
        body = own.partition("\n---\n")[2]
        readme.write_text("# Our cards\n\n" + own if kind == "quoted" else f"Cards\n---\n{body}")
    assert export([make_row()], tmp_path / "x.jsonl").card.name == "x.README.md"


def test_a_card_of_ours_is_replaced_until_its_mark_is_deleted(tmp_path):
    file = tmp_path / "x.jsonl"
    card = export([make_row()], file).card
    card.write_bytes(card.read_bytes().replace(b"\n", b"\r\n"))
    assert export([make_row()] * 2, file).card == card
    assert "- 2 dialogues of 9" in card.read_text()
    lines = card.read_text().splitlines(keepends=True)
    card.write_text("".join(line for line in lines if not line.startswith("<!--")))
    assert export([make_row()], file).card != card


class Broken(BaseException):
    pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [OSError("the store is gone"), KeyboardInterrupt(), Broken()])
def test_what_rows_raise_comes_out_and_nothing_is_left(tmp_path, kind, error):
    def rows():
        yield from (make_row(i) for i in range(1500))
        raise error

    file = tmp_path / f"x.{kind}"
    export([make_row()], file)
    before = snapshot(tmp_path)
    with pytest.raises(type(error)) as caught:
        export(rows(), file)
    assert caught.value is error
    assert snapshot(tmp_path) == before


def test_a_writer_that_was_given_up_stays_quiet(tmp_path, monkeypatch):
    def rows():
        yield from (make_row(i) for i in range(1500))
        raise Broken

    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with suppress(Broken):
        export(rows(), tmp_path / "x.parquet")
    gc.collect()
    assert told == []


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def full_disk(limit):
    """Let no file grow beyond so many bytes: what writes more is told so, as by a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, 2_000, 30_000])
def test_a_full_disk_leaves_the_older_files(tmp_path, kind, limit):
    file = tmp_path / f"x.{kind}"
    export([make_row()], file)
    before = snapshot(tmp_path)
    rows = [make_row(i, (os.urandom(200).hex(), "b")) for i in range(2500)]
    with full_disk(limit), pytest.raises(DriaMagpieError) as caught:
        export(rows, file)
    assert str(caught.value) == (
        f"cannot write {file}: {os.strerror(errno.EFBIG)}; make room there or choose another place"
    )
    assert snapshot(tmp_path) == before


def test_a_card_that_does_not_fit_leaves_the_older_data(tmp_path):
    file = tmp_path / "x.jsonl"
    export([make_row()], file)
    before = snapshot(tmp_path)
    with full_disk(20_000), pytest.raises(DriaMagpieError, match=r"cannot write .*README\.md"):
        export([make_row(1)], file, recipe={"personas": ["x" * 20_000]})
    assert snapshot(tmp_path) == before


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriaMagpieError, match=r"cannot write .*x\.jsonl: .*choose another place"):
        export([make_row()], tmp_path / "file" / "x.jsonl")


def test_a_file_gets_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    exported = export([make_row()], tmp_path / "x.jsonl")
    modes = {path.stat().st_mode for path in (tmp_path / "other", exported.file, exported.card)}
    assert len(modes) == 1


def test_a_name_that_no_reader_takes_for_the_kind(tmp_path):
    with pytest.raises(InvalidInputError, match=r"a name that ends in \.parquet"):
        export([], tmp_path / "x.jsonl", kind="parquet")
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(InvalidInputError, match="choose another name"):
        export([], tmp_path / "x.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'dria-magpie\[export\]'"):
        export([make_row()], tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
    assert export([make_row()], tmp_path / "x.jsonl").rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_rows(tmp_path, kind):
    row = make_row(0, ("a" * 300, "b" * 300) * 2)
    file = tmp_path / f"x.{kind}"
    export([row], file)  # what is imported stays
    arrow = pyarrow.default_memory_pool()
    before = arrow.bytes_allocated()
    tracemalloc.start()
    try:
        exported = export((row for _ in range(20_000)), file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert exported.rows == 20_000
    assert peak < 12 * 2**20
    assert arrow.bytes_allocated() - before < 2**20
    assert head_of(exported.card)["size_categories"] == ["10K<n<100K"]


@pytest.mark.parametrize(
    ("count", "length", "groups"), [(2500, 10, [1000, 1000, 500]), (9, 2**20, [4, 4, 1])]
)
def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path, count, length, groups):
    row = make_row(0, ("a" * length, "b" * length))
    export([row] * count, tmp_path / "x.parquet")
    with pyarrow.parquet.ParquetFile(tmp_path / "x.parquet") as file:
        found = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert found == groups
