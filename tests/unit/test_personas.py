"""Persona files of every kind, and of every kind of damage."""

from __future__ import annotations

import csv
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.recipe import PersonaSource
from dria_magpie.sweep.recipe.personas import read_personas

calm = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1
)


@pytest.fixture
def read(tmp_path):
    """Write a file, or leave it as it is, and read its personas."""

    def read(name, data=None, column=None):
        path = tmp_path / name
        if isinstance(data, pa.Table):
            pq.write_table(data, path)
        elif data is not None:
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_personas(PersonaSource(file=str(path), column=column))

    return read


@pytest.fixture
def complaint(read):
    """Give what is said of a file, without its directory."""

    def complaint(*args):
        with pytest.raises(InvalidInputError) as caught:
            read(*args)
        said = str(caught.value)
        said.encode()
        return said

    return complaint


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


def table(**columns):
    return pa.table(columns)


# Any file


def test_personas_in_the_recipe_are_taken_as_they_are():
    assert read_personas(PersonaSource(inline=("b", "a", "b"))) == ("b", "a", "b")


@pytest.mark.parametrize("name", ["p.doc", "p", "p.txt.gz", "p.json"])
def test_a_file_of_an_unknown_kind_is_refused(complaint, name):
    said = complaint(name, "x")
    assert "personas come from .txt, .csv, .jsonl, .parquet files, not from" in said
    assert said.endswith(name)


@pytest.mark.parametrize("name", ["P.TXT", "p.Csv", "p.JSONL", "p.PARQUET"])
def test_the_case_of_the_ending_does_not_matter(read, name):
    data = {"p.Csv": "persona\na", "p.JSONL": '"a"', "p.PARQUET": table(persona=["a"])}
    assert read(name, data.get(name, "a")) == ("a",)


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl", "p.parquet"])
def test_a_missing_file_is_named(complaint, tmp_path, name):
    said = complaint(name)
    assert f"cannot read {tmp_path / name}: " in said
    assert "No such file" in said


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl", "p.parquet"])
def test_a_directory_is_no_persona_file(complaint, tmp_path, name):
    (tmp_path / name).mkdir()
    assert f"cannot read {tmp_path / name}: " in complaint(name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", ""),
        ("p.txt", b"\xef\xbb\xbf"),
        ("p.txt", " \n\t\r\n"),
        ("p.csv", "persona\n"),
        ("p.csv", "persona\n\n\n"),
        ("p.jsonl", ""),
        ("p.jsonl", "\n  \n"),
        ("p.parquet", table(persona=pa.array([], pa.string()))),
        ("p.parquet", table(persona=pa.array([], pa.null()))),
    ],
)
def test_a_file_without_personas_is_refused(complaint, name, data):
    assert complaint(name, data).endswith(f"{name} has no personas")


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl"])
@pytest.mark.parametrize("data", [b"persona\n\xff", "persona\né".encode("utf-16"), b"\xe9"])
def test_a_file_that_is_not_utf8_is_refused(complaint, name, data):
    assert f"{name} is not UTF-8 text" in complaint(name, data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", "é a\nb\n"),
        ("p.csv", "persona\né a\nb\n"),
        ("p.jsonl", '{"persona": "é a"}\n"b"\n'),
    ],
)
def test_a_byte_order_mark_and_windows_lines_do_no_harm(read, name, data):
    assert read(name, b"\xef\xbb\xbf" + data.replace("\n", "\r\n").encode()) == ("é a", "b")
    assert read(name, data.rstrip("\n")) == ("é a", "b")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", "a\0b\n"),
        ("p.csv", "persona\na\0b\n"),
        ("p.jsonl", lines("a\0b")),
        ("p.parquet", table(persona=["a\0b"])),
    ],
)
def test_a_nul_is_a_character_like_others(read, name, data):
    assert read(name, data) == ("a\0b",)


@given(TEXTS)
@calm
def test_every_kind_of_file_gives_the_same_personas(read, texts):
    file = io.StringIO()
    csv.writer(file).writerows([["x", "persona"], *([i, text] for i, text in enumerate(texts))])
    expected = tuple(map(str.strip, texts))
    assert read("p.csv", file.getvalue()) == expected
    assert read("p.jsonl", lines(*texts)) == expected
    assert read("p.jsonl", lines(*({"x": 1, "persona": text} for text in texts))) == expected
    assert read("p.parquet", table(x=texts, persona=texts)) == expected


# Plain text


def test_a_text_file_has_a_persona_a_line_and_blanks_around_them_go(read):
    assert read("p.txt", "a\n\n  b\t\n \nc") == ("a", "b", "c")


def test_only_line_feeds_and_carriage_returns_end_a_line(read):
    assert read("p.txt", "a\x85b\u2028c\x0bd\x1ce\n") == ("a\x85b\u2028c\x0bd\x1ce",)


def test_a_text_file_has_no_columns(complaint):
    assert "it has no columns" in complaint("p.txt", "a", "persona")


# CSV


@pytest.mark.parametrize(
    ("data", "column"),
    [
        ("who,persona\n1,a\n2,b\n", None),
        ("who\na\nb\n", None),
        ("who,persona\na,1\nb,2\n", "who"),
        ("who,persona,\n1,a,\n2,b\n", None),
        ('"persona"\n"a"\n\n"b"\n', None),
        ('who,"the, persona"\n1,a\n2,b\n', "the, persona"),
    ],
)
def test_the_column_is_the_one_named_else_persona_else_the_only_one(read, data, column):
    assert read("p.csv", data, column) == ("a", "b")


@pytest.mark.parametrize(
    ("data", "column", "said"),
    [
        ("x,y\n1,a\n", None, "no column 'persona'; there are: 'x', 'y'"),
        ("x,y\n1,a\n", "z", "no column 'z'; there are: 'x', 'y'"),
        ("x\na\n", "z", "no column 'z'; there are: 'x'"),
        ("persona, b\n1,2\n", "b", "no column 'b'; there are: 'persona', ' b'"),
        ("", None, "no column 'persona'; there are: none"),
        ("\npersona\na\n", None, "no column 'persona'; there are: none"),
    ],
)
def test_a_column_that_is_missing_is_told_with_those_that_exist(complaint, data, column, said):
    assert complaint("p.csv", data, column).endswith(f"p.csv: {said}")


@pytest.mark.parametrize(
    ("data", "line", "value"),
    [
        ('persona\na\n""\nb\n', 3, "''"),
        ("persona\na\n \t\nb\n", 3, "' \\t'"),
        ('persona\na\n\n\n""\nb\n', 5, "''"),
        ("x,persona\n1,a\n2,\n", 3, "''"),
        ("x,persona\n1,a\n2\n", 3, "None"),
        ('x,persona\n1,"a\nb"\n2,"c\n\nd"\n3,\n', 7, "''"),
    ],
)
def test_a_blank_cell_is_told_with_its_line(complaint, data, line, value):
    said = complaint("p.csv", data)
    assert said.endswith(f"p.csv, line {line}: a persona is a text, not {value}")


def test_a_quoted_cell_may_have_several_lines(read):
    data = 'x,persona\n1,"a ""b"",\nc"\n2,d\n'
    assert read("p.csv", data) == ('a "b",\nc', "d")
    assert read("p.csv", data.replace("\n", "\r\n")) == ('a "b",\r\nc', "d")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ('persona\na\n"b', 3),
        ('persona\na\n"b"c\n', 3),
        ("persona\na\n" + "x" * 200_000, 3),
        ('"persona', 1),
    ],
)
def test_what_is_no_csv_is_told_with_its_line(complaint, data, line):
    assert f"p.csv, line {line}: not CSV: " in complaint("p.csv", data)


# JSON lines


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (("a", "b"), None),
        (({"persona": "a", "x": 1}, {"x": None, "persona": "b"}), None),
        (({"who": "a"}, {"name": "b"}), None),
        (({"who": "a", "persona": "x"}, {"who": "b"}), "who"),
        (("a", {"persona": "b"}), None),
    ],
)
def test_json_lines_are_objects_or_texts(read, values, column):
    assert read("p.jsonl", lines(*values), column) == ("a", "b")


def test_line_separators_within_a_json_line_do_not_end_it(read):
    assert read("p.jsonl", '{"persona": "a\u2028b\x85c"}\n') == ("a\u2028b\x85c",)


def test_blank_json_lines_are_left_out_but_counted(complaint):
    assert "p.jsonl, line 4: a persona is a text" in complaint("p.jsonl", '\n"a"\n \n5\n')


@pytest.mark.parametrize(
    "value", ["", "  ", 5, None, True, 1.5, ["a"], {"persona": ""}, {"persona": 5}, {"x": None}]
)
def test_a_json_line_that_is_no_text_is_told_with_its_line(complaint, value):
    said = complaint("p.jsonl", lines("a", value))
    assert "p.jsonl, line 2: a persona is a text, not " in said


@pytest.mark.parametrize(
    "line",
    [
        "{bad",
        '{"persona": "a"',
        "'a'",
        '"a" "b"',
        '"a"\x85"b"',
        "[" * 100_000,
        "1" * 5000,
        '"a\tb"',
        "persona",
    ],
)
def test_a_line_that_is_no_json_is_told(complaint, line):
    assert "p.jsonl, line 2: not JSON: " in complaint("p.jsonl", f'"a"\n{line}\n')


@pytest.mark.parametrize(
    ("value", "column", "said"),
    [
        ({"x": 1, "y": "a"}, None, "no column 'persona'; there are: 'x', 'y'"),
        ({"x": "a"}, "z", "no column 'z'; there are: 'x'"),
        ({}, None, "no column 'persona'; there are: none"),
        ({"\ud800": 1, "\x1b[31m": 2}, None, "there are: '\\ud800', '\\x1b[31m'"),
    ],
)
def test_a_key_that_is_missing_is_told_with_line_and_keys(complaint, value, column, said):
    message = complaint("p.jsonl", lines("a") + lines(value), column)
    assert "p.jsonl, line 2: " in message
    assert message.endswith(said)


@pytest.mark.parametrize("value", ["\ud800", "a\udc00b", {"persona": "\ude00\ud83d"}])
def test_halves_of_characters_are_refused_with_their_line(complaint, value):
    assert "p.jsonl, line 2: not valid text: " in complaint("p.jsonl", lines("a", value))


def test_two_halves_that_belong_together_are_a_character(read):
    assert read("p.jsonl", '"\\ud83d\\ude00"\n') == ("😀",)


# Parquet


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"persona": ["a", "b"], "x": [1, 2]}, None),
        ({"who": ["a", "b"]}, None),
        ({"persona": [1, 2], "who": ["a", "b"]}, "who"),
        ({"persona": pa.array(["a", "b"]).dictionary_encode()}, None),
        ({"persona": pa.array(["a", "b"], pa.large_string())}, None),
        ({"persona": pa.array(["a", "b"], pa.large_string()).dictionary_encode()}, None),
        ({"a.b": ["a", "b"], "c": ["x", "y"]}, "a.b"),
        ({"a": pa.array([{"b": "x"}] * 2), "a.b": ["a", "b"]}, "a.b"),
    ],
)
def test_parquet_columns_of_texts_are_read(read, columns, column):
    assert read("p.parquet", table(**columns), column) == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "row", "value"),
    [
        ({"persona": ["a", None]}, 2, "None"),
        ({"persona": ["a", ""]}, 2, "''"),
        ({"persona": ["a", "  "]}, 2, "'  '"),
        ({"persona": [1, 2]}, 1, "1"),
        ({"persona": [b"a"]}, 1, "b'a'"),
        ({"persona": [["a"]]}, 1, "['a']"),
        ({"persona": [{"x": "a"}]}, 1, "{'x': 'a'}"),
        ({"persona": pa.nulls(2)}, 1, "None"),
        ({"persona": pa.array(["a", None, "b"]).dictionary_encode()}, 2, "None"),
    ],
)
def test_a_parquet_value_that_is_no_text_is_told_with_its_row(complaint, columns, row, value):
    said = complaint("p.parquet", table(**columns))
    assert said.endswith(f"p.parquet, row {row}: a persona is a text, not {value}")


def test_rows_are_counted_over_row_groups(complaint, tmp_path):
    values = [f"p{n}" for n in range(25)]
    values[17] = None
    pq.write_table(table(persona=values), tmp_path / "p.parquet", row_group_size=5)
    assert "p.parquet, row 18: " in complaint("p.parquet")


@pytest.mark.parametrize(
    ("columns", "column", "said"),
    [
        ({"x": ["a"], "y": ["b"]}, None, "no column 'persona'; there are: 'x', 'y'"),
        ({"persona": ["a"]}, "x", "no column 'x'; there are: 'persona'"),
        ({"a": [{"b": "x"}], "c": ["d"]}, "a.b", "no column 'a.b'; there are: 'a', 'c'"),
    ],
)
def test_a_parquet_column_that_is_missing_is_told(complaint, columns, column, said):
    assert complaint("p.parquet", table(**columns), column).endswith(f"p.parquet: {said}")


def test_parquet_text_that_is_not_utf8_is_refused(complaint):
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    assert "p.parquet is not UTF-8 text" in complaint("p.parquet", table(persona=broken))


@pytest.mark.parametrize("data", [b"", b"garbage", b"PAR1" * 3])
def test_what_is_no_parquet_is_refused_by_name(complaint, tmp_path, data):
    assert str(tmp_path / "p.parquet") in complaint("p.parquet", data)


def test_a_damaged_parquet_file_is_refused_by_name_or_read(read, tmp_path):
    """A flipped bit may also hit a persona, where nobody can see it."""
    path = tmp_path / "p.parquet"
    pq.write_table(table(persona=[f"persona {n}" for n in range(500)]), path)
    whole = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"p\.parquet"):
        read("p.parquet", whole[:-20])
    chance = random.Random(7)
    said = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 4])):
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            read("p.parquet", bytes(damaged))
        except InvalidInputError as error:
            said.append(str(error))
    assert len(said) > 20
    assert all("p.parquet" in text for text in said)
