"""The ``dria`` SDK on a gateway of one's own.

::

    from dria.client import Dria
    from dria_magpie.integrations.dria import use_gateway

    client = use_gateway(Dria(rpc_token=KEY), "http://127.0.0.1:8642")
    results = await client.execute(tasks)
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar
from weakref import WeakSet

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from dria_magpie.errors import InvalidInputError, NetworkError, NoNodeError
from dria_magpie.integrations.asking import AwayError, check_gateway, clean_url, find_served
from dria_magpie.integrations.listening import end_when_deaf
from dria_magpie.integrations.sdk_tasks import check_task, expand

logger = logging.getLogger(__name__)
ClientT = TypeVar("ClientT")

# As often as the SDK tries each call of its own
_ATTEMPTS = 3
_PAUSE = 1.0
# A gateway that was just started answers before its network serves anything.
_STARTING = 30

_guarded: WeakSet[Any] = WeakSet()
# `execute` pushes its tasks by fifties: what was paid for by then is not lost to a second check.
_is_checked: ContextVar[bool] = ContextVar("is_checked", default=False)


def use_gateway(client: ClientT, url: str) -> ClientT:
    """Have a client of the ``dria`` SDK work with a gateway, and say so at once if it cannot.

    From then on `execute` raises what the SDK alone would wait for without an end: `NoNodeError`
    for a task whose models nobody serves, `NetworkError` for a gateway that is not there, goes
    away for longer than the SDK waits for it, or no longer takes the key. It refuses tasks that
    the SDK breaks down at, with `InvalidInputError`. May be called again, with another address. It
    waits for the gateway's answers, at most some seconds, inside of a running loop too.

    Args:
        client: a ``dria.client.Dria``.
        url: the gateway's address, as it tells it when it starts.

    Returns:
        The same client.

    Raises:
        InvalidInputError: no such client, no address, or a key that cannot be sent.
        NetworkError: no gateway answers there, or it does not take the client's key.
    """
    sdk_client = _find_sdk_client(client)
    cleaned = clean_url(url)
    key = _find_key(sdk_client)
    with _plain_errors():
        _wait_for(check_gateway(cleaned, key))
    sdk_client.rpc.base_url = cleaned
    if client not in _guarded:
        _guard(sdk_client)
        _guarded.add(sdk_client)
    logger.info("the SDK's tasks go to %s", cleaned, extra={"action": "gateway_used"})
    return client


def _find_sdk_client(client: object) -> Any:
    """Give the client, of which nothing is typed; the SDK was imported by whoever made it."""
    module = sys.modules.get("dria.client")
    if module is None or not isinstance(client, module.Dria):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise InvalidInputError(
            f"use_gateway takes a client of the dria SDK, a dria.client.Dria, not a {kind}"
        )
    return client


def _find_key(client: Any) -> str:
    key = str(client.rpc.headers["x-api-key"])
    if not key.isprintable() or key != key.strip():
        raise InvalidInputError(
            "the client's key has a space or a line's end at its side, or a control character: "
            "give rpc_token without it"
        )
    return key


def _wait_for(asking: Coroutine[Any, Any, None]) -> None:
    """Run it to its end on a loop of its own, as the caller's may be running."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asking).result()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Raise what the documentation names: `AwayError` is of use in here only."""
    try:
        yield
    except AwayError as error:
        raise NetworkError(*error.args) from error.__cause__


def _guard(client: Any) -> None:
    """Check tasks on both ways into the SDK: `execute`, which datasets take too, and `push`."""
    execute, push = client.execute, client.push

    @wraps(execute)
    async def execute_checked(task: Any, *args: Any, **options: Any) -> Any:
        await _check(client, task if isinstance(task, list) else [task])
        token = _is_checked.set(True)
        try:
            async with end_when_deaf(client):
                return await execute(task, *args, **options)
        finally:
            _is_checked.reset(token)

    @wraps(push)
    async def push_checked(tasks: Any, *args: Any, **options: Any) -> Any:
        if not _is_checked.get():
            await _check(client, tasks)
        return await push(tasks, *args, **options)

    client.execute, client.push = execute_checked, push_checked


async def _check(client: Any, tasks: list[Any]) -> None:
    """Refuse what the SDK would wait for in vain, or break down at.

    Raises:
        InvalidInputError: a task lacks something.
        NetworkError: the gateway does not answer.
        NoNodeError: nobody serves any of a task's models.
    """
    task_type = import_module("dria.models").Task
    if not tasks or not all(isinstance(task, task_type) for task in tasks):
        return  # the SDK itself says clearly what is wrong
    for task in tasks:
        check_task(task)
    with _plain_errors():
        served = await _find_served(client)
    for task in tasks:
        wanted = expand(task.models)
        if not wanted & served:
            raise _tell_unserved(client, sorted(wanted), sorted(served))


async def _find_served(client: Any) -> frozenset[str]:
    """Ask what is served; wait for a gateway that has only just been started."""
    for _ in range(_STARTING):
        served = await _ask(client)
        if served:
            return served
        await asyncio.sleep(_PAUSE)
    return frozenset()


@retry(
    retry=retry_if_exception_type(AwayError),
    stop=stop_after_attempt(_ATTEMPTS),
    wait=wait_fixed(_PAUSE),
    reraise=True,
)
async def _ask(client: Any) -> frozenset[str]:
    return await find_served(client.rpc.base_url, _find_key(client))


def _tell_unserved(client: Any, wanted: list[str], served: list[str]) -> NoNodeError:
    url, some = client.rpc.base_url, wanted[:10]
    asked = ", ".join(some) + (", …" if len(wanted) > len(some) else "")
    if not served:
        return NoNodeError(
            f"the gateway at {url} serves no model yet, so not {asked} either; its log says what "
            "it waits for"
        )
    return NoNodeError(
        f"nobody serves {asked} at {url}, which serves {', '.join(served)}; ask for one of these, "
        f"or give the gateway another name for one: --serve-as {wanted[0]}=MODEL"
    )
