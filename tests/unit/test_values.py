from __future__ import annotations

import json
import pickle

import pytest

from dria_magpie.errors import DriaMagpieError, InvalidInputError, StateError
from dria_magpie.models import (
    Generation,
    GenerationRequest,
    Message,
    Model,
    NodeInfo,
    Sampling,
    Task,
    TaskResult,
    Turn,
)

LIMITS = [
    ("temperature", 0, 100),
    ("top_p", 1e-9, 1),
    ("top_k", 0, 2**31 - 1),
    ("min_p", 0, 1),
    ("max_tokens", 1, 2**31 - 1),
    ("seed", 0, 2**31 - 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
    ("repetition_penalty", 1e-9, 100),
]
WHOLE = ["top_k", "max_tokens", "seed"]


@pytest.mark.parametrize(("name", "low", "high"), LIMITS, ids=[name for name, *_ in LIMITS])
def test_sampling_takes_each_value_within_its_range(name, low, high):
    for value in (low, high, None):
        assert getattr(Sampling(**{name: value}), name) == value
    for value in (low - 1, high + 1, float("nan"), float("inf"), 10**400, "1", True, [1]):
        with pytest.raises(InvalidInputError, match=name):
            Sampling(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_counted_is_whole(name):
    with pytest.raises(InvalidInputError, match="whole number"):
        Sampling(**{name: 1.5})


@pytest.mark.parametrize(
    ("stop", "kept"), [("x", ("x",)), (["x", "y"], ("x", "y")), ((), ()), ([], ())]
)
def test_stop_takes_one_text_or_several(stop, kept):
    assert Sampling(stop=stop).stop == kept


@pytest.mark.parametrize("stop", [None, 5, "", [""], [5], [None], {"x": 1}, [["x"]]])
def test_stop_takes_nothing_else(stop):
    with pytest.raises(InvalidInputError, match="stop"):
        Sampling(stop=stop)


def test_sampling_goes_through_json():
    sampling = Sampling(temperature=0, stop=["x"], seed=3)
    assert sampling.to_dict() == {"temperature": 0, "stop": ["x"], "seed": 3}
    assert Sampling.from_dict(json.loads(json.dumps(sampling.to_dict()))) == sampling
    assert Sampling.from_dict({"temperature": None}) == Sampling()
    assert Sampling().to_dict() == {}
    assert sampling.evolve(seed=4) == Sampling(temperature=0, stop=("x",), seed=4)


@pytest.mark.parametrize("unknown", ["temprature", 5])
def test_sampling_refuses_unknown_names(unknown):
    with pytest.raises(InvalidInputError, match=f"unknown sampling parameter {unknown}"):
        Sampling.from_dict({unknown: 1})


def test_a_task_draws_an_id_of_its_own():
    first, second = Task(workflow={}), Task(workflow={})
    assert first.id != second.id
    assert first.key == first.id
    assert Task(workflow={}, id="mine").key == "mine"


def test_models_of_a_task_are_plain_names():
    task = Task(workflow={}, models=[Model.SMOLLM2_135M, "qwen3:8b"])
    assert task.models == ("smollm2:135m-instruct-q4_1", "qwen3:8b")
    assert {type(name) for name in task.models} == {str}
    assert task.log_context()["models"] == list(task.models)
    assert task.evolve(step_name="s").models == task.models


@pytest.mark.parametrize("models", ["gpt-4o", [5], [None], None, 5])
def test_models_takes_a_list_of_names(models):
    with pytest.raises(InvalidInputError, match="models takes a list"):
        Task(workflow={}, models=models)


def test_a_task_shows_no_keys():
    task = Task(workflow={}, private_key="secret", public_key="p", filter={"f": 1})
    assert "secret" not in repr(task)
    assert "secret" not in str(task.log_context())


TURN = Turn(task_id="a", text="hi", model="m", seconds=1.5, prompt_tokens=3)


def test_a_turn_goes_through_json():
    assert Turn.from_dict(json.loads(json.dumps(TURN.to_dict()))) == TURN
    assert Turn.from_dict({"task_id": "a", "text": "", "model": "m", "seconds": 2}).seconds == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", None),
        ("text", 5),
        ("prompt_tokens", "5"),
        ("prompt_tokens", True),
        ("prompt_tokens", 1.5),
        ("prompt_tokens", -1),
        ("attempts", None),
        ("attempts", 10**400),
        ("seconds", "1"),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", -0.5),
        ("sampling", "x"),
        ("sampling", {"seed": "x"}),
        ("unknown", 1),
    ],
)
def test_a_damaged_turn_is_a_state_error(name, value):
    with pytest.raises(StateError, match=rf"turn\.{name}|not a turn"):
        Turn.from_dict({**TURN.to_dict(), name: value})


@pytest.mark.parametrize("value", [None, 5, "x", [], [["text", "x"]]])
def test_a_turn_that_is_no_object_is_a_state_error(value):
    with pytest.raises(StateError, match="a turn is a JSON object"):
        Turn.from_dict(value)


def test_an_incomplete_turn_is_a_state_error():
    with pytest.raises(StateError, match="missing"):
        Turn.from_dict({"text": "x"})


@pytest.mark.parametrize(
    ("served", "wanted", "chosen"),
    [
        (("m", "k"), [], "m"),
        (("m", "k"), ["k", "m"], "k"),
        (("m", "k"), ["x", "m"], "m"),
        (("m", "k"), ["x"], None),
        ((), [], None),
        ((), ["m"], None),
        (("*",), [], None),
        (("*",), ["x", "y"], "x"),
        (("m", "*"), [], "m"),
        (("m", "*"), ["x", "m"], "x"),
    ],
)
def test_a_node_chooses_the_first_wanted_model_that_it_serves(served, wanted, chosen):
    assert NodeInfo(address="n", models=served, slots=1).choose_model(wanted) == chosen


def test_a_result_sums_up_its_turns():
    turns = (
        Turn(
            task_id="a", text="", model="m", prompt_tokens=5, cached_tokens=1, completion_tokens=2
        ),
        Turn(task_id="b", text="", model="m", prompt_tokens=7, completion_tokens=3),
        Turn(task_id="c", text="", model="m", finish_reason="length", cached_tokens=4),
    )
    result = TaskResult(id="t", turns=turns)
    assert (result.prompt_tokens, result.cached_tokens, result.completion_tokens) == (12, 5, 5)
    assert result.truncated == (2,)


def test_an_error_gives_the_turns_of_its_result():
    error = DriaMagpieError("x")
    assert error.turns == ()
    error.result = TaskResult(id="t", turns=(TURN,))
    assert error.turns == (TURN,)


def test_requests_and_answers_change_only_as_copies():
    request = GenerationRequest(model="m", messages=(Message("user", "x"),))
    assert request.evolve(model="k").messages == request.messages
    assert request.model == "m"
    assert Generation(text="x").evolve(text="y") == Generation(text="y")
    assert pickle.loads(pickle.dumps(TURN)) == TURN


COUNTS = ["prompt_tokens", "cached_tokens", "completion_tokens"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [-1, 2**31, 2**53 + 1, 10**30, 1.0, True, "7", None])
def test_an_answer_refuses_a_count_of_tokens_that_cannot_be_one(name, count):
    with pytest.raises(InvalidInputError, match=name):
        Generation(text="x", **{name: count})
    with pytest.raises(InvalidInputError, match=name):
        Generation(text="x").evolve(**{name: count})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [0, 1, 2**31 - 1])
def test_an_answer_takes_any_count_of_tokens_that_can_be_one(name, count):
    assert getattr(Generation(text="x", **{name: count}), name) == count
