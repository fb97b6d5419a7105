"""What a recipe takes, and what it says of one that is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.recipe import (
    Limits,
    ModelChoice,
    Pairing,
    PersonaSource,
    Recipe,
)

PERSONAS = 'personas = ["a", "b"]\n'
OWN = 'kind = "self_synthesis"\n'
EXAMPLE = Path(__file__).parents[2] / "workflows" / "persona_sweep.toml"
EVERYTHING = """
instructors = ["a", "b"]
responders = ["c", "d"]
pairing = { kind = "random", count = 3, seed = 11 }
rows = 12
turns = [1, 4]
topic = "the sea"
language = "Turkish"
models = [{ name = "m", weight = 2.5 }, "n"]
seed = 7
retries = 0

[sampling]
temperature = 0.8
max_tokens = 80

[instructor_sampling]
top_p = 0.9
stop = ["END"]

[responder_sampling]
top_k = 5

[limits]
rows = 9
tokens = 500_000
seconds = 7200
"""
SELF_SYNTHESIS = """
kind = "self_synthesis"
rows = 50
turns = [1, 2]
end_with_user = true
sampling.top_p = 0.9
instruction_sampling.temperature = 1.2
response_sampling.max_tokens = 400

[[system_prompts]]
key = "tutor"
prompt = "You tutor."
weight = 3

[[system_prompts]]
prompt = "You translate."
"""


def read(text: str) -> Recipe:
    return Recipe.of(tomllib.loads(text), where="r.toml", text=text)


def complaint(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read(text)
    return str(caught.value)


def more(**values) -> Recipe:
    return Recipe.of({"personas": ["a", "b"], **values})


def complaint_of(**values) -> str:
    with pytest.raises(InvalidInputError) as caught:
        more(**values)
    return str(caught.value)


# What a recipe takes


def test_every_key_is_read():
    recipe = read(EVERYTHING)
    assert recipe.model_dump() == {
        **Recipe.of({"kind": "self_synthesis", "rows": 1}).model_dump(),
        "kind": "dialogue",
        "personas": None,
        "instructors": {"inline": ("a", "b"), "file": None, "column": None},
        "responders": {"inline": ("c", "d"), "file": None, "column": None},
        "pairing": {"kind": "random", "count": 3, "seed": 11},
        "rows": 12,
        "turns": (1, 4),
        "topic": "the sea",
        "language": "Turkish",
        "models": ({"name": "m", "weight": 2.5}, {"name": "n", "weight": 1.0}),
        "sampling": {"temperature": 0.8, "max_tokens": 80},
        "instructor_sampling": {"top_p": 0.9, "stop": ["END"]},
        "responder_sampling": {"top_k": 5},
        "seed": 7,
        "retries": 0,
        "limits": {"rows": 9, "tokens": 500_000, "seconds": 7200.0},
    }


def test_every_key_of_self_synthesis_is_read():
    recipe = read(SELF_SYNTHESIS)
    assert recipe.model_dump(exclude_defaults=True) == {
        "kind": "self_synthesis",
        "rows": 50,
        "turns": (1, 2),
        "end_with_user": True,
        "system_prompts": (
            {"prompt": "You tutor.", "key": "tutor", "weight": 3.0},
            {"prompt": "You translate."},
        ),
        "sampling": {"top_p": 0.9},
        "instruction_sampling": {"temperature": 1.2},
        "response_sampling": {"max_tokens": 400},
    }
    assert Recipe.of(recipe.to_dict()) == recipe


def test_the_example_of_self_synthesis_is_a_recipe():
    recipe = Recipe.read(EXAMPLE.with_name("self_synthesis_sweep.toml"))
    assert recipe.kind == "self_synthesis"
    assert recipe.system_prompts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "magpie"\n', "r.toml, line 1: kind: takes 'dialogue' or 'self_synthesis'"),
        (OWN, "rows: say how many"),
        (OWN + 'rows = 3\npairing = "zip"\ntopic = "x"\n', "pairing, topic: only with kind ="),
        (PERSONAS + "only_instruction = true\n", "only with kind = 'self_synthesis'"),
        (OWN + 'rows = 3\nsystem_prompts = ["For {persona}"]', "without personas none does"),
        (OWN + PERSONAS + 'system_prompts = ["You tutor."]', "with personas each says {persona}"),
        (OWN + 'rows = 3\nsystem_prompts = [" "]', "[0]: takes a text that is not blank"),
        (
            OWN + 'rows = 3\n[[system_prompts]]\nprompt = "x"\nweight = 0',
            "line 5: system_prompts[0].weight: takes",
        ),
        (OWN + "rows = 3\n[[system_prompts]]\nweight = 1", "system_prompts[0].prompt: is missing"),
        (OWN + "rows = 3\n[instruction_sampling]\nseed = 1", "takes no seed"),
    ],
)
def test_a_recipe_of_the_other_kind_is_refused(text, said):
    assert said in complaint(text)


def test_personas_alone_are_a_recipe():
    recipe = read(PERSONAS)
    assert (recipe.rows, recipe.turns, recipe.models) == (None, (1, 1), ())
    assert (recipe.seed, recipe.retries) == (0, 2)
    assert recipe.pairing == Pairing(kind="product")
    assert recipe.limits == Limits()


def test_the_example_is_a_recipe():
    recipe = Recipe.read(EXAMPLE)
    assert recipe.instructors == PersonaSource(file=str(EXAMPLE.parent / "personas.txt"))
    assert recipe.limits == Limits(tokens=500_000, seconds=7200)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ('personas = ["a"]', 'personas = { inline = ["a"] }'),
        ('personas = "p.txt"', 'personas = { file = "p.txt" }'),
        (PERSONAS + 'pairing = "random"', PERSONAS + 'pairing = { kind = "random" }'),
        (PERSONAS + 'models = ["m"]', PERSONAS + '[[models]]\nname = "m"\nweight = 1'),
        (PERSONAS + "turns = 3", PERSONAS + "turns = [3, 3]"),
        (PERSONAS + 'sampling.stop = "END"', PERSONAS + 'sampling = { stop = ["END"] }'),
    ],
)
def test_a_short_form_means_what_the_full_one_does(short, full):
    assert read(short) == read(full)


@pytest.mark.parametrize(
    "text",
    [
        '[personas]\nfile = "p.csv"\ncolumn = "c"',
        'personas.file = "p.csv"\npersonas.column = "c"',
        'personas = { file = "p.csv", column = "c" }',
        '"personas" . \'file\' = "p.csv"\npersonas."column" = """c"""',
    ],
)
def test_any_way_to_write_a_table_will_do(text):
    assert read(text).personas == PersonaSource(file="p.csv", column="c")


def test_a_mapping_with_lists_is_a_recipe_too():
    assert more(turns=[1, 2], models=["m", {"name": "n"}]) == read(
        PERSONAS + 'turns = [1, 2]\nmodels = ["m", "n"]'
    )


def test_whole_numbers_stand_for_seconds_and_weights():
    recipe = more(limits={"seconds": 5}, models=[{"name": "m", "weight": 3}])
    assert (recipe.limits.seconds, recipe.models[0].weight) == (5.0, 3.0)


# Files


def test_a_relative_persona_file_stands_beside_the_recipe(tmp_path):
    (tmp_path / "r.toml").write_text('instructors = "sub/i.txt"\nresponders = ["c"]')
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.instructors == PersonaSource(file=str(tmp_path / "sub" / "i.txt"))
    assert recipe.responders == PersonaSource(inline=("c",))


def test_an_absolute_persona_file_stays_where_it_is(tmp_path):
    other = tmp_path / "elsewhere" / "p.txt"
    (tmp_path / "r.toml").write_text(f"personas = {json.dumps(str(other))}")
    assert Recipe.read(tmp_path / "r.toml").personas == PersonaSource(file=str(other))


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "r.toml").write_text('personas = "~/p.txt"')
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.personas == PersonaSource(file=str(tmp_path / "home" / "p.txt"))


@pytest.mark.parametrize("name", ["~nobody-has-this-name/p.txt", "a\\u0000.txt"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    (tmp_path / "r.toml").write_text(f'personas = "{name}"')
    with pytest.raises(InvalidInputError, match="no file can be named"):
        Recipe.read(tmp_path / "r.toml")


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path):
    text = PERSONAS + "rows = 3\nrowz = 4\n"
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with pytest.raises(InvalidInputError, match=r"r\.toml, line 3: rowz: unknown key"):
        Recipe.read(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbf" + PERSONAS.replace("\n", "\r\n").encode())
    assert Recipe.read(tmp_path / "r.toml") == read(PERSONAS)


@pytest.mark.parametrize(
    "data",
    [
        b'personas = ["\xe9"]',
        PERSONAS.encode("utf-16"),
        b"personas = ",
        b"personas = [1,\n",
        b"rows = 1\nrows = 2\n",
        b"a\x00b = 1",
        b"x = " + b"[" * 5000,
        b"rows = " + b"9" * 5000,
        b"{}",
    ],
)
def test_what_is_no_toml_is_refused_by_name(tmp_path, data):
    (tmp_path / "r.toml").write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"r\.toml is not TOML"):
        Recipe.read(tmp_path / "r.toml")


def test_what_is_no_toml_is_told_with_the_line(tmp_path):
    (tmp_path / "r.toml").write_text(PERSONAS + "\nrows 5")
    with pytest.raises(InvalidInputError, match="line 3"):
        Recipe.read(tmp_path / "r.toml")


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(InvalidInputError, match="cannot read the recipe") as caught:
        Recipe.read(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("depth", [100, *range(480, 505), 2000])
def test_lists_in_lists_are_refused_however_deep(tmp_path, depth):
    nested = "[" * depth + "]" * depth
    (tmp_path / "r.toml").write_text(f"{PERSONAS}sampling = {{ x = {nested} }}")
    with pytest.raises(InvalidInputError):
        Recipe.read(tmp_path / "r.toml")


def test_a_list_in_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(InvalidInputError, match="too deep"):
        Recipe.of({"personas": endless})


# What it refuses


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows = true", "rows: takes a whole number"),
        ('rows = "3"', "rows: takes a whole number"),
        ("rows = 2.5", "rows: takes a whole number"),
        ("rows = 2.0", "rows: takes a whole number"),
        ("rows = nan", "rows: takes a whole number"),
        ("rows = inf", "rows: takes a whole number"),
        ("rows = 2024-01-01", "rows: takes a whole number"),
        ("rows = [5]", "rows: takes a whole number"),
        ("rows = 0", "rows: takes 1 or more"),
        ("rows = -1", "rows: takes 1 or more"),
        ("rows = 1_000_000_000_001", "rows: takes 1,000,000,000,000 at most"),
        ("turns = true", "turns: takes a whole number"),
        ("turns = 0", "turns: takes 1 or more"),
        ("turns = 10_001", "turns: takes 10,000 at most"),
        ("turns = 2.5", "turns: takes a number, or a range such as [2, 4]"),
        ('turns = "2"', "turns: takes a number, or a range such as [2, 4]"),
        ("turns = []", "turns: takes a number, or a range such as [2, 4]"),
        ("turns = [1]", "turns: takes a number, or a range such as [2, 4]"),
        ("turns = [1, 2, 3]", "turns: takes a number, or a range such as [2, 4]"),
        ("turns = [3, 1]", "turns: takes a range from low to high"),
        ("turns = [1, 2.5]", "turns[1]: takes a whole number"),
        ("turns = [false, 2]", "turns[0]: takes a whole number"),
        ("seed = -1", "seed: takes 0 or more"),
        ("seed = true", "seed: takes a whole number"),
        ("seed = 9_223_372_036_854_775_808", "seed: takes less than 9,223,372,036,854,775,808"),
        ("retries = -1", "retries: takes 0 or more"),
        ("retries = 101", "retries: takes 100 at most"),
        ("retries = false", "retries: takes a whole number"),
        ("limits = 5", "limits: takes a table"),
        ("limits = []", "limits: takes a table"),
        ("limits.rows = 0", "limits.rows: takes 1 or more"),
        ("limits.tokens = 0", "limits.tokens: takes 1 or more"),
        ("limits.tokens = 1.5", "limits.tokens: takes a whole number"),
        ("limits.seconds = 0", "limits.seconds: takes more than 0"),
        ("limits.seconds = true", "limits.seconds: takes a number"),
        ('limits.seconds = "5"', "limits.seconds: takes a number"),
        ("limits.seconds = 12:00:00", "limits.seconds: takes a number"),
        ("limits.seconds = inf", "limits.seconds: takes a number that is not infinite"),
        ("limits.seconds = nan", "limits.seconds: takes a number that is not infinite"),
        ('pairing = "zipp"', "pairing: takes 'zip', 'product' or 'random'"),
        ('pairing = ""', "pairing: takes 'zip', 'product' or 'random'"),
        ("pairing = { kind = 5 }", "pairing.kind: takes 'zip', 'product' or 'random'"),
        ("pairing = 5", "pairing: takes a table"),
        ('pairing = { kind = "random", count = 0 }', "pairing.count: takes 1 or more"),
        ('pairing = { kind = "random", count = true }', "pairing.count: takes a whole number"),
        ('pairing = { kind = "random", seed = -1 }', "pairing.seed: takes 0 or more"),
        ("pairing = { count = 5 }", 'pairing: count and seed belong to kind = "random"'),
        (
            'pairing = { kind = "product", seed = 5 }',
            'pairing: count and seed belong to kind = "random"',
        ),
        ('models = "m"', "models: takes a list"),
        ('models = { name = "m" }', "models: takes a list"),
        ("models = [5]", "models[0]: takes a table"),
        ('models = ["m", ""]', "models[1]: takes a text that is not blank"),
        ('models = ["m", { name = " " }]', "models[1].name: takes a text that is not blank"),
        ("models = [{ weight = 1 }]", "models[0].name: is missing"),
        ('models = [{ name = "m", weight = 0 }]', "models[0].weight: takes more than 0"),
        ('models = [{ name = "m", weight = -1 }]', "models[0].weight: takes more than 0"),
        ('models = [{ name = "m", weight = true }]', "models[0].weight: takes a number"),
        ('models = [{ name = "m", weight = "1" }]', "models[0].weight: takes a number"),
        ('models = [{ name = "m", weight = 1e10 }]', "models[0].weight: takes 1,000,000,000"),
        (
            'models = [{ name = "m", weight = inf }]',
            "models[0].weight: takes a number that is not infinite",
        ),
        (
            'models = [{ name = "m", weight = nan }]',
            "models[0].weight: takes a number that is not infinite",
        ),
        ('topic = ""', "topic: takes a text that is not blank"),
        ('topic = " \\t\\n"', "topic: takes a text that is not blank"),
        ("topic = 5", "topic: takes a text"),
        ('language = ["x"]', "language: takes a text"),
        ("sampling = 5", "sampling: takes a table"),
        ("sampling.seed = 5", "sampling: takes no seed"),
        ("instructor_sampling.seed = 5", "instructor_sampling: takes no seed"),
        ("responder_sampling.seed = 5", "responder_sampling: takes no seed"),
        ("sampling.temprature = 1", "sampling: unknown sampling parameter temprature; known are"),
        ("sampling.logit.bias = 1", "sampling: unknown sampling parameter logit"),
        ("sampling.temperature = 500", "sampling: temperature takes a number from 0 to 100"),
        ("sampling.temperature = nan", "sampling: temperature takes a number from 0 to 100"),
        ("sampling.temperature = true", "sampling: temperature takes a number from 0 to 100"),
        ('sampling.max_tokens = "5"', "sampling: max_tokens takes a whole number"),
        ("sampling.stop = 2024-01-01", "sampling: stop takes a list of texts"),
        ('sampling.stop = [""]', "sampling: stop takes non-empty texts"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key_and_line(text, said):
    assert complaint(PERSONAS + text).startswith(f"r.toml, line 2: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("personas = []", "personas: takes one or more"),
        ("personas = { inline = [] }", "personas.inline: takes one or more"),
        ('personas = ["a", ""]', "personas[1]: takes a text that is not blank"),
        ('personas = ["a", " \\n"]', "personas[1]: takes a text that is not blank"),
        ('personas = ["a", 5]', "personas[1]: takes a text"),
        ('personas = [["a"]]', "personas[0]: takes a text"),
        ("personas = 5", "personas: takes a table"),
        ("personas = true", "personas: takes a table"),
        ('personas = ""', "personas: takes a text that is not blank"),
        ("personas = {}", "personas: takes either a list of personas or { file = ... }"),
        ('personas = { column = "c" }', "personas: takes either a list of personas"),
        ('personas = { file = "p.txt", inline = ["a"] }', "personas: takes either a list"),
        ("personas = { file = 5 }", "personas.file: takes a text"),
        ('personas = { file = "p.csv", column = "" }', "personas.column: takes a text that is"),
        ('personas = { inline = "ab" }', "personas.inline: takes a list"),
        ('personas = { inline = ["a"], column = "c" }', "personas: column belongs to a file"),
    ],
)
def test_a_source_of_personas_that_cannot_be_is_refused(text, said):
    assert complaint(text).startswith(f"r.toml, line 1: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give personas, or instructors and responders"),
        ("rows = 5", "give personas, or instructors and responders"),
        ('instructors = ["a"]', "give personas, or instructors and responders"),
        ('responders = ["a"]', "give personas, or instructors and responders"),
        (PERSONAS + 'instructors = ["a"]', "give personas for both sides, or instructors and"),
        (
            PERSONAS + 'instructors = ["a"]\nresponders = ["b"]',
            "give personas for both sides, or instructors and responders",
        ),
        (PERSONAS + 'pairing = "zip"', "pairing = 'zip' takes instructors and responders"),
    ],
)
def test_personas_are_for_both_sides_or_each_side_has_its_own(text, said):
    assert complaint(text).startswith(f"r.toml: {said}")


@pytest.mark.parametrize("text", ["\ud800", "a\udc00b"])
def test_halves_of_characters_are_refused(text):
    for values in (
        {"topic": text},
        {"language": text},
        {"models": [text]},
        {"personas": ["a", text]},
    ):
        assert "without halves of characters" in complaint_of(**values)


def test_a_number_that_toml_cannot_write_is_refused():
    assert complaint_of(seed=10**5000).startswith("recipe: seed: takes less than")
    assert complaint_of(pairing={"kind": "random", "seed": 2**63}).startswith("recipe: pairing.s")
    assert complaint_of(limits={"seconds": 10**400}).startswith("recipe: limits.seconds: takes a")


@pytest.mark.parametrize("values", [5, None, "text", [], [("rows", 1)]])
def test_what_is_no_mapping_is_no_recipe(values):
    with pytest.raises(InvalidInputError, match="recipe"):
        Recipe.of(values)


def test_a_key_that_is_no_text_is_refused():
    assert "recipe" in complaint_of(sampling={5: 1})
    with pytest.raises(InvalidInputError):
        Recipe.of({"personas": ["a", "b"], 5: 1})


def test_every_mistake_has_a_line_of_its_own():
    said = complaint(PERSONAS + "rows = 0\nseed = -1\nlimitz.rows = 3\nturns = [0, 0.5]")
    assert sorted(said.splitlines()) == [
        "r.toml, line 2: rows: takes 1 or more",
        "r.toml, line 3: seed: takes 0 or more",
        "r.toml, line 4: limitz: unknown key; did you mean limits?",
        "r.toml, line 5: turns[0]: takes 1 or more",
        "r.toml, line 5: turns[1]: takes a whole number",
    ]


def test_a_recipe_cannot_be_changed():
    recipe = read(PERSONAS)
    with pytest.raises(ValueError, match="frozen"):
        recipe.rows = 5


# Unknown keys, and the numbers of lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row = 3", "row: unknown key; did you mean rows?"),
        ("Rows = 3", "Rows: unknown key; did you mean rows?"),
        ("persona = 3", "persona: unknown key; did you mean personas?"),
        ("xyzzy = 3", "xyzzy: unknown key"),
        ("weight = 3", "weight: unknown key"),
        ("limits = { rowz = 3 }", "limits.rowz: unknown key; did you mean rows?"),
        ("limits.rowz = 3", "limits.rowz: unknown key; did you mean rows?"),
        ("limits . 'rowz' = 3", "limits.rowz: unknown key; did you mean rows?"),
        ("limits.row.a.b = 3", "limits.row: unknown key; did you mean rows?"),
        ("pairing = { kind = 'random', cont = 3 }", "pairing.cont: unknown key; did you mean c"),
        ("models = [{ name = 'm', wait = 3 }]", "models[0].wait: unknown key; did you mean we"),
        ("models = ['m', { name = 'm', nam = 3 }]", "models[1].nam: unknown key; did you mean n"),
        ("'row' = 3", "row: unknown key; did you mean rows?"),
        ('"a b" = 3', '"a b": unknown key'),
        ('"a = b" = 3', '"a = b": unknown key'),
        ('"a\\"b" = 3', '"a\\"b": unknown key'),
        ('"" = 3', '"": unknown key'),
        ('"a\\nb\\u001b[31m" = 3', '"a\\nb\\u001b[31m": unknown key'),
        ("[row]", "row: unknown key; did you mean rows?"),
        ("[[row]]", "row: unknown key; did you mean rows?"),
        ("[row.x]", "row: unknown key; did you mean rows?"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_one_that_is_like_it(text, said):
    assert complaint(PERSONAS + text).startswith(f"r.toml, line 2: {said}")


@pytest.mark.parametrize("source", ["personas", "instructors", "responders"])
def test_an_unknown_key_of_a_source_is_named(source):
    said = complaint(f"[{source}]\nfile = 'p.csv'\ncolum = 'x'").splitlines()
    assert f"r.toml, line 3: {source}.colum: unknown key; did you mean column?" in said


def test_what_is_suggested_belongs_to_the_same_table():
    assert complaint(PERSONAS + "colum = 3").endswith("colum: unknown key")
    assert complaint(PERSONAS + "limits.colum = 3").endswith("limits.colum: unknown key")


@pytest.mark.parametrize("text", ["limits.retries = 3", "[[models]]\nname = 'm'\nretries = 3"])
def test_a_key_of_the_recipe_that_stands_in_a_table_is_told_where_it_belongs(text):
    said = complaint(PERSONAS + text)
    assert said.endswith(
        "retries: unknown key; keys of the recipe itself stand before the first [table]"
    )


@pytest.mark.parametrize(
    ("text", "line", "path"),
    [
        # The same key in two tables
        ("rows = 5\n[limits]\nrows = 0", 4, "limits.rows"),
        ("rows = 0\n[limits]\nrows = 5", 2, "rows"),
        ("limits = { rows = 0 }\nrows = 3", 2, "limits.rows"),
        ("seed = 3\npairing = { kind = 'random', seed = -3 }", 3, "pairing.seed"),
        ("pairing.kind = 'random'\nseed = 3\npairing.seed = -3", 4, "pairing.seed"),
        ("[pairing]\nkind = 'random'\nseed = -3\n[limits]\nrows = 4", 4, "pairing.seed"),
        ("[sampling]\ntop_k = 1\n[limits]\ntop_k = 3", 5, "limits.top_k"),
        # Arrays of tables
        ("[[models]]\nname = 'a'\n[[models]]\nname = 5", 5, "models[1].name"),
        ("[[models]]\nname = 'a'\n[[models]]\nweight = 5", 4, "models[1].name"),
        ("[[models]]\nweight = 1\n\n[[models]]\nname = 'a'", 2, "models[0].name"),
        ("[[models]]\nname = 'a'\n[limits]\n[[models]]\nnam = 'a'", 6, "models[1].nam"),
        ("[[models]]\n[models.name]\nx = 1", 3, "models[0].name"),
        # Comments, blanks, indents
        ("\n# rowz = 1\n\n  rowz = 2 # rowz = 3", 5, "rowz"),
        ("[limits] # here\n\n\ttoken = 2", 4, "limits.token"),
        ("[ limits ]\n'token'\t= 2", 3, "limits.token"),
        # Lists and texts over several lines
        ("models = [\n  'a',\n  5,\n]\nrows = 3", 2, "models[1]"),
        ("models = [\n  { name = 'a' },\n  { name = 'b', weight = 0 },\n]", 2, "models[1].weight"),
        ("topic = '''\nrowz = 1\n[limits]\n'''\nrowz = 5", 6, "rowz"),
        ('topic = """\nrowz = 1\n"""\nlimits = { rowz = 5 }', 5, "limits.rowz"),
        ('topic = """\n[limits]\nrows = 0"""\n[limits]\nrows = 0', 6, "limits.rows"),
        ("language = [\n['rowz'],\n['rowz = 1'],\n]\nrowz = 1", 6, "rowz"),
        # A key that is set in two pieces
        ("limits.tokens = 5\nlimits.rowz = 3", 3, "limits.rowz"),
        ("[limits]\n[limits.tokens]\nx = 5", 3, "limits.tokens"),
        # Other separators of lines than TOML's
        ("topic = 'a\u2028b\x85c'\nrowz = 1", 3, "rowz"),
    ],
)
def test_the_line_is_the_one_that_sets_the_key(text, line, path):
    assert f"r.toml, line {line}: {path}: " in complaint(PERSONAS + text)


def test_without_its_text_a_recipe_has_no_lines():
    assert complaint_of(rowz=3) == "recipe: rowz: unknown key; did you mean rows?"


def test_a_line_is_found_quickly_below_a_long_list():
    personas = "".join(f'  "Who asks whether {n} = {n}",\n' for n in range(20_000))
    said = complaint(f"personas = [\n{personas}]\nrowz = 5\n")
    assert said == "r.toml, line 20003: rowz: unknown key; did you mean rows?"


SHORT = st.text("ab= \"'#[]{}.\n", max_size=12)
STATEMENTS = st.lists(
    st.one_of(
        SHORT.map(lambda text: f"topic = {json.dumps(text)}"),
        st.text("ab=#[] \n", max_size=12).map(lambda text: f"language = '''{text}'''"),
        st.just("seed = 5 # rowz = 3"),
        st.just("# rowz = 3"),
        st.just(""),
        st.just("retries = 1"),
        st.just("models = [\n'a', # rowz\n'b',\n]"),
        st.just("sampling.temperature = 0.5"),
        st.just("pairing = { kind = 'random', count = 2 }"),
    ),
    max_size=6,
    unique_by=lambda statement: statement.split(" ", 1)[0] or id(statement),
)


@given(STATEMENTS, STATEMENTS, st.sampled_from(["rowz = 1", "'rowz'=1", " rowz . x = 1"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_line_is_right_wherever_the_key_stands(before, after, wrong):
    begun = {statement.split(" ", 1)[0] for statement in before}
    after = [statement for statement in after if statement.split(" ", 1)[0] not in begun - {"#"}]
    above = "\n".join([PERSONAS.strip(), *before, ""])
    said = complaint("\n".join([above + wrong, *after]))
    assert f"r.toml, line {above.count(chr(10)) + 1}: rowz: unknown key; did" in said


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(["zip", "random", "a", "\ud800", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Recipe.model_fields, *Pairing.model_fields, "name", "file", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "x"]), JUNK, max_size=5))
@settings(deadline=None, max_examples=400)
def test_any_mapping_is_a_recipe_or_refused_in_plain_words(values):
    try:
        recipe = Recipe.of(values)
    except InvalidInputError as error:
        said = str(error)
        assert said.startswith("recipe: ")
        for jargon in ("type=", "input_value", "http", "pydantic", "instance of", "Tuple"):
            assert jargon not in said
    else:
        assert Recipe.of(recipe.to_dict()) == recipe


# What it says of itself


@pytest.mark.parametrize("text", [PERSONAS, EVERYTHING])
def test_a_recipe_survives_being_said(text):
    recipe = read(text)
    said = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
    assert Recipe.of(said) == recipe


def test_only_what_differs_from_the_defaults_is_said():
    text = PERSONAS + "turns = 1\nseed = 0\nretries = 2\npairing = 'product'\nmodels = ['m']"
    assert read(text).to_dict() == {"personas": {"inline": ["a", "b"]}, "models": [{"name": "m"}]}


def test_of_persona_files_only_the_names_are_said(tmp_path):
    (tmp_path / "r.toml").write_text(
        "instructors = { file = 'sub/i.csv', column = 'c' }\nresponders = '/far/away/r.txt'"
    )
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.to_dict() == {
        "instructors": {"file": "i.csv", "column": "c"},
        "responders": {"file": "r.txt"},
    }
    assert str(tmp_path) in str(recipe.instructors)


def test_a_model_choice_stands_in_a_recipe_as_it_is():
    choice = ModelChoice(name="m", weight=2.0)
    assert more(models=[choice]).models == (choice,)
