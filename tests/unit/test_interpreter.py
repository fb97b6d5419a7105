from __future__ import annotations

import itertools

import pytest

from dria_magpie.errors import LimitError, StepError
from dria_magpie.models import Message, Sampling
from dria_magpie.workflow import (
    ExecutionState,
    Failed,
    Finished,
    Moved,
    NextCall,
    Workflow,
    advance,
)
from tests.unit.flow import (
    ALL_X,
    PUSH_X,
    WRITE_X,
    edge,
    graph,
    prompts,
    read,
    run,
    task,
    user,
    when,
)

DONE = ("finished", "A.")


def first(values, **changes):
    workflow = Workflow.parse(values)
    return advance(workflow, ExecutionState.start(workflow).evolve(**changes))


def error_of(outcome):
    assert isinstance(outcome, Failed)
    return outcome.error


def test_a_generation_asks_with_everything_its_task_says():
    sampling = {"temperature": 0.5, "seed": 2**31 - 1}
    outcome = first(
        graph(
            task("a", model="m", sampling=sampling, schema={"type": "object"}, open_user_turn=True)
            | {"messages": [{"role": "system", "content": "S"}, user("")]},
            max_tokens=9,
        ),
        steps_done=1,
    )
    assert isinstance(outcome, NextCall)
    request = outcome.request
    assert (outcome.task_id, request.model, request.open_user_turn) == ("a", "m", True)
    assert request.messages == (Message("system", "S"), Message("user", ""))
    assert request.sampling == Sampling(temperature=0.5, seed=0, max_tokens=9)
    assert request.response_format["type"] == "json_schema"


@pytest.mark.parametrize(
    ("of_graph", "of_task", "asked"),
    [(None, None, None), (0, None, None), (9, None, 9), (9, 5, 5), (2**40, None, 2**31 - 1)],
)
def test_the_cap_of_a_message_is_the_tasks_or_the_graphs(of_graph, of_task, asked):
    sampling = {"max_tokens": of_task}
    outcome = first(graph(task("a", sampling=sampling), max_tokens=of_graph))
    assert outcome.request.sampling.max_tokens == asked


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_each_step_has_a_seed_of_its_own(steps):
    outcome = first(graph(task("a", sampling={"seed": 40})), steps_done=steps)
    assert outcome.request.sampling.seed == 40 + steps


@pytest.mark.parametrize(("most", "outcome"), [(0, "limit"), (1, "limit"), (2, "limit"), (3, None)])
def test_a_run_that_reaches_max_steps_fails_even_if_it_is_done(most, outcome):
    values = graph(task("a"), task("b"), steps=[edge("a", "b"), edge("b")], max_steps=most)
    assert run(values)[0] == (("failed", outcome) if outcome else DONE)
    assert len(run(values)[1]) == min(most, 2)


@pytest.mark.parametrize("most", [0, 1])
def test_a_graph_without_steps_returns_at_once(most):
    values = graph(task("a"), steps=[], memory={"x": "from memory"}, max_steps=most)
    assert run(values) == ((("finished", "from memory") if most else ("failed", "limit")), [])


@pytest.mark.parametrize(("seconds", "fails"), [(1.99, False), (2.0, True), (500.0, True)])
def test_max_time_counts_whole_seconds_of_generation(seconds, fails):
    values = graph(task("a"), max_time=2)
    outcome = first(values, seconds=seconds, steps_done=19)
    assert isinstance(outcome, Failed) is fails
    if fails:
        assert isinstance(outcome.error, LimitError)
        assert "max_time" in str(outcome.error)


def test_a_run_that_is_done_too_late_fails():
    assert isinstance(first(graph(task("a"), max_time=2), seconds=2.0, step=None), Failed)


def test_the_time_is_told_before_the_steps():
    assert "max_time" in str(error_of(first(graph(task("a"), max_time=0, max_steps=0))))


@pytest.mark.parametrize("target", ["_end", "__end", "end", "_null", "", "nowhere"])
def test_a_target_without_a_step_ends_the_run(target):
    assert run(graph(task("a"), steps=[edge("a", target)])) == (DONE, [[("user", "Say it.")]])


def test_a_step_from_the_reserved_end_ends_the_run_without_running_its_task():
    values = graph(
        task("a"), task("__end", "never"), steps=[edge("a", "__end"), edge("__end", "a")]
    )
    assert run(values) == (DONE, [[("user", "Say it.")]])


def test_a_step_from_a_task_that_is_not_there_fails_the_run_past_its_fallback():
    values = graph(task("a"), steps=[edge("b", fallback="a"), edge("a")])
    assert run(values) == (("failed", "task"), [])
    assert "no task 'b'" in str(error_of(first(values)))


def test_the_first_step_in_the_list_begins_and_the_first_of_a_source_counts():
    values = graph(
        task("a", "a"),
        task("b", "b"),
        steps=[edge("b", "a"), edge("b", "b"), edge("a"), edge("a", "a")],
    )
    assert prompts(run(values)[1]) == ["b", "a"]


def test_an_end_task_does_nothing_but_its_step_counts():
    end = task("a", operator="end")
    assert run(graph(end, max_steps=2)) == (("finished", ""), [])
    assert run(graph(end, max_steps=1)) == (("failed", "limit"), [])
    needs = task("a", operator="end", inputs=[read("none", required=True)])
    assert run(graph(needs)) == (("failed", "task"), [])


@pytest.mark.parametrize("operator", ["search", "function_calling", "function_calling_raw"])
def test_an_operator_without_a_backend_fails_its_task(operator):
    bare = graph(task("a", operator=operator))
    outcome = first(bare)
    assert isinstance(outcome, Moved)
    assert operator in str(outcome.state.error)
    assert isinstance(outcome.state.error, StepError)
    caught = graph(
        task("a", operator=operator), task("b"), steps=[edge("a", fallback="b"), edge("b")]
    )
    assert run(caught)[0] == DONE


@pytest.mark.parametrize("fallback", ["b", "_end", None])
def test_a_failed_task_goes_to_its_fallback_and_its_step_counts(fallback):
    values = graph(
        task("a"),
        task("b", "again"),
        steps=[edge("a", "a", fallback=fallback), edge("b")],
        memory={"x": "old"},
        max_steps=3,
    )
    outcome, asked = run(values, None, "new")
    if fallback == "b":
        assert (outcome, len(asked)) == (("finished", "new"), 2)
    else:
        assert outcome == (("finished", "old") if fallback else ("failed", "model"))
        assert len(asked) == 1


def test_a_fallback_to_itself_tries_again_until_max_steps():
    values = graph(task("a"), steps=[edge("a", fallback="a")], max_steps=4)
    assert run(values, None, None, "third") == (("finished", "third"), [[("user", "Say it.")]] * 3)
    assert run(values, None)[0] == ("failed", "limit")


def test_a_required_input_that_is_absent_fails_the_task_and_names_it():
    outcome = first(graph(task("a", inputs=[read("topic", required=True)])))
    assert "requires the input 'topic'" in str(outcome.state.error)


def test_inputs_are_read_in_order_and_what_was_popped_before_a_failure_is_gone():
    inputs = [read("p", "pop"), read("n", "size", "p"), read("none", required=True)]
    values = graph(
        task("a", inputs=inputs),
        task("b", "{n} {p}", inputs=[read("n", "size", "p"), read("p", "peek", index=0)]),
        steps=[edge("a", fallback="b"), edge("b")],
        memory={"p": ["one", "two", "three"]},
    )
    assert prompts(run(values)[1]) == ["2 one"]


def test_what_a_failed_generation_popped_is_gone():
    values = graph(
        task("a", "{p}", inputs=[read("p", "pop")]),
        steps=[edge("a", fallback="a")],
        memory={"p": ["one", "two"]},
    )
    assert prompts(run(values, None, "A.")[1]) == ["two", "one"]


def test_of_two_inputs_with_one_name_the_later_counts():
    inputs = [read("p", "string", "first"), read("p", "string", "second")]
    assert prompts(run(graph(task("a", "{p}", inputs=inputs)))[1]) == ["second"]


def test_outputs_are_stored_in_order_and_a_value_may_be_literal():
    outputs = [
        WRITE_X,
        {"type": "push", "key": "x", "value": "42"},
        PUSH_X,
        {"type": "write", "key": "x", "value": "{{x}}"},
    ]
    returned = {"input": [{"type": "read", "key": "x"}, ALL_X], "to_json": True}
    assert run(graph(task("a", outputs=outputs), returned=returned), "said")[0] == (
        "finished",
        '["{{x}}","42 \\nsaid \\n"]',
    )


@pytest.mark.parametrize(
    "said",
    [
        "42",
        "1.0",
        '{"b":1,"a":2}',
        '"x"',
        "null",
        "[1, 2]",
        "  text \n",
        "{{x}} {x}",
        "İ🙂",
        "9" * 5000,
    ],
)
def test_what_a_model_said_stays_verbatim(said):
    values = graph(
        task("a"),
        task("b", "{{x}}", inputs=[read("x")], outputs=[]),
        steps=[edge("a", "b"), edge("b")],
    )
    outcome, asked = run(values, said, "unused")
    assert outcome == ("finished", said)
    assert prompts(asked)[1] == said


@pytest.mark.parametrize(
    ("condition", "path"),
    [
        (when("Equal", "A."), "yes"),
        (when("Equal", "B."), "_end"),
        (when("Equal", "B.", "no"), "no"),
        (when("NotEqual", "B."), "yes"),
        (when("Contains", "A"), "yes"),
        (when("NotContains", "A", "no"), "no"),
        (when("GreaterThan", "1", "no", type="size", key="l"), "yes"),
        (when("LessThan", "2", "no", type="size", key="l"), "no"),
        (when("GreaterThanOrEqual", "2", "no", type="size", key="l"), "yes"),
        (when("LessThanOrEqual", "1.5", "no", type="string", key="1.50"), "yes"),
        (when("Equal", "", "no", type="read", key="never"), "yes"),
        (when("Equal", "two", "no", type="pop", key="l"), "yes"),
        (when("Equal", "", "no", type="input"), "yes"),
        (when("Equal", "one \ntwo \n", "no", type="get_all", key="l"), "yes"),
        (when("Equal", "two", "no", type="peek", key="l", index=1), "yes"),
        (when("HaveSimilar", "A.", "no"), "fallback"),
        (when("GreaterThan", "1", "no"), "fallback"),
    ],
)
def test_a_condition_decides_where_to_go(condition, path):
    values = graph(
        task("a"),
        *(task(name, name) for name in ("yes", "no", "fallback")),
        steps=[
            edge("a", "yes", condition=condition, fallback="fallback"),
            *(edge(name) for name in ("yes", "no", "fallback")),
        ],
        memory={"l": ["one", "two"]},
    )
    asked = prompts(run(values)[1])
    assert asked[1:] == ([] if path == "_end" else [path])


def test_a_condition_pops_for_good():
    values = graph(
        task("a", "{n}", inputs=[read("n", "size", "l")]),
        steps=[edge("a", condition=when("Equal", "one", "a", type="pop", key="l"))],
        memory={"l": ["one", "two", "three"]},
    )
    assert prompts(run(values)[1]) == ["3", "2", "1"]


def sampled(*inputs, content="Pick", memory=None, **more):
    values = graph(
        task("a", content, operator="sample", inputs=list(inputs), **more),
        memory=memory or {"people": ["Ann", {"name": "Bob"}], "one": ["1"]},
    )
    return lambda seed=0: run(values, seed=seed)


def test_sample_appends_a_random_entry_for_each_input():
    draw = sampled(read("p", "string", "people"), read("o", "string", "one"), content="Of {p}")
    drawn = {draw(seed)[0] for seed in range(40)}
    assert drawn == {
        ("finished", "Of people: Ann: 1"),
        ("finished", 'Of people: {"name":"Bob"}: 1'),
    }
    assert draw(3) == draw(3)


def test_each_step_of_a_run_draws_anew():
    values = graph(
        task("a", "", operator="sample", inputs=[read("p", "string", "l")], outputs=[PUSH_X]),
        steps=[edge("a", condition=when("GreaterThan", "30", "a", type="size"))],
        memory={"l": ["1", "2"]},
        returned={"input": ALL_X},
        max_steps=50,
    )
    text = run(values)[0][1]
    assert ": 1 \n" in text
    assert ": 2 \n" in text


def test_sample_without_inputs_gives_its_last_message():
    assert sampled(content="{x}")()[0] == ("finished", "{x}")
    assert sampled(messages=[])()[0] == ("finished", "")


@pytest.mark.parametrize(
    "part",
    [
        read("p", "string", "nobody"),
        read("p", "get_all", "people"),
        read("p", "read", "never"),
        read("p", "get_all", "never"),
    ],
    ids=["no such list", "a list itself", "absent", "absent list"],
)
def test_sample_fails_without_the_name_of_a_list_with_entries(part):
    assert sampled(part)()[0] == ("failed", "task")


def test_sample_from_an_emptied_list_fails():
    draw = sampled(read("o", "pop", "one"), read("p", "string", "one"))
    assert draw()[0] == ("failed", "task")


def test_insert_and_have_similar_tell_when_a_model_repeats_itself():
    said = "This is a sentence that is long enough to be kept."
    insert = {"type": "insert", "key": "", "value": "__result"}
    values = graph(
        task("a", outputs=[insert, WRITE_X]),
        steps=[edge("a", condition=when("HaveSimilar", said, "a"))],
    )
    outcome, asked = run(values, "Something else, which is no shorter than that.", said)
    assert (outcome, len(asked)) == (("finished", said), 2)


def test_a_schema_that_is_none_fails_the_task():
    values = graph(task("a", schema=5), task("b"), steps=[edge("a", fallback="b"), edge("b")])
    assert run(values)[0] == DONE


def test_a_task_without_messages_fails():
    assert "no message" in str(first(graph(task("a", messages=[]))).state.error)


def test_a_long_loop_without_a_model_takes_one_move_at_a_time():
    workflow = Workflow.parse(
        graph(task("a", operator="end"), steps=[edge("a", "a")], max_steps=10**9)
    )
    state = ExecutionState.start(workflow)
    for count in itertools.takewhile(lambda n: n < 1000, itertools.count(1)):
        outcome = advance(workflow, state)
        assert isinstance(outcome, Moved)
        state = outcome.state
        assert state.steps_done == count


def test_the_return_value_is_read_once_the_run_is_done():
    assert first(graph(memory={"x": "X"})) == Finished("X")


BIG = "a" * 1000


def returning(**more):
    values = graph(
        task("a", operator="end"), returned={"input": {"type": "read", "key": "x"}} | more
    )
    return Workflow.parse(values | {"external_memory": {"x": "a", "l": [BIG * 10_000]}})


@pytest.mark.parametrize(
    "workflow",
    [
        returning(post_process=[{"process_type": "replace", "lhs": "a", "rhs": BIG}] * 4),
        returning(post_process=[{"process_type": "replace", "lhs": "", "rhs": BIG}] * 4),
        returning(input=[{"type": "get_all", "key": "l"}] * 300),
    ],
    ids=["replace", "replace nothing", "many inputs"],
)
def test_a_returned_text_that_would_take_all_memory_fails_the_run(workflow):
    outcome = advance(workflow, ExecutionState.start(workflow))
    while isinstance(outcome, Moved):
        outcome = advance(workflow, outcome.state)
    assert isinstance(outcome, Failed)
    assert "exceeds" in str(outcome.error)


def test_inputs_that_no_message_uses_are_not_rendered():
    inputs = [{"name": f"i{n}", "value": {"type": "get_all", "key": "l"}} for n in range(300)]
    values = graph(task("a", "{i0}", inputs=inputs))
    workflow = Workflow.parse(values | {"external_memory": {"l": ["b" * 10_000_000]}})
    outcome = advance(workflow, ExecutionState.start(workflow))
    assert isinstance(outcome, NextCall)
    assert len(outcome.request.messages[0].content) == 10_000_002


def test_a_run_stores_only_so_much(monkeypatch):
    monkeypatch.setattr("dria_magpie.workflow.memory.MOST_WRITTEN", 100)
    outputs = [{"type": "push", "key": "l", "value": "x" * 30}]
    values = graph(
        task("a", "?", outputs=outputs),
        steps=[{"source": "a", "target": "a"}],
        returned={"input": {"type": "size", "key": "l"}},
    )
    workflow = Workflow.parse(values)
    state = ExecutionState.start(workflow)
    for _ in range(4):
        outcome = advance(workflow, state)
        assert isinstance(outcome, NextCall)
        state = outcome.state.with_output(workflow, "said")
    assert "has stored more than 100 characters" in str(state.error)
