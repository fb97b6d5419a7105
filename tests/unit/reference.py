"""A second executor of the workflow format, to compare with: one loop, written from the format.

It takes a graph as plain JSON, keeps its memory in mutable dicts, and shares no code with the
interpreter. Only the drawing of `sample` is handed in.
"""

# ruff: noqa: C901, PLR0912 - to be read from top to bottom beside the format, not to be reused
from __future__ import annotations

import json
import math
import re
from collections import Counter

ABSENT = object()


class TaskFailedError(Exception):
    pass


class ModelFailedError(Exception):
    pass


class Reference:
    def __init__(self, graph, ask, draw):
        self.graph = graph
        self.ask = ask
        self.draw = draw
        self.cache = {}
        self.lists = {}
        self.files = []
        self.steps = 0

    def run(self):
        """Give ("finished", text) or ("failed", kind of failure)."""
        for key, value in (self.graph.get("external_memory") or {}).items():
            if isinstance(value, list):
                for item in value:
                    self.lists.setdefault(key, []).append(item)
            else:
                self.cache[key] = value
        steps = self.graph["steps"]
        current = steps[0] if steps else None
        config = self.graph["config"]
        if config["max_time"] == 0:
            return "failed", "limit"
        while self.steps < config["max_steps"]:
            if current is None or current["source"] == "__end":
                break
            tasks = [t for t in self.graph["tasks"] if t["id"] == current["source"]]
            if not tasks:
                return "failed", "task"
            try:
                self.run_task(tasks[0])
                target = self.choose(current)
            except (TaskFailedError, ModelFailedError) as failure:
                if current.get("fallback") is None:
                    return "failed", "model" if isinstance(failure, ModelFailedError) else "task"
                target = current["fallback"]
            starting = [s for s in steps if s["source"] == target]
            current = starting[0] if starting else None
            self.steps += 1
        if self.steps >= config["max_steps"]:
            return "failed", "limit"
        return "finished", self.returned()

    def choose(self, step):
        condition = step.get("condition")
        if condition is None:
            return step["target"]
        left = show(self.read(condition["input"]))
        right = condition["expected"]
        kind = condition["expression"]
        if kind == "Equal":
            met = left == right
        elif kind == "NotEqual":
            met = left != right
        elif kind == "Contains":
            met = right in left
        elif kind == "NotContains":
            met = right not in left
        elif kind == "HaveSimilar":
            if not self.files:
                raise TaskFailedError
            met = any(likeness(right, chunk) > 0.95 for chunk in self.files)
        else:
            a, b = number(left), number(right)
            met = {
                "GreaterThan": a > b,
                "LessThan": a < b,
                "GreaterThanOrEqual": a >= b,
                "LessThanOrEqual": a <= b,
            }[kind]
        return step["target"] if met else condition["target_if_not"]

    def read(self, value):
        kind, key = value["type"], value["key"]
        if kind == "input":
            return self.cache.get("__input", ABSENT)
        if kind == "read":
            return self.cache.get(key, ABSENT)
        if kind == "string":
            return key
        if kind == "size":
            return str(len(self.lists.get(key, [])))
        if kind == "get_all":
            return list(self.lists[key]) if key in self.lists else ABSENT
        entries = self.lists.get(key, [])
        if kind == "pop":
            return entries.pop() if entries else ABSENT
        index = value.get("index") or 0
        return entries[index] if 0 <= index < len(entries) else ABSENT

    def run_task(self, task):
        values = {}
        for part in task.get("inputs") or []:
            value = self.read(part["value"])
            if value is ABSENT and part.get("required") is not False:
                raise TaskFailedError
            values[part["name"]] = value
        kind = task["operator"]
        if kind == "end":
            return
        messages = self.messages(task, values)
        if kind == "generation":
            if not messages:
                raise TaskFailedError
            result = self.ask(messages)
        elif kind == "sample":
            result = messages[-1][1] if messages else ""
            draw = self.draw(self.steps)
            for value in values.values():
                if isinstance(value, list) and value:
                    raise TaskFailedError
                entries = self.lists.get(show(value))
                if not entries:
                    raise TaskFailedError
                result += ": " + show(draw(entries))
        else:
            raise TaskFailedError
        for output in task.get("outputs") or []:
            data = result if output["value"] == "__result" else output["value"]
            if output["type"] == "write":
                self.cache[output["key"]] = data
            elif output["type"] == "push":
                self.lists.setdefault(output["key"], []).append(data)
            else:
                for start in range(0, len(data), 250):
                    if len(data[start : start + 250]) >= 25:
                        self.files.append(data[start : start + 250])

    def messages(self, task, values):
        filled = []
        templates = task.get("messages") or []
        for position, message in enumerate(templates):
            role = message["role"]
            if role == "history":
                value = values.get(message["content"].replace("{", "").replace("}", ""), ABSENT)
                said = value if isinstance(value, list) else [value] * (value not in (ABSENT, ""))
                after = templates[position + 1 : position + 2]
                turn = "assistant" if after and after[0]["role"] == "user" else "user"
                spread = []
                for entry in reversed(said):
                    spread.insert(0, (turn, show(entry)))
                    turn = "user" if turn == "assistant" else "assistant"
                filled += spread
            else:
                known = role if role in ("system", "user", "assistant") else "user"
                filled.append((known, substitute(message["content"], values)))
        return filled

    def returned(self):
        wanted = self.graph["return_value"]
        value = wanted["input"]
        if isinstance(value, list):
            got = [show(self.read(part)) for part in value]
        else:
            got = self.read(value)
        if wanted.get("to_json") and isinstance(got, list):
            return json.dumps(
                [show(item) for item in got], ensure_ascii=False, separators=(",", ":")
            )
        text = show(got)
        for change in wanted.get("post_process") or []:
            kind, lhs, rhs = change["process_type"], change.get("lhs"), change.get("rhs")
            if kind == "replace" and lhs is not None and rhs is not None:
                text = text.replace(lhs, rhs)
            elif kind == "append" and rhs is not None:
                text += rhs
            elif kind == "prepend" and lhs is not None:
                text = lhs + text
            elif kind == "to_lower":
                text = text.lower()
            elif kind == "to_upper":
                text = text.upper()
            elif kind == "trim":
                text = text.strip()
            elif kind == "trim_start":
                text = text.lstrip()
            elif kind == "trim_end":
                text = text.rstrip()
        return text


def show(value):
    if value is ABSENT:
        return ""
    if isinstance(value, list):
        return "".join(show(item) + " \n" for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return value


def substitute(text, values):
    """Walk over the text once: at each place the double form first, then the single one."""
    out, at = [], 0
    while at < len(text):
        for name, value in values.items():
            for form in ("{{" + name + "}}", "{" + name + "}"):
                if text.startswith(form, at):
                    break
            else:
                continue
            out.append(show(value))
            at += len(form)
            break
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def number(text):
    """Read what Rust's f64 reads."""
    if re.search(r"[^0-9a-zA-Z.+-]", text):
        raise TaskFailedError
    try:
        return float(text)
    except ValueError:
        raise TaskFailedError from None


def likeness(left, right):
    a, b = grams(left), grams(right)
    dot = sum(a[gram] * b[gram] for gram in a)
    return dot / (math.hypot(*a.values()) * math.hypot(*b.values()))


def grams(text):
    text = "  " + " ".join(text.lower().split()) + "  "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))
