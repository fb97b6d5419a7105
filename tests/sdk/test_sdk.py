"""With the real ``dria`` SDK, in the environment that `make test` makes for it."""

from __future__ import annotations

import json
import warnings

import pydantic
import pytest

from dria_magpie import Dria, MagPie, Node, Task
from dria_magpie.testing import ScriptedEngine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dria.factory.workflows.magpie_instruct import MagPie as SdkMagPie
    from dria.models import Model as SdkModel
    from dria.models import Task as SdkTask
    from dria.models import TaskResult as SdkTaskResult

import dria_magpie


def test_this_environment_has_the_old_pydantic() -> None:
    assert pydantic.VERSION == "2.9.1"


def test_every_model_of_the_sdk_has_its_name_here() -> None:
    for member in SdkModel:
        assert dria_magpie.Model[member.name] == member.value


@pytest.mark.parametrize("text", ['["a","b"]', '["a?", "b.", "c?", "d."]'])
def test_results_of_the_sdk_are_read(text: str) -> None:
    result = SdkTaskResult(id="i", task_input={}, step_name="", result=text, model="gpt-4o")
    parsed = MagPie().parse_result(result)
    assert len(parsed["dialogue"]) == len(json.loads(text))
    assert MagPie().parse_result([result, result]) == [parsed, parsed]


def test_the_sdk_takes_the_graph_as_a_task() -> None:
    graph = MagPie().workflow("A", "B").model_dump()
    task = SdkTask(workflow=graph, models=[SdkModel.GEMMA2_9B_FP16], dataset_id="d")
    ours = Task(**{**task.model_dump(), "filter": task.filter, "processed": task.processed})
    assert ours.workflow == graph
    assert ours.models == ("gemma2:9b-instruct-fp16",)


async def test_the_graph_of_the_sdks_own_magpie_runs_here() -> None:
    theirs = SdkMagPie(instructor_persona="A chemist", responding_persona="A cook", num_turns=2)
    engine = ScriptedEngine(["one?", "two.", "three?", "four."], models=["m"])
    async with Dria(nodes=[Node(engine)]) as dria:
        result = await dria.execute(Task(workflow=theirs.workflow(), models=["m"]))
    assert json.loads(str(result.result)) == ["one?", "two.", "three?", "four."]
    assert "A chemist" in engine.requests[0].messages[0].content
    assert "{" not in engine.requests[0].messages[0].content
