from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dria_magpie import (
    InvalidInputError,
    MagPie,
    NoNodeError,
    ParseError,
    Sampling,
    TaskResult,
    Workflow,
)
from dria_magpie.factory.singleton import Singleton
from tests.builder import dw

GRAPH = Path(__file__).parents[2] / "workflows" / "magpie.json"


def result(value: Any, **more: Any) -> TaskResult:
    return TaskResult(id="t", result=value, model="m", **more)


def test_there_is_one_magpie_in_every_thread() -> None:
    found: list[MagPie] = []
    threads = [threading.Thread(target=lambda: found.append(MagPie())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is MagPie() for one in found)


def test_each_singleton_class_has_an_instance_of_its_own() -> None:
    class Other(Singleton):
        pass

    assert Other() is Other()
    assert isinstance(Other(), Other)


def test_the_emitted_graph_is_the_file_in_workflows() -> None:
    graph = MagPie().workflow("A curious scientist", "An AI assistant", num_turns=3)
    assert json.loads(GRAPH.read_text("utf-8")) == json.loads(graph.model_dump_json())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_turns": 1},
        {"num_turns": 500},
        {"topic": "tides", "language": "Turkish"},
        {"instructor_sampling": Sampling(seed=1, stop=("\n",)), "responder_model": "m"},
    ],
    ids=["defaults", "one turn", "many turns", "topic and language", "sampling and model"],
)
def test_the_old_validator_accepts_every_graph(options: dict[str, Any]) -> None:
    graph = MagPie().workflow("A", "B", **options)
    dw.validate_workflow_json(graph.model_dump_json())
    dw.validate_workflow_json(json.dumps(graph.model_dump()))


def test_a_graph_comes_back_from_its_json() -> None:
    graph = MagPie().workflow("A", "B", 2, instructor_sampling=Sampling(seed=3, temperature=0.5))
    again = Workflow.parse(json.loads(graph.model_dump_json()))
    assert again == graph


def test_the_size_of_a_graph_does_not_depend_on_the_turns() -> None:
    small = MagPie().workflow("A", "B", 1).model_dump_json()
    large = MagPie().workflow("A", "B", 9).model_dump_json()
    assert len(large) - len(small) < 10


def test_roles_have_sampling_and_model_of_their_own() -> None:
    hot, cool = Sampling(temperature=1.0), Sampling(temperature=0.0)
    graph = MagPie().workflow(
        "A",
        "B",
        instructor_sampling=hot,
        responder_sampling=cool,
        instructor_model="x",
        responder_model="y",
    )
    asking, answering, _ = graph.tasks
    assert (asking.sampling, asking.model) == (hot, "x")
    assert (answering.sampling, answering.model) == (cool, "y")


def test_dialogues_of_one_shape_share_nothing_that_differs() -> None:
    first = MagPie().workflow("A", "B", instructor_sampling=Sampling(seed=1))
    second = MagPie().workflow("C", "D")
    assert first.external_memory == {"instructor_persona": "A", "responding_persona": "B"}
    assert second.external_memory == {"instructor_persona": "C", "responding_persona": "D"}
    assert second.tasks[0].sampling is None
    found = first.task("instructor")
    assert found is not None
    assert found.sampling == Sampling(seed=1)


def test_sampling_may_be_a_mapping_and_nothing_else() -> None:
    graph = MagPie().workflow("A", "B", responder_sampling={"seed": 1})  # type: ignore[arg-type]
    assert graph.tasks[1].sampling == Sampling(seed=1)
    with pytest.raises(InvalidInputError, match="responder_sampling"):
        MagPie().workflow("A", "B", responder_sampling=7)  # type: ignore[arg-type]


def test_topic_and_language_are_in_both_system_prompts() -> None:
    graph = MagPie().workflow("A", "B", topic="tides", language="Turkish")
    for task in graph.tasks[:2]:
        assert "{{topic}}" in task.messages[0].content
        assert "{{language}}" in task.messages[0].content
    assert graph.external_memory["topic"] == "tides"


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "B"),
        ("A", " \n"),
        ("A", None),
        (1, "B"),
        ("A", "B", 0),
        ("A", "B", -1),
        ("A", "B", 1.5),
        ("A", "B", True),
        ("A", "B", "3"),
        ("A", "\ud83d"),
    ],
)
def test_arguments_that_cannot_work_are_named(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"persona|num_turns"):
        MagPie().workflow(*arguments)


@pytest.mark.parametrize("name", ["topic", "language", "instructor_model", "responder_model"])
def test_an_option_that_is_given_is_not_empty(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        MagPie().workflow("A", "B", **{name: " "})


def test_a_dialogue_has_one_speaker_a_message_and_its_text_verbatim() -> None:
    parsed = MagPie().parse_result(result('[" hi?\\n", "hello", "{\\"a\\":1}", "42"]'))
    assert parsed == {
        "dialogue": [
            {"instructor": " hi?\n"},
            {"responder": "hello"},
            {"instructor": '{"a":1}'},
            {"responder": "42"},
        ],
        "model": "m",
    }


def test_a_result_of_the_sdk_will_do() -> None:
    @dataclass
    class SdkResult:
        result: str
        model: str

    parsed = MagPie().parse_result(SdkResult('["a","b"]', "gemma2:9b-instruct-fp16"))
    assert parsed["dialogue"] == [{"instructor": "a"}, {"responder": "b"}]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "JSON array"),
        ("no json", "no json"),
        ("{}", "dict"),
        ("[]", "no messages"),
        ('["a", 1]', "message 1 is int"),
        ('["a", null]', "message 1"),
        ('["a", " "]', "message 1 is empty"),
        (None, "None"),
        (["a"], "text of a JSON array"),
        ("[" * 100_000, "JSON array"),
    ],
)
def test_a_result_that_is_no_dialogue_says_why(value: Any, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        MagPie().parse_result(result(value))


def test_a_failed_result_raises_with_its_cause() -> None:
    with pytest.raises(ParseError, match="nobody") as caught:
        MagPie().parse_result(result(None, error=NoNodeError("nobody serves it")))
    assert isinstance(caught.value.__cause__, NoNodeError)


def test_a_failed_item_keeps_its_place_in_a_list() -> None:
    good = result('["a","b"]')
    parsed = MagPie().parse_result([good, result(None, error=NoNodeError("nobody")), good])
    assert [set(item) for item in parsed] == [
        {"dialogue", "model"},
        {"error"},
        {"dialogue", "model"},
    ]
    assert "nobody" in parsed[1]["error"]
    assert MagPie().parse_result([]) == []
