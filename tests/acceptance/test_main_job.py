"""Two personas in, a dialogue out, on the embedded model: what the README promises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import psutil
import pytest

from tests.acceptance.commands import MAGPIE, PERSONAS, ROOT, environment, run

MODEL = "smollm2:135m-instruct-q4_1"
# Tells of each turn on stdout, so that a test knows where the run is.
TELLING = """
import asyncio, sys
from dria_magpie import Dria, MagPie, Task

async def main():
    graph = MagPie().workflow("A curious scientist", "An AI assistant", num_turns=200)
    tell = lambda event: print(len(event.state.turns), flush=True)
    await Dria().execute(Task(workflow=graph), on_turn=tell)

asyncio.run(main())
"""


def test_a_seed_gives_a_whole_dialogue_and_the_same_one_each_time() -> None:
    command = [MAGPIE, "dialogue", *PERSONAS, "--turns", "3", "--seed", "7", "--json"]
    first, second = run(*command), run(*command)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    data = json.loads(first.stdout)
    assert data["model"] == MODEL
    assert [next(iter(item)) for item in data["dialogue"]] == ["instructor", "responder"] * 3
    assert all(text.strip() for item in data["dialogue"] for text in item.values())
    assert second.stdout == first.stdout


def test_thirty_turns_fit_into_the_context() -> None:
    # Shorter messages than the cap would allow: the time of a test is dear, and the cap is known.
    turns = ["--turns", "30", "--seed", "1", "--max-tokens", "32"]
    done = run(MAGPIE, "dialogue", *PERSONAS, *turns, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["dialogue"]) == 60


def test_a_persona_that_outgrows_the_context_is_said_to() -> None:
    # Told by hand, as a command line takes no argument of this size.
    code = f"""
import asyncio
from dria_magpie import ContextLengthError, Dria, MagPie, Task

async def main():
    graph = MagPie().workflow({"A scientist who likes words. "!r} * 3500, "An AI assistant")
    try:
        await Dria().execute(Task(workflow=graph))
    except ContextLengthError as error:
        print(len(error.turns), error)

asyncio.run(main())
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 the prompt is too long")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_a_program_ends_it_leaves_no_process(kind: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", TELLING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "1\n"
    children = psutil.Process(program.pid).children(recursive=True)
    assert children
    program.send_signal(kind)
    program.communicate(timeout=30)
    assert program.returncode != 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_an_interrupt_keeps_what_was_said() -> None:
    command = [MAGPIE, "dialogue", *PERSONAS, "--turns", "200", "--json"]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    )
    process = psutil.Process(program.pid)
    # The embedded model works on the second turn when it has used more time than its start takes.
    while program.poll() is None and not any(
        child.cpu_times().user > 4 for child in process.children(recursive=True)
    ):
        with pytest.raises(psutil.TimeoutExpired):
            process.wait(0.05)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    data = json.loads(out)
    assert program.returncode == 130
    assert data["error"] == "interrupted"
    assert data["dialogue"]
    assert "interrupted" in err
