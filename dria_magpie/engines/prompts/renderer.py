"""Has chat templates, which are foreign code, rendered in a process that can be ended.

One step of a template may take minutes and gigabytes, and nothing in this process could stop it.
So the other process has a bound on its memory, and is killed when a rendering takes too long;
where the system knows no such bound (Windows), there is the one on time alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from dria_magpie.engines.child import Child
from dria_magpie.errors import EngineError

SECONDS = 2.0
MEMORY = 2**30  # bytes, on top of what the process takes before it renders anything
_START_SECONDS = 60.0
_LONGEST = 64 * 2**20  # bytes of an answer, so of some 5 million characters at the least
# What a Python needs to start and to find jinja2; keys and tokens stay here
_ENVIRONMENT = (
    "PATH PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "SYSTEMROOT"
)


class RefusedError(Exception):
    """The template called ``raise_exception``: it does not take these messages."""


class FaultyError(Exception):
    """It is no template, breaks out of its sandbox, or costs too much."""


class Renderer:
    """A process that renders templates, one after the other; any thread may ask it.

    It is started with the first template, ends with this process, and is started again when it
    had to be ended.

    Args:
        seconds: the most that one rendering may take.
        memory: bytes that the process may take for it.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._stopped: dict[str, str] = {}

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """Render a template; this blocks for as long as it takes.

        A template that had to be stopped once is not tried again.

        Raises:
            RefusedError: the template refuses the messages, in its own words.
            FaultyError: it cannot be used.
            EngineError: the process cannot be started.
        """
        line = json.dumps({"template": template, "variables": variables}).encode() + b"\n"
        with self._lock:
            if template in self._stopped:
                raise FaultyError(self._stopped[template])
            answer = self._ask(line)
            if "stopped" in answer:
                self._stopped[template] = answer["stopped"]
                self._end()
        if "text" in answer:
            return answer["text"]
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        raise FaultyError(answer.get("stopped") or answer.get("fault"))

    def close(self) -> None:
        """End the process; the next template starts another."""
        with self._lock:
            self._end()

    def let_go(self) -> None:
        """In a fork of this process: leave the other one to its owner."""
        self._lock = threading.Lock()
        self._end()

    def _ask(self, line: bytes) -> dict[str, str]:
        for last in (False, True):
            child = self._child or self._start()
            try:
                answer: dict[str, str] = json.loads(child.exchange(line, self._seconds, _LONGEST))
            except EOFError:
                # It may have been killed for no fault of this template, which is asked once more
                self._end()
                if last:
                    return {"stopped": "it breaks the process that renders it"}
            except TimeoutError:
                return {"stopped": f"it runs for more than {self._seconds:g} s"}
            except OverflowError:
                return {"stopped": "it makes a text longer than any prompt"}
            except BaseException:  # such as an interrupt: an answer may be on its way
                self._end()
                raise
            else:
                return answer
        raise AssertionError  # pragma: no cover

    def _start(self) -> Child:
        environment = {k: os.environ[k] for k in _ENVIRONMENT.split() if k in os.environ}
        order = {"seconds": 2 * self._seconds + 1, "memory": self._memory}
        try:
            self._child = child = Child(
                "dria_magpie.engines.prompts.sandbox",
                order,
                stderr=subprocess.DEVNULL,
                environment=environment,
            )
            child.exchange(b"", _START_SECONDS, _LONGEST)
        except (OSError, EOFError) as error:
            self._end()
            raise EngineError(
                f"the process that renders chat templates does not start: {error!r}"
            ) from error
        except BaseException:
            self._end()
            raise
        return child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()


_renderer = Renderer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renderer.let_go)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a template in the process that all share; see `Renderer.render`."""
    return _renderer.render(template, variables)
