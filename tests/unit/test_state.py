from __future__ import annotations

import copy
import json

import pytest

from dria_magpie import errors
from dria_magpie.errors import DriaMagpieError, EndpointError, LimitError, StateError, StepError
from dria_magpie.models import Sampling, Turn
from dria_magpie.workflow import ExecutionState, Failed, Finished, NextCall, Workflow, advance
from tests.unit.flow import edge, graph, task

WORKFLOW = Workflow.parse(
    graph(
        task("a"),
        task("b"),
        steps=[edge("a", "b"), edge("b")],
        memory={"t": "ü{{x}}", "o": {"b": [None]}, "l": ["x", {"y": 1}]},
    )
)
STATE = (
    ExecutionState.start(WORKFLOW, seed=7)
    .with_turn(
        Turn(task_id="a", text="\ud800 verbatim", model="m", seconds=1.5, sampling=Sampling(seed=3))
    )
    .with_output(WORKFLOW, '{"b":1,"a":2}')
)
STORED = STATE.to_dict()


def test_a_state_is_json_and_reads_back_equal():
    text = json.dumps(STORED)
    assert ExecutionState.from_dict(json.loads(text)) == STATE
    assert STATE.memory.cache["x"] == '{"b":1,"a":2}'
    assert (STATE.steps_done, STATE.seconds, STATE.seed, len(STATE.turns)) == (1, 1.5, 7, 1)


def test_a_state_cannot_be_changed():
    with pytest.raises(AttributeError):
        STATE.steps_done = 5
    with pytest.raises(AttributeError):
        STATE.memory.files = ()


@pytest.mark.parametrize("error", [StepError("why"), EndpointError("why", 503), LimitError("why")])
def test_an_error_keeps_its_kind_and_text(error):
    failed = STATE.with_failure(WORKFLOW, error)
    assert advance(WORKFLOW, failed) == Failed(error)
    read = ExecutionState.from_dict(json.loads(json.dumps(failed.to_dict())))
    assert (type(read.error), str(read.error)) == (type(error), "why")


@pytest.mark.parametrize(
    "kind", ["Unknown", "annotations", "TYPE_CHECKING", "__name__", "", 5, None]
)
def test_an_error_of_an_unknown_kind_is_a_plain_one(kind):
    stored = {**STORED, "error": {"kind": kind, "message": "why"}}
    assert type(ExecutionState.from_dict(stored).error) is DriaMagpieError


def test_every_kind_of_error_survives():
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    for kind in kinds:
        stored = STATE.evolve(error=kind("why")).to_dict()
        assert type(ExecutionState.from_dict(stored).error) is kind


def nest(depth):
    value = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


DAMAGE = {
    "memory": [None, [], {}, {"cache": {}}],
    "memory cache": [[], None, "x", {"k": None}, {"k": 5}, {"k": ["x"]}, {"k": nest(500)}],
    "memory stacks": [[], {"k": "abc"}, {"k": None}, {"k": [5]}, {"k": {}}, {"k": [nest(100_000)]}],
    "memory files": ["abc", None, [5], {}],
    "step": ["0", -1, 1.0, True, 2**60],
    "steps_done": [None, -1, 1.5, True, "1", 10**400],
    "seconds": [None, "1", True, -1, float("nan"), float("inf"), 10**400, nest(100_000)],
    "seed": [None, -1, 2**60],
    "turns": [None, "x", {}, [None], ["x"], [[]], [{}], [{"task_id": 5}], [{"what": 5}]],
    "error": ["x", 5, {}, {"kind": "StepError"}],
}
CASES = [(path, i) for path, values in DAMAGE.items() for i in range(len(values))]


@pytest.mark.parametrize(("path", "index"), CASES)
def test_a_damaged_state_is_a_state_error(path, index):
    damaged = copy.deepcopy(STORED)
    place = damaged
    *parents, last = path.split()
    for parent in parents:
        place = place[parent]
    place[last] = DAMAGE[path][index]
    with pytest.raises(StateError):
        ExecutionState.from_dict(damaged)


@pytest.mark.parametrize("missing", [name for name in STORED if name != "error"])
def test_a_missing_field_is_a_state_error(missing):
    with pytest.raises(StateError):
        ExecutionState.from_dict({k: v for k, v in STORED.items() if k != missing})


@pytest.mark.parametrize("value", [None, 5, "x", [], [1], {}])
def test_what_is_no_object_is_a_state_error(value):
    with pytest.raises(StateError):
        ExecutionState.from_dict(value)


def test_a_state_of_another_workflow_is_refused():
    other = STATE.evolve(step=9)
    with pytest.raises(StateError, match="no step 9"):
        advance(WORKFLOW, other)
    with pytest.raises(StateError, match="no step 9"):
        other.with_output(WORKFLOW, "x")


def test_at_the_end_nothing_changes_any_more():
    end = STATE.evolve(step=None)
    assert end.with_output(WORKFLOW, "x") == end
    assert isinstance(advance(WORKFLOW, end), Finished)
    assert end.with_failure(WORKFLOW, StepError("late")).error
    turn = Turn(task_id="a", text="x", model="m")
    assert end.with_answer(WORKFLOW, turn) == end.with_turn(turn)


def test_a_turn_adds_its_time_and_leaves_the_position():
    after = STATE.with_turn(Turn(task_id="b", text="x", model="m", seconds=2))
    assert (after.seconds, after.step, after.steps_done) == (3.5, STATE.step, STATE.steps_done)
    assert isinstance(advance(WORKFLOW, after), NextCall)
