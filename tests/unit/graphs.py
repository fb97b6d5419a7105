"""Strategies that give random graphs, and the loop that runs one through the interpreter."""

from __future__ import annotations

import json
import random

from hypothesis import strategies as st

from dria_magpie.errors import EngineError, LimitError
from dria_magpie.workflow import ExecutionState, Failed, Finished, Moved, NextCall, advance

IDS = ["a", "b", "c", "__end", "nowhere"]
KEYS = ["k", "l", "m"]
NAMES = ["x", "y", "xx", "k"]
EXPRESSIONS = [
    "Equal",
    "NotEqual",
    "Contains",
    "NotContains",
    "GreaterThan",
    "LessThan",
    "GreaterThanOrEqual",
    "LessThanOrEqual",
    "HaveSimilar",
]
LONG = "A text of more than twenty-five characters. "
TEXTS = [
    "",
    "42",
    '"x"',
    '{"b":1,"a":2}',
    "{{x}}",
    "{y}",
    "k",
    "1e3",
    "inf",
    " 7",
    "\u0131nf",
    "Çığ İ ß",
    "null",
    "a\nb ",
    "{",
    "}}",
    LONG,
    LONG * 7,
]
INPUTS = ["input", "read", "pop", "peek", "get_all", "size", "string"]
OPERATORS = ["generation"] * 6 + ["sample", "sample", "end", "search", "function_calling"]
CHANGES = ["replace", "append", "prepend", "trim", "trim_start", "trim_end", "to_lower", "to_upper"]
CONTENTS = ["{{x}}", "{y}", "{{{xx}}}", "{{k}}", "{unknown}", "{", "}", " Hi ", "{{", "ü"]


class Maker:
    """Makes a graph by a seed; drawing each part from Hypothesis takes 20 times longer."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.of = self.draw.choice

    def some(self, make, most):
        return [make() for _ in range(self.draw.randint(0, most))]

    def maybe(self, **makers):
        """Give a JSON object of which every field may be absent or null."""
        chosen = {name: self.of([make, make, None, ...]) for name, make in makers.items()}
        return {k: make and make() for k, make in chosen.items() if make is not ...}

    def text(self):
        return self.of(TEXTS)

    def entry(self):
        return self.of([self.text, self.text, self.object])()

    def object(self):
        return {self.of(["b", "a", "ç"]): self.of([self.text(), 7, None]) for _ in range(2)}

    def value(self):
        key = self.of([*KEYS, *KEYS, self.text()])
        return {
            "type": self.of(INPUTS),
            "key": key,
            **self.maybe(index=lambda: self.of([-1, 1, 2])),
        }

    def input(self):
        return {
            "name": self.of(NAMES),
            "value": self.value(),
            "required": self.of([False, False, False, True]),
        }

    def output(self):
        return {
            "type": self.of(["write", "push", "push", "insert"]),
            "key": self.of(KEYS),
            "value": self.of(["__result", "__result", self.text()]),
        }

    def message(self):
        if self.of([True, False, False, False]):
            return {"role": "history", "content": self.of(["{{x}}", "{y}", "{{k}}"])}
        content = "".join(self.some(lambda: self.of(CONTENTS), 4))
        return {
            "role": self.of(["user", "user", "system", "assistant", "tool"]),
            "content": content,
        }

    def task(self, task_id):
        return {
            "id": task_id,
            "name": "Task",
            "description": "",
            "messages": self.some(self.message, 3),
            "operator": self.of(OPERATORS),
            **self.maybe(
                inputs=lambda: self.some(self.input, 3), outputs=lambda: self.some(self.output, 3)
            ),
        }

    def condition(self):
        return {
            "input": self.value(),
            "expected": self.of(["0", "1", "2", "3", self.text()]),
            "expression": self.of(EXPRESSIONS),
            "target_if_not": self.of(IDS),
        }

    def step(self, source):
        return {
            "source": source,
            "target": self.of(IDS),
            **self.maybe(condition=self.condition, fallback=lambda: self.of(IDS)),
        }

    def change(self):
        return {
            "process_type": self.of(CHANGES),
            **self.maybe(lhs=lambda: self.text() or "x", rhs=self.text),
        }

    def returned(self):
        return {
            "input": self.of([self.value, lambda: self.some(self.value, 3)])(),
            **self.maybe(
                to_json=lambda: self.of([True, False]),
                post_process=lambda: self.some(self.change, 3),
            ),
        }

    def memory(self):
        makers = [self.text, self.object, lambda: self.some(self.entry, 4)]
        return {key: self.of(makers)() for key in self.some(lambda: self.of([*KEYS, "__input"]), 4)}

    def graph(self):
        steps = [
            self.step(s) for s in [*self.draw.sample("abc", 3), *self.some(lambda: self.of(IDS), 2)]
        ]
        tasks = [self.task(s) for s in [*self.draw.sample("abc", 3), *self.some(lambda: "a", 1)]]
        return {
            "config": {
                "max_steps": self.of([0, 1, 2, 3, 4, 8, 8, 8, 8, 8]),
                "max_time": self.of([0, 1, 100, 100, 100, 100, 100, 100, 100, 100]),
            },
            **self.maybe(external_memory=self.memory),
            "tasks": tasks[self.of([0, 0, 0, 0, 0, 0, 1]) :],
            "steps": steps[self.of([0, 0, 0, 0, 0, 0, 0, 1, 5]) :],
            "return_value": self.returned(),
        }


def graphs():
    return st.builds(lambda seed: Maker(seed).graph(), st.integers(0, 2**64))


texts = st.sampled_from(TEXTS)
answers = st.lists(st.none() | texts | texts | st.text(max_size=5), min_size=1, max_size=5)


def strip(graph):
    """Give a graph without its nulls, as the validator wants it."""
    if isinstance(graph, dict):
        return {key: strip(value) for key, value in graph.items() if value is not None}
    return [strip(item) for item in graph] if isinstance(graph, list) else graph


def step(workflow, state, script, asked):
    """Take one step; give the next state, or the outcome."""
    outcome = advance(workflow, state)
    if isinstance(outcome, Moved):
        return outcome.state
    if not isinstance(outcome, NextCall):
        return outcome
    answer = script[len(asked) % len(script)]
    asked.append([(message.role, message.content) for message in outcome.request.messages])
    if answer is None:
        return outcome.state.with_failure(workflow, EngineError("the model failed"))
    return outcome.state.with_output(workflow, answer)


MOST_STEPS = 2000


def drive(workflow, script, *, seed=0, state=None, asked=None, reload=False):
    """Run a graph to its end: what came out, and every prompt.

    A damaged graph may have any number of steps, so there is an end to it.
    """
    asked = [] if asked is None else asked
    state = state or ExecutionState.start(workflow, seed=seed)
    for _ in range(MOST_STEPS):
        if reload:
            state = ExecutionState.from_dict(json.loads(json.dumps(state.to_dict())))
        state = step(workflow, state, script, asked)
        if not isinstance(state, ExecutionState):
            return summary(state), asked
    return ("unfinished", None), asked


def summary(outcome):
    match outcome:
        case Finished(text):
            return "finished", text
        case Failed(LimitError()):
            return "failed", "limit"
        case Failed(EngineError()):
            return "failed", "model"
        case Failed():
            return "failed", "task"
