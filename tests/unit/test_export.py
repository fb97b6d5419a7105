"""What an export makes of a row, of texts, and of what the card tells."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dria_magpie import __version__
from dria_magpie.models import Message, Turn
from dria_magpie.sweep.export import About
from dria_magpie.sweep.export.card import Facts, write_card
from dria_magpie.sweep.export.columns import columns_of, to_record
from dria_magpie.sweep.export.head import size_category, write_head
from dria_magpie.sweep.export.tally import Tally, count_bytes
from dria_magpie.sweep.export.text import (
    clean_text,
    code_block,
    code_span,
    plain_markdown,
    shorten,
    yaml_string,
)
from dria_magpie.sweep.row import Row

ANY_TEXT = st.text(st.characters() | st.sampled_from("\ud800\udbff\udc00\udfff`\n\x85\u2028"))


def make_row(*texts, **changes):
    said = texts or ("Why?", "Because.")
    roles = ("user", "assistant")
    turn = Turn(task_id="t", text="x", model="m", prompt_tokens=10, completion_tokens=4)
    values = {
        "number": 0,
        "id": "row",
        "seed": 5,
        "status": "done",
        "instructor": "A scientist",
        "responder": "An assistant",
        "messages": tuple(Message(roles[i % 2], text) for i, text in enumerate(said)),
        "turns": (turn,) * len(said),
        "model": "m",
        "node": "local",
    }
    values |= changes
    origin = {"instructor_persona": values.pop("instructor")}
    origin["responding_persona"] = values.pop("responder")
    return Row(**values, origin=origin)


def make_card(*rows, kind="jsonl", file="x.jsonl", shape="messages", **about):
    tally = Tally()
    for row in rows:
        tally.add(row, count_bytes(to_record(row, shape)))
    told = {"name": "tutors", "recipe": {}, "planned": 9, "failed": 2, "license": "mit"}
    return write_card(
        Facts(
            file=file,
            size=100,
            kind=kind,
            columns=columns_of(shape, "dialogue"),
            tally=tally,
            about=About(**{**told, **about}),
        )
    )


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain é 😀 \x00", "plain é 😀 \x00"),
        ("\ud83d\ude00", "😀"),
        ("a\ud800", "a\ufffd"),
        ("\ud800b", "\ufffdb"),
        ("\udc00c\ud800", "\ufffdc\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud800\ud83d\ude00", "\ufffd😀"),
        ("\ufeffd\ud800", "\ufeffd\ufffd"),
    ],
)
def test_surrogates_are_joined_or_replaced(text, clean):
    assert clean_text(text) == clean


@given(ANY_TEXT)
def test_yaml_reads_any_text_back(text):
    line = yaml_string(text)
    assert line.isprintable()
    assert yaml.safe_load(f"key: {line}") == {"key": clean_text(text)}


@given(ANY_TEXT)
def test_no_text_ends_its_block(text):
    first, *inside, last = code_block(text, "text").split("\n")
    fence = first.removesuffix("text")
    assert set(fence) == {"`"}
    assert last == fence
    assert not any(line.strip().startswith(fence) for line in inside)


@pytest.mark.parametrize(
    ("text", "span"),
    [("m", "`m`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a\n b", "`a b`"), ("", "`  `")],
)
def test_inline_code(text, span):
    assert code_span(text) == span


def test_markdown_shows_a_name_verbatim():
    assert plain_markdown("# <b>*a*\n[x](y)") == r"\# \<b\>\*a\* \[x\](y)"


def test_long_texts_are_cut_visibly():
    assert shorten("abc", 3) == "abc"
    assert shorten("ab cd", 3) == "ab …"


@pytest.mark.parametrize("shape", ["messages", "sharegpt", "dialogue"])
def test_a_record_has_the_columns_in_their_order_and_only_utf_8(shape):
    bad = "a\ud800"
    row = make_row(bad, bad, instructor=bad, responder=bad, model=bad, node=bad, id=bad)
    record = to_record(row, shape)
    assert list(record) == [column.name for column in columns_of(shape, "dialogue")]
    assert "\\ud800" not in repr(record)
    assert repr(record).count("\ufffd") == 7


def test_the_formats():
    row = make_row("Why?", "So.")
    assert to_record(row, "messages")["messages"] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
    ]
    assert to_record(row, "sharegpt")["conversations"] == [
        {"from": "human", "value": "Why?"},
        {"from": "gpt", "value": "So."},
    ]
    assert to_record(row, "dialogue")["dialogue"] == [
        {"instructor": "Why?"},
        {"responder": "So."},
    ]


def test_sharegpt_has_a_name_for_the_system():
    row = make_row(messages=(Message("system", "Be kind."), Message("user", "Why?")))
    assert to_record(row, "sharegpt")["conversations"][0] == {"from": "system", "value": "Be kind."}


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (9_999, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (999_999_999, "100M<n<1B"),
        (10**9, "1B<n<10B"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
        (10**15, "n>1T"),
    ],
)
def test_size_categories_are_the_hub_s(rows, category):
    assert size_category(rows) == category


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_the_head_is_read_whatever_it_names(title, licence, file):
    head = write_head(
        title=title,
        license=licence,
        file=file,
        columns=columns_of("messages", "dialogue"),
        rows=3,
        arrow_bytes=20,
        file_bytes=10,
    )
    assert head.count("---\n") == 1
    read = yaml.safe_load(head.strip("-"))
    assert read["license"] == clean_text(licence)
    assert read["dataset_info"]["download_size"] == 10


def test_features_are_left_to_the_reader_where_versions_differ():
    assert "  features:" in make_card(shape="dialogue", kind="parquet")
    assert "  features:" not in make_card(shape="dialogue", kind="jsonl")
    assert "  features:" in make_card(shape="messages", kind="jsonl")


def test_the_card_counts():
    cut_off = Turn(
        task_id="t",
        text="x",
        model="big",
        prompt_tokens=1000,
        completion_tokens=50,
        finish_reason="length",
    )
    rows = [make_row(), make_row(model="big", turns=(cut_off, cut_off)), make_row(*"abcd")]
    card = make_card(*rows)
    assert f"made with dria-magpie {__version__}." in card
    assert "- 3 dialogues of 9 that were planned\n- 2 failed for good" in card
    assert "- `m`: 2 rows\n- `big`: 1 rows\n" in card
    assert "| messages | 8 | 2.7 | 2 | 4 |" in card
    assert "| prompt tokens | 2,060 | 686.7 | 20 | 2,000 |" in card
    assert "| completion tokens | 124 | 41.3 | 8 | 100 |" in card
    assert "2 of 8 messages (25.0%) were cut off" in card


def test_the_card_of_nothing():
    card = make_card()
    assert "- 0 dialogues of 9 that were planned" in card
    assert "## Figures" not in card
    assert "## Example" not in card
    assert "None" not in card
    assert "\n\n\n" not in card


def test_the_card_shows_sampling_and_recipe():
    recipe = {
        "sampling": {"temperature": 0.7, "stop": ["`|`"]},
        "responder_sampling": {"max_tokens": 90},
        "instructor_sampling": {},
        "topic": "```\n````\n# not a heading",
        "persona": "\ud800 é",
    }
    card = make_card(recipe=recipe)
    assert '- sampling: `temperature = 0.7`, ``stop = ["`|`"]``' in card
    assert "- sampling of answers: `max_tokens = 90`" in card
    assert "sampling of questions" not in card
    _, block = card.split("The recipe:\n\n")
    assert block.startswith("`````json\n{\n")
    assert '"persona": "\ufffd é"' in block
    assert "leaves the sampling to the engine" in make_card(recipe={"sampling": {}})


def test_the_example_is_short_and_can_be_shown():
    row = make_row(*["w" * 5000, "\x1b[31m```\x00"] * 3, instructor="i" * 900, responder="R")
    card = make_card(row)
    _, example = card.split("## Example")
    assert re.search(r"instructor persona: i{400} …\n\nresponding persona: R\n", example)
    assert example.count("user: ") == 2
    assert len(example) < 3000
    assert "\x1b" not in card
    assert "\x00" not in card


def test_every_column_is_explained():
    card = make_card(shape="sharegpt")
    for column in columns_of("sharegpt", "dialogue"):
        assert f"| `{column.name}` | " in card
    assert 'load_dataset("json", data_files="x.jsonl", split="train")' in card
    assert 'load_dataset("parquet", ' in make_card(kind="parquet")


@given(ANY_TEXT, ANY_TEXT)
def test_any_card_can_be_written(name, text):
    row = make_row(text or "a", text or "b", instructor=text, model=name)
    card = make_card(row, name=name, recipe={name: text})
    card.encode()
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == ["synthetic", "dria-magpie"]
