"""`use_gateway` on the real ``dria`` SDK."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

import dria_magpie
from dria_magpie.errors import InvalidInputError, NetworkError, NoNodeError
from dria_magpie.integrations import dria as integration
from dria_magpie.integrations import listening
from dria_magpie.integrations.dria import use_gateway
from dria_magpie.integrations.sdk_tasks import _measure, expand
from tests.gateway_stand_in import KEY, StandIn, stand_in
from tests.ports import find_ports

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dria.client import Dria
    from dria.client.client import _check_function_calling_models
    from dria.datasets import DatasetGenerator, DriaDataset
    from dria.db.database import DatasetDB
    from dria.factory import MagPie
    from dria.models import Model, Task
    from dria.request import RPCClient
    from dria.utils.crypto import generate_task_keys

GEMMA = Model.GEMMA2_9B_FP16
ROW = {"instructor_persona": "A chemist", "responding_persona": "A cook", "num_turns": 1}


def make_task(**changed: Any) -> Task:
    workflow = MagPie(**ROW).workflow()
    return Task(**{"workflow": workflow, "models": [GEMMA], "dataset_id": "d", **changed})


class PushedError(Exception):
    """The SDK went on to send its tasks."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Dria:
    """Give a client that sends nothing: what is tested is what comes before."""

    async def push(self: Dria, tasks: list[Task]) -> bool:
        raise PushedError(len(tasks))

    async def initialize(self: Dria) -> None:
        """Poll nothing."""

    monkeypatch.setattr(Dria, "push", push)
    monkeypatch.setattr(Dria, "initialize", initialize)
    # Its constructor takes over what Ctrl-C does, for the whole process.
    monkeypatch.setattr("dria.client.client.signal.signal", lambda *_: None)
    monkeypatch.setattr(integration, "_PAUSE", 0.0)
    monkeypatch.setattr(integration._ask.retry, "wait", wait_none())
    return Dria(rpc_token=KEY)


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    with stand_in(GEMMA.value) as server:
        yield server


def test_a_client_is_pointed_at_the_gateway_and_given_back(client: Dria, gateway: StandIn) -> None:
    assert use_gateway(client, f" {gateway.url}/ ") is client
    assert client.rpc.base_url == gateway.url


async def test_it_works_inside_of_a_running_loop(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(PushedError):
        await client.execute(make_task(), timeout=5)


async def test_a_second_gateway_takes_the_place_of_the_first(
    client: Dria, gateway: StandIn
) -> None:
    with stand_in(Model.LLAMA3_2_1B.value) as second:
        use_gateway(client, gateway.url)
        use_gateway(client, second.url)
        assert client.rpc.base_url == second.url
        second.asked.clear()
        with pytest.raises(NoNodeError, match=r"which serves llama3\.2:1b;"):
            await client.execute(make_task())
        with pytest.raises(PushedError):
            await client.execute(task=[make_task(models=[Model.LLAMA3_2_1B])])
        assert second.asked["/rpc/get_alive_peers"] == 2
    assert gateway.asked["/rpc/get_alive_peers"] == 1


def test_where_no_gateway_is_nothing_is_changed(client: Dria) -> None:
    before = client.rpc.base_url
    with pytest.raises(NetworkError, match=r"nothing answers at .*: start it with dria-") as caught:
        use_gateway(client, f"http://127.0.0.1:{find_ports()}")
    assert type(caught.value) is NetworkError
    assert client.rpc.base_url == before
    assert "execute" not in vars(client)


def test_a_key_that_the_gateway_does_not_know_is_refused(client: Dria, gateway: StandIn) -> None:
    stranger = Dria(rpc_token="another key")
    with pytest.raises(NetworkError, match="dria-magpie gateway key create NAME") as caught:
        use_gateway(stranger, gateway.url)
    assert "another key" not in str(caught.value)


def test_a_key_with_a_newline_is_told_of(client: Dria, gateway: StandIn) -> None:
    with pytest.raises(InvalidInputError, match="a line's end") as caught:
        use_gateway(Dria(rpc_token=f"{KEY}\n"), gateway.url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("other", [object(), None, "http://127.0.0.1:8642", Dria])
def test_what_is_no_client_of_the_sdk_is_refused(gateway: StandIn, other: object) -> None:
    with pytest.raises(InvalidInputError, match=r"a dria\.client\.Dria, not a"):
        use_gateway(other, gateway.url)


def test_the_client_of_this_package_is_not_the_sdks(gateway: StandIn) -> None:
    with pytest.raises(InvalidInputError, match=r"not a dria_magpie\.client\.dria\.Dria"):
        use_gateway(dria_magpie.Dria(), gateway.url)


async def test_a_task_that_nobody_serves_is_refused_before_anything_is_sent(
    client: Dria, gateway: StandIn
) -> None:
    use_gateway(client, gateway.url)
    served, unserved = make_task(), make_task(models=[Model.GPT4O])
    with pytest.raises(NoNodeError) as caught:
        await client.execute([served] * 60 + [unserved])
    assert f"nobody serves gpt-4o at {gateway.url}" in str(caught.value)
    assert f"which serves {GEMMA.value};" in str(caught.value)
    assert "--serve-as gpt-4o=MODEL" in str(caught.value)


async def test_one_served_model_is_enough(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(PushedError):
        await client.execute(make_task(models=[Model.GPT4O, GEMMA]))


@pytest.mark.parametrize("group", [Model.SMALL, Model.OLLAMA])
async def test_a_group_is_served_by_one_of_its_members(
    client: Dria, gateway: StandIn, group: Model
) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(PushedError):
        await client.execute(make_task(models=[group]))


async def test_a_group_of_which_nobody_serves_any_is_refused(
    client: Dria, gateway: StandIn
) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(NoNodeError, match="nobody serves gpt-4-turbo, gpt-4o, gpt-4o-mini, o1"):
        await client.execute(make_task(models=[Model.OPENAI]))


@pytest.mark.parametrize("model", list(Model))
async def test_groups_stand_for_what_the_sdk_takes_them_for(model: Model) -> None:
    task = make_task(models=[model])
    expanded = expand(task.models)
    await _check_function_calling_models([task])
    assert expanded == {getattr(name, "value", name) for name in task.models}


async def test_a_dataset_is_refused_likewise(
    client: Dria, gateway: StandIn, tmp_path: Path
) -> None:
    use_gateway(client, gateway.url)
    database = DatasetDB(str(tmp_path / "d.duckdb"))
    dataset = DriaDataset("d", "d", MagPie.OutputSchema, database)
    with pytest.raises(NoNodeError):
        await DatasetGenerator(dataset, client).generate([ROW], MagPie, Model.GPT4O)
    database.conn.close()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"dataset_id": None}, "no task without a dataset_id"),
        ({"models": []}, "needs models"),
        ({"workflow": {"tasks": []}}, "without external_memory"),
        ({"workflow": {"external_memory": {"a": {1}}}}, "must be JSON"),
        (
            {"workflow": {"external_memory": {"a": "x" * 200_000}}},
            "too long: the SDK sends no more",
        ),
        (
            {"workflow": MagPie(**{**ROW, "responding_persona": "x" * 200_000}).workflow()},
            "too long",
        ),
        ({"workflow": "{}"}, r"not a builtins\.str"),
        ({"workflow": dria_magpie.MagPie().workflow("A", "B")}, r"workflow\.model_dump\(\)"),
    ],
)
async def test_what_the_sdk_breaks_down_at_is_told_of(
    client: Dria, gateway: StandIn, changed: dict[str, Any], told: str
) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(InvalidInputError, match=told):
        await client.execute([make_task(), make_task(**changed)])


async def test_the_graph_of_this_package_is_taken_as_a_dict(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    graph = dria_magpie.MagPie().workflow("A", "B").model_dump()
    with pytest.raises(PushedError):
        await client.execute(make_task(workflow=graph))


@pytest.mark.parametrize("tasks", [[], None, ["no task"], "no task"])
async def test_what_the_sdk_itself_refuses_is_left_to_it(
    client: Dria, gateway: StandIn, tasks: Any
) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(ValueError, match="Task"):
        await client.execute(tasks)


async def test_tasks_that_are_pushed_are_checked_too(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    with pytest.raises(NoNodeError):
        await client.push([make_task(models=[Model.GPT4O])])
    with pytest.raises(PushedError):
        await client.push([make_task()])


async def test_each_execute_asks_once(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    gateway.asked.clear()
    for _ in range(2):
        with pytest.raises(PushedError):
            await client.execute([make_task()] * 3)
    assert gateway.asked == {"/rpc/get_alive_peers": 2}


async def test_a_gateway_that_has_gone_is_told_of_at_the_next_execute(client: Dria) -> None:
    with stand_in(GEMMA.value) as server:
        use_gateway(client, server.url)
    with pytest.raises(NetworkError, match="nothing answers at") as caught:
        await client.execute(make_task())
    assert type(caught.value) is NetworkError


async def test_a_proxy_whose_gateway_is_being_restarted_is_asked_again(
    client: Dria, gateway: StandIn
) -> None:
    use_gateway(client, gateway.url)
    gateway.asked.clear()
    gateway.answers["/rpc/get_alive_peers"] = 502, b"Bad Gateway", {}
    with pytest.raises(NetworkError, match="HTTP 502"):
        await client.execute(make_task())
    assert gateway.asked["/rpc/get_alive_peers"] == 3


async def test_a_revoked_key_is_told_of_at_once(client: Dria, gateway: StandIn) -> None:
    use_gateway(client, gateway.url)
    gateway.asked.clear()
    gateway.answers["/rpc/get_alive_peers"] = 401, b"", {}
    with pytest.raises(NetworkError, match="does not know this key"):
        await client.execute(make_task())
    assert gateway.asked["/rpc/get_alive_peers"] == 1


async def test_a_gateway_whose_network_starts_is_waited_for(
    client: Dria, gateway: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gateway(client, gateway.url)
    gateway.served = []

    async def serve(_: float) -> None:
        gateway.served = [GEMMA.value]

    monkeypatch.setattr(asyncio, "sleep", serve)
    with pytest.raises(PushedError):
        await client.execute(make_task())


async def test_a_gateway_that_never_serves_anything_is_not_waited_for_without_an_end(
    client: Dria, gateway: StandIn
) -> None:
    use_gateway(client, gateway.url)
    gateway.served = []
    with pytest.raises(NoNodeError, match="serves no model yet"):
        await client.execute(make_task())


async def test_no_key_is_logged(
    client: Dria, gateway: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    use_gateway(client, gateway.url)
    with pytest.raises(PushedError):
        await client.execute(make_task())
    assert "gateway_used" in {getattr(record, "action", "") for record in caplog.records}
    assert KEY not in caplog.text


@pytest.mark.parametrize("is_dict", [True, False])
async def test_a_task_is_measured_as_the_sdk_sends_it(
    client: Dria, monkeypatch: pytest.MonkeyPatch, is_dict: bool
) -> None:
    sent: list[bytes] = []

    async def push_content_topic(data: str, content_topic: str) -> bool:
        sent.append(base64.b64decode(data))
        return True

    monkeypatch.setattr(client.rpc, "push_content_topic", push_content_topic)
    workflow = MagPie(**{**ROW, "responding_persona": "Köchin"}).workflow()
    task = make_task(workflow=workflow.model_dump() if is_dict else workflow, nodes=["a" * 40])
    task.private_key, task.public_key = generate_task_keys()
    await client.storage.set_value(f"{task.nodes[0]}:peer_id", task.nodes[0])
    measured = _measure(task)
    await client.task_manager.push_task(task, [GEMMA.value])
    assert [measured] == [len(message) for message in sent]


# --- a gateway that goes while `execute` waits


@pytest.fixture
async def waiting(
    client: Dria,
    gateway: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Dria]:
    """Give a client that listens as the SDK does, only faster, and whose tasks are never sent."""
    monkeypatch.undo()
    monkeypatch.setattr("dria.client.client.signal.signal", lambda *_: None)
    monkeypatch.setattr("dria.client.client.MONITORING_INTERVAL", 0.02)
    monkeypatch.setattr("dria.client.client.FETCH_INTERVAL", 0.05)
    monkeypatch.setattr(RPCClient, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(listening, "_LOOK", 0.1)
    monkeypatch.setattr(integration, "_PAUSE", 0.0)
    monkeypatch.setattr(integration._ask.retry, "wait", wait_none())

    async def push(self: Dria, tasks: list[Task]) -> bool:
        for number, task in enumerate(tasks):
            task.id = f"task{number}"
            await self.storage.set_value(task.id, json.dumps(TASK_DATA))
        return True

    monkeypatch.setattr(Dria, "push", push)
    gateway.answers["/rpc/results"] = 200, b'{"data": {"results": []}}', {}
    made = Dria(rpc_token=KEY)
    yield use_gateway(made, gateway.url)
    await made.run_cleanup(forced=True)
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert "never retrieved" not in caplog.text


TASK_DATA = {"workflow": {"external_memory": {}}, "step_name": ""}
REVOKED = 401, b"", {}
AWAY = 502, b"", {}


async def start(client: Dria, **options: Any) -> asyncio.Task[Any]:
    """Have an `execute` wait, with the SDK's background task at work."""
    running = asyncio.create_task(client.execute(make_task(), **options))
    while not _listens(client):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)
    return running


def _listens(client: Dria) -> bool:
    return client.background_tasks is not None and not client.background_tasks.done()


async def end_listening(client: Dria) -> None:
    await asyncio.wait({client.background_tasks})


@pytest.mark.parametrize("answer", [REVOKED, AWAY])
async def test_who_goes_while_results_are_waited_for_is_told_of(
    waiting: Dria, gateway: StandIn, answer: tuple[int, bytes, dict[str, str]]
) -> None:
    running = await start(waiting)
    gateway.answers["/rpc/results"] = answer
    started = time.monotonic()
    with pytest.raises(NetworkError, match=r"went away, or no longer takes this key") as caught:
        await running
    assert time.monotonic() - started < 3
    assert type(caught.value) is NetworkError
    assert "Error in background tasks" in str(caught.value.__cause__)
    assert KEY not in f"{caught.value}{caught.value.__cause__}"


async def test_a_gateway_that_is_killed_ends_what_waits(waiting: Dria) -> None:
    with stand_in(GEMMA.value) as second:
        second.answers["/rpc/results"] = 200, b'{"data": {"results": []}}', {}
        use_gateway(waiting, second.url)
        running = [await start(waiting) for _ in range(3)]
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(error) for error in ended] == [NetworkError] * 3


async def test_in_api_mode_it_is_told_likewise(waiting: Dria, gateway: StandIn) -> None:
    waiting.set_api_mode(True)
    running = await start(waiting)
    gateway.answers["/rpc/results"] = REVOKED
    with pytest.raises(NetworkError, match="Hand the tasks in again"):
        await running


async def test_a_dataset_ends_with_its_gateway(
    waiting: Dria, gateway: StandIn, tmp_path: Path
) -> None:
    database = DatasetDB(str(tmp_path / "d.duckdb"))
    dataset = DriaDataset("d", "d", MagPie.OutputSchema, database)
    gateway.answers["/rpc/results"] = REVOKED
    with pytest.raises(NetworkError, match="went away"):
        await DatasetGenerator(dataset, waiting).generate([ROW], MagPie, GEMMA)
    database.conn.close()


async def test_what_has_arrived_is_given_out(waiting: Dria, gateway: StandIn) -> None:
    running = await start(waiting)
    gateway.answers["/rpc/results"] = REVOKED
    await end_listening(waiting)
    await waiting.kv.push(":task0", {"result": "told", "model": GEMMA.value})
    assert [result.result for result in await running] == ["told"]
    assert waiting.background_tasks.exception()


async def test_an_execute_that_listens_again_saves_the_first(
    waiting: Dria, gateway: StandIn
) -> None:
    first = await start(waiting, timeout=1)
    gateway.answers["/rpc/results"] = REVOKED
    await end_listening(waiting)
    assert waiting.background_tasks.exception()
    gateway.answers["/rpc/results"] = 200, b'{"data": {"results": []}}', {}
    second = await start(waiting, timeout=1)
    assert await asyncio.gather(first, second) == [[], []]


async def test_after_a_gateway_is_back_its_client_works_again(
    waiting: Dria, gateway: StandIn
) -> None:
    gateway.answers["/rpc/results"] = REVOKED
    with pytest.raises(NetworkError):
        await waiting.execute(make_task())
    gateway.answers["/rpc/results"] = 200, b'{"data": {"results": []}}', {}
    assert await waiting.execute(make_task(), timeout=0.5) == []


async def test_who_cancels_it_gets_it_cancelled(waiting: Dria) -> None:
    running = await start(waiting)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not waiting.background_tasks.done()


async def test_a_deadline_around_it_stays_one(waiting: Dria, gateway: StandIn) -> None:
    gateway.answers["/rpc/results"] = REVOKED
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting.execute(make_task()), 0.05)


async def test_ctrl_c_ends_it_without_an_error(waiting: Dria) -> None:
    running = await start(waiting)
    waiting._signal_handler(2, None)
    assert await running == []
    with pytest.raises(Exception, match="Shutdown event received"):
        await waiting.background_tasks
