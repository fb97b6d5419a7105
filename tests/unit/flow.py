"""Small graphs for tests, and a way to run them through the interpreter."""

from __future__ import annotations

from dria_magpie.workflow import Workflow
from tests.unit.graphs import drive

READ_X = {"type": "read", "key": "x"}
WRITE_X = {"type": "write", "key": "x", "value": "__result"}
PUSH_X = {"type": "push", "key": "x", "value": "__result"}
ALL_X = {"type": "get_all", "key": "x"}


def user(content):
    return {"role": "user", "content": content}


def task(task_id, content="Say it.", **more):
    given = {"id": task_id, "name": "Task", "description": "", "operator": "generation"}
    return {**given, "messages": [user(content)], "inputs": [], "outputs": [WRITE_X], **more}


def read(name, kind="read", key=None, *, required=False, **more):
    value = {"type": kind, "key": name if key is None else key, **more}
    return {"name": name, "value": value, "required": required}


def edge(source, target="_end", **more):
    return {"source": source, "target": target, **more}


def when(expression, expected, target_if_not="_end", **value):
    return {
        "input": {"type": "read", "key": "x", **value},
        "expected": expected,
        "expression": expression,
        "target_if_not": target_if_not,
    }


def graph(*tasks, steps=None, returned=None, memory=None, **config):
    return {
        "config": {"max_steps": 20, "max_time": 100, **config},
        "external_memory": memory or {},
        "tasks": list(tasks),
        "steps": [edge(t["id"]) for t in tasks] if steps is None else steps,
        "return_value": {"input": READ_X} if returned is None else returned,
    }


def run(values, *answers, **more):
    """Run a graph; give its outcome, as ("finished", text) or ("failed", kind), and the prompts."""
    return drive(Workflow.parse(values), list(answers) or ["A."], **more)


def prompts(asked):
    return [messages[-1][1] for messages in asked]
