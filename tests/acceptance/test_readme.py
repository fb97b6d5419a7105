"""What README.md and examples/ show, run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

from tests.acceptance.commands import MAGPIE, ROOT, run
from tests.acceptance.gateway_process import SDK_PYTHON
from tests.acceptance.sweep_bench import Running
from tests.integration.endpoint import MisbehavingEndpoint, answer, raw
from tests.ports import find_ports

SMOLLM2 = "smollm2:135m-instruct-q4_1"
RUN_ONE_TASK = """
import asyncio, json
from dria.models import Model, Task
from dria_magpie import MagPie, Sampling
short = Sampling(max_tokens=8)
graph = MagPie().workflow("A", "B", 1, instructor_sampling=short, responder_sampling=short)
task = Task(workflow=graph.model_dump(), models=[Model.GEMMA2_9B_FP16], dataset_id="d")
[result] = asyncio.run(client.execute(task))
print(json.dumps(json.loads(result.result)))
"""
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_two_commands() -> None:
    install, dialogue = blocks("sh")[0].strip().splitlines()
    assert install == "pip install 'dria-magpie[local]'"
    program, *arguments = shlex.split(dialogue)
    assert program == "dria-magpie"
    done = run(MAGPIE, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["dialogue"]) == 6


def test_the_program_of_ten_lines() -> None:
    program, _ = blocks("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 11
    done = run(sys.executable, "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'dialogue': [{'instructor': ")
    assert done.stderr == ""


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_example_of_one_dialogue() -> None:
    done = run(sys.executable, "-W", "error", "examples/dialogue.py")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["dialogue"]) == 6


def test_the_example_of_many_pairs() -> None:
    done = run(sys.executable, "-W", "error", "examples/persona_pairs.py", timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["id"] for row in rows} == {f"row-{i}" for i in range(6)}
    assert all(len(row["dialogue"]) == 4 and row["tokens"] for row in rows)
    assert "dialogues" in done.stderr


def test_the_example_of_self_synthesis() -> None:
    done = run(sys.executable, "-W", "error", "examples/self_synthesis.py", "2")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(row["conversation"]) for row in rows] == [4, 4]
    assert {row["system_prompt_key"] for row in rows} <= {"science", "cooking"}


def test_rows_from_nothing(tmp_path: Path) -> None:
    program, *arguments = shlex.split(blocks("sh")[2])
    assert program == "dria-magpie"
    few = ["2" if argument == "20" else argument for argument in arguments]
    done = run(MAGPIE, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    roles = [message["role"] for row in rows for message in row["conversation"]]
    assert roles == ["user", "assistant", "user", "assistant"] * 2
    assert all(m["content"].strip() for row in rows for m in row["conversation"])
    again = run(MAGPIE, *few, cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_the_example_of_a_sweep_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    for rows, made in ((2, 2), (3, 1)):
        done = run(sys.executable, "-W", "error", "examples/sweep.py", str(tmp_path), str(rows))
        assert done.returncode == 0, done.stderr
        *ended, ending, exported = done.stdout.splitlines()
        assert len(ended) == made
        assert ending == "complete"
        assert exported.startswith(f"{rows} dialogues in ")


def test_the_commands_of_a_sweep(tmp_path: Path) -> None:
    recipe = (ROOT / "workflows" / "persona_sweep.toml").read_text("utf-8")
    (tmp_path / "workflows").mkdir()
    shutil.copy(ROOT / "workflows" / "personas.txt", tmp_path / "workflows")
    short = re.sub("^rows = .*", "rows = 2", recipe, flags=re.MULTILINE)
    (tmp_path / "workflows" / "persona_sweep.toml").write_text(short)
    for command in blocks("sh")[1].strip().splitlines():
        program, *arguments = shlex.split(command)
        assert program == "dria-magpie"
        done = run(MAGPIE, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    rows = (tmp_path / "data" / "dialogues.jsonl").read_text("utf-8").splitlines()
    assert [len(json.loads(row)["messages"]) % 2 for row in rows] == [0, 0]
    assert (tmp_path / "data" / "README.md").exists()


def test_the_commands_of_a_network(tmp_path: Path) -> None:
    port = find_ports()
    text = blocks("sh")[3].replace("4222", str(port)).replace("init net", f"init net --port {port}")
    commands = [line for line in text.strip().splitlines() if not line.startswith("#")]
    assert len(commands) == 6
    started: list[Running] = []

    def start(command: str, **more: str) -> Running:
        program, *arguments = shlex.split(command)
        assert program == "dria-magpie"
        err = tmp_path / f"err-{len(started)}"
        started.append(Running([MAGPIE, *arguments], err, cwd=tmp_path, **more))
        return started[-1]

    init, invite, up, *nodes, dialogue = commands
    try:
        for command in (init, invite):
            assert start(command).wait() == 0, started[-1].stderr
        [(key, up)] = re.findall(r'^DRIA_STORE_KEY="(.*?)" (.*)', up)
        network = start(up, DRIA_STORE_KEY=key)
        network.wait_until(lambda: "ready: " in network.stderr)
        for command in nodes:
            start(command)
        network.wait_until(lambda: network.stderr.count('"node_came"') == 2)
        _, *arguments = shlex.split(dialogue)
        done = run(MAGPIE, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["dialogue"]) == 6
        for running in reversed(started[2:]):
            running.send(signal.SIGTERM)
            assert running.wait() == 130, running.stderr
    finally:
        for running in started:
            running.kill()


def test_the_gateway_and_the_line_in_a_program(tmp_path: Path) -> None:
    create, serve = (shlex.split(line) for line in blocks("sh")[4].strip().splitlines())
    _, connecting = blocks("python")
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    port = find_ports()
    # The embedded model stands in for an endpoint.
    at = serve.index("--endpoint")
    del serve[at : at + 2]
    serve = [word.replace("NAME-AT-THE-ENDPOINT", SMOLLM2) for word in serve]
    made = Running([MAGPIE, *create[1:]], tmp_path / "key-err", tmp_path / "key", **home)
    assert made.wait() == 0, made.stderr
    command = [MAGPIE, *serve[1:], "--listen", f"127.0.0.1:{port}"]
    gateway = Running(command, tmp_path / "gateway-err", **home)
    try:
        gateway.wait_until(lambda: '"gateway_ready"' in gateway.stderr)
        program = connecting.replace("THE KEY", (tmp_path / "key").read_text().strip())
        program = program.replace("8642", str(port)) + RUN_ONE_TASK
        done = Running([str(SDK_PYTHON), "-c", program], tmp_path / "err", tmp_path / "out", **home)
        assert done.wait() == 0, done.stderr
        assert len(json.loads((tmp_path / "out").read_text().splitlines()[-1])) == 2
        gateway.send(signal.SIGTERM)
        assert gateway.wait() == 130, gateway.stderr
    finally:
        gateway.kill()


def test_the_recipe_of_self_synthesis(tmp_path: Path) -> None:
    recipe = (ROOT / "workflows" / "self_synthesis_sweep.toml").read_text("utf-8")
    short = re.sub("^rows = .*", "rows = 3", recipe, flags=re.MULTILINE)
    (tmp_path / "recipe.toml").write_text(short)
    for command in ("sweep recipe.toml -o run", "export run --to parquet -o data/rows.parquet"):
        done = run(MAGPIE, *command.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "3 rows" in done.stderr
    assert "## Columns" in (tmp_path / "data" / "README.md").read_text("utf-8")


async def test_the_example_of_an_endpoint() -> None:
    import asyncio

    async with MisbehavingEndpoint([answer("Why?")]) as endpoint:
        done = await asyncio.to_thread(
            run, sys.executable, "examples/endpoint.py", endpoint.url, DRIA_API_KEY="secret"
        )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert endpoint.calls[0].headers["Authorization"] == "Bearer secret"


DRIA_PAGE = """
import os
import asyncio
from dria_magpie.factory import MagPie
from dria_magpie.client import Dria
from dria_magpie.models import Task, Model

dria = Dria(rpc_token=os.environ["DRIA_RPC_TOKEN"])

async def evaluate():
    magpie = MagPie()
    res = await dria.execute(
        Task(
            workflow=magpie.workflow(
                instructor_persona="A curious scientist",
                responding_persona="An AI assistant",
                num_turns=3
            ).model_dump(),
            models=[Model.GEMMA2_9B_FP16],
        ),
        timeout=60,
    )
    return magpie.parse_result(res)

print(asyncio.run(evaluate()))
"""


async def test_a_program_written_for_dria_runs_where_its_model_is_served() -> None:
    import asyncio

    models = raw(json.dumps({"data": [{"id": "gemma2:9b-instruct-fp16"}]}))
    async with MisbehavingEndpoint([answer("Why?")], models=models) as endpoint:
        done = await asyncio.to_thread(
            run,
            *(sys.executable, "-W", "error", "-c", DRIA_PAGE),
            DRIA_ENDPOINT=endpoint.url,
            DRIA_RPC_TOKEN="token",
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'instructor'") == 3
    assert endpoint.calls[0].headers["Authorization"] == "Bearer token"
    assert done.stderr == ""
