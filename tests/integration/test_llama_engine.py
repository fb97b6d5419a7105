"""`LlamaEngine` with the real SmolLM2 in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types

import aiohttp
import psutil
import pytest

from dria_magpie.engines import LlamaEngine, llama_server
from dria_magpie.engines.llama_process import LlamaProcess
from dria_magpie.engines.weights.files import find_weights
from dria_magpie.engines.weights.names import SMOLLM2
from dria_magpie.errors import (
    ContextLengthError,
    DrainedError,
    EndpointError,
    InvalidInputError,
    ModelFileError,
    UnsupportedError,
)
from dria_magpie.models import GenerationRequest, Message, Sampling

WEIGHTS = find_weights(SMOLLM2.name).path


def ask(text: str, system: str = "Be brief.", response_format=None, **sampling):
    return GenerationRequest(
        model=SMOLLM2.name,
        messages=(Message("system", system), Message("user", text)),
        sampling=Sampling(**sampling),
        response_format=response_format,
    )


def small(**options) -> LlamaEngine:
    return LlamaEngine(**{"slots": 1, "context": 256, **options})


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "llama_server" in " ".join(p.cmdline())]


@pytest.fixture(scope="module")
def engine():
    """One engine for many tests, each of which has an event loop of its own."""
    engine = LlamaEngine()
    yield engine
    asyncio.run(engine.aclose())


@pytest.fixture
def only(engine):
    """How many servers there are of others."""
    return len(children())


async def test_answers(engine):
    await engine.start()
    answer = await engine.generate(ask("Name a colour.", seed=1, max_tokens=12))
    assert answer.text.strip()
    assert answer.model == SMOLLM2.name
    assert answer.prompt_tokens > 10
    assert 0 < answer.completion_tokens <= 12
    assert engine.models == (SMOLLM2.name,)
    assert engine.slots == 4
    assert engine.address == str(WEIGHTS)
    assert repr(engine) == "LlamaEngine('smollm2:135m-instruct-q4_1')"


async def test_messages_have_a_cap(engine):
    answer = await engine.generate(
        ask("Write a very long story about the sea.", system="Write at length.", seed=3)
    )
    assert answer.completion_tokens <= 100


async def test_repetition_penalty_is_understood(engine):
    plain, penalised = [
        await engine.generate(ask("Repeat: dog dog dog dog dog dog", temperature=0, **more))
        for more in ({"max_tokens": 24}, {"max_tokens": 24, "repetition_penalty": 5.0})
    ]
    assert plain.text != penalised.text


async def test_answers_keep_to_a_schema(engine):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
    }
    given = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = await engine.generate(ask("Name a city.", response_format=given, seed=2))
    assert list(json.loads(answer.text)) == ["city"]


async def test_a_prompt_that_does_not_fit(engine):
    with pytest.raises(ContextLengthError, match="8192"):
        await engine.generate(ask("word " * 9000))


async def test_alternating_speakers_find_their_prompts_in_the_cache():
    engine = small(context=1024)
    personas = ["You are a chemist. " * 20, "You are a cook. " * 20]
    try:
        answers = [
            await engine.generate(ask("Go on. " * turn, system=personas[turn % 2], max_tokens=2))
            for turn in range(1, 7)
        ]
    finally:
        await engine.aclose()
    late = answers[2:]
    assert sum(a.cached_tokens for a in late) >= 0.75 * sum(a.prompt_tokens for a in late)


async def test_an_answer_that_reaches_the_end_of_the_context():
    engine = small()
    try:
        story = "Go on with this story: once upon a time " + "there was a king and " * 30
        answer = await engine.generate(ask(story, max_tokens=200, seed=1))
    finally:
        await engine.aclose()
    assert answer.finish_reason == "length"
    assert answer.prompt_tokens + answer.completion_tokens <= 256


@pytest.mark.parametrize(
    ("prompt", "generated"),
    [("word " * 6000, False), ("Write a very long story.", True)],
    ids=["while the prompt is processed", "while tokens are generated"],
)
async def test_cancelled_calls_free_their_slots(engine, prompt, generated):
    await engine.start()
    other = asyncio.create_task(
        engine.generate(ask("Count from 1 to 500.", max_tokens=2000, temperature=0))
    )
    calls = [
        asyncio.create_task(engine.generate(ask(f"{i} {prompt}", max_tokens=1000)))
        for i in range(3)
    ]
    assert await busy_slots(engine, lambda busy: busy == 4) == 4
    if generated:
        await engine_has_generated(engine)
    for call in calls:
        call.cancel()
    spent = processor_seconds(engine)
    await engine.generate(ask("Hi.", max_tokens=1))
    assert await busy_slots(engine, lambda busy: busy <= 1) <= 1
    # Two seconds of two cores, whatever else this machine does
    assert processor_seconds(engine) - spent < 4
    assert not other.done()
    other.cancel()
    await asyncio.gather(*calls, other, return_exceptions=True)
    assert await busy_slots(engine, lambda busy: busy == 0) == 0


def processor_seconds(engine) -> float:
    times = psutil.Process(engine._process.child._process.pid).cpu_times()
    return times.user + times.system


async def server_says(engine):
    client = engine._process._client
    headers = {"Authorization": f"Bearer {client._connection._api_key}"}
    url = client._url.removesuffix("/v1") + "/slots"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return await response.json()


async def busy_slots(engine, wanted, seconds=20.0):
    end = time.monotonic() + seconds
    while True:
        busy = sum(slot["is_processing"] for slot in await server_says(engine))
        if wanted(busy) or time.monotonic() > end:
            return busy
        await asyncio.sleep(0.02)


async def engine_has_generated(engine):
    """Each request for the slots is answered between two batches, of one token each here."""
    for _ in range(20):
        await server_says(engine)


async def test_starts_at_once_make_one_process(engine, only):
    mine = small()
    threads = threading.active_count()
    files = psutil.Process().num_fds()
    await asyncio.gather(*(mine.start() for _ in range(3)))
    assert len(children()) == only + 1
    assert threading.active_count() == threads
    await mine.aclose()
    await mine.aclose()
    assert len(children()) == only
    assert psutil.Process().num_fds() == files
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    await mine.start()
    assert (await mine.generate(ask("Hi.", max_tokens=2))).completion_tokens
    await mine.aclose()


async def test_a_start_that_is_cancelled_leaves_no_process(engine, only):
    mine = small()
    files = psutil.Process().num_fds()
    start = asyncio.create_task(mine.start())
    while len(children()) == only:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert len(children()) == only
    assert psutil.Process().num_fds() == files


def kill(process: LlamaProcess) -> None:
    os.kill(process.child._process.pid, signal.SIGKILL)


async def test_calls_are_made_again_when_the_process_dies(engine, only):
    mine = small(slots=3)
    await mine.start()
    first = mine._process
    calls = [
        asyncio.create_task(mine.generate(ask(f"{i}. Tell a story.", max_tokens=60)))
        for i in range(3)
    ]
    assert await busy_slots(mine, lambda busy: busy == 3) == 3
    kill(first)
    answers = await asyncio.gather(*calls)
    assert [answer.attempts for answer in answers] == [2, 2, 2]
    assert len(children()) == only + 1
    kill(mine._process)
    assert await mine._process.child.ended(5)
    assert (await mine.generate(ask("Hi.", max_tokens=2))).attempts == 1
    await mine.aclose()


async def test_a_process_that_dies_every_time(monkeypatch):
    generate = LlamaProcess.generate

    async def die(process, request):
        kill(process)
        return await generate(process, request)

    monkeypatch.setattr(LlamaProcess, "generate", die)
    mine = small()
    with pytest.raises(EndpointError, match=r"exit code -9, 3 times"):
        await mine.generate(ask("Hi."))
    await mine.aclose()


async def test_closing_while_it_answers():
    mine = small(context=2048)
    await mine.start()
    call = asyncio.create_task(mine.generate(ask("Tell a story.", max_tokens=1500)))
    assert await busy_slots(mine, lambda busy: busy == 1) == 1
    await mine.aclose()
    with pytest.raises(EndpointError, match="closed"):
        await call
    assert mine._process is None


async def test_draining_keeps_the_answer_under_way_and_begins_no_other(engine):
    await engine.start()
    calls = [
        asyncio.create_task(engine.generate(ask(f"{i}. Tell a story.", max_tokens=30)))
        for i in range(6)
    ]
    assert await busy_slots(engine, lambda busy: busy == 4) == 4
    engine.drain()
    outcomes = await asyncio.gather(*calls, engine.generate(ask("Hi.")), return_exceptions=True)
    assert sum(isinstance(outcome, DrainedError) for outcome in outcomes) == 3
    assert all(getattr(outcome, "text", "") for outcome in outcomes[:4])
    await engine.start()
    assert (await engine.generate(ask("Hi.", max_tokens=2))).completion_tokens


async def test_a_process_that_dies_after_draining_is_not_started_again(engine, only):
    mine = small(context=2048)
    await mine.start()
    call = asyncio.create_task(mine.generate(ask("Tell a story.", max_tokens=1500)))
    assert await busy_slots(mine, lambda busy: busy == 1) == 1
    mine.drain()
    kill(mine._process)
    with pytest.raises(DrainedError):
        await call
    assert len(children()) == only
    await mine.start()
    assert (await mine.generate(ask("Hi.", max_tokens=2))).completion_tokens
    await mine.aclose()


async def test_the_same_seed_gives_the_same_text():
    texts = []
    for _ in range(2):
        mine = small()
        texts.append((await mine.generate(ask("Tell a story.", seed=5, max_tokens=40))).text)
        await mine.aclose()
    assert texts[0] == texts[1]


def test_an_engine_that_is_forgotten_takes_its_process_along(engine, only):
    mine = small()
    asyncio.run(mine.start())
    assert len(children()) == only + 1
    del mine
    gc.collect()
    assert len(children()) == only


PROGRAM = """
import asyncio, sys
from dria_magpie.engines import LlamaEngine
engine = LlamaEngine(slots=1, context=256)
asyncio.run(engine.start())
print(engine._process.child._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_no_process_survives_its_program(end):
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        server = psutil.Process(int(program.stdout.readline()))
        if end == "kill":
            program.kill()
        _, errors = program.communicate()
    with contextlib.suppress(psutil.NoSuchProcess):
        server.wait(5)
    assert not server.is_running()
    assert errors == ""


async def test_a_file_of_ones_own_is_served_under_its_name_and_its_path(tmp_path):
    (tmp_path / "mine.gguf").symlink_to(WEIGHTS)
    path = str(tmp_path / "mine.gguf")
    mine = small(model=path)
    for name in ("mine", path):
        request = ask("Hi.", max_tokens=2).evolve(model=name)
        assert (await mine.generate(request)).model == "mine"
    await mine.aclose()
    assert mine.models == ("mine", path)


async def test_a_truncated_file(tmp_path):
    with WEIGHTS.open("rb") as whole:
        (tmp_path / "part.gguf").write_bytes(whole.read(20_000_000))
    with pytest.raises(ModelFileError, match=r"(?s)cannot be loaded.*damaged.*corrupted"):
        await small(model=str(tmp_path / "part.gguf")).start()
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    with pytest.raises(ModelFileError, match="is damaged; put the right file there"):
        await small(model=str(tmp_path / "page.gguf")).start()


@pytest.mark.parametrize(
    ("library", "error", "words"),
    [
        ("raise ImportError('no xllamacpp')", UnsupportedError, r"dria-magpie\[local\]"),
        ("import os; os._exit(3)", ModelFileError, "exit code 3"),
    ],
)
async def test_a_library_that_does_not_work(tmp_path, monkeypatch, library, error, words):
    (tmp_path / "xllamacpp.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(error, match=words):
        await small().start()


@pytest.mark.parametrize("options", [{"slots": 0}, {"context": 0}])
def test_arguments_that_cannot_work(options):
    with pytest.raises(InvalidInputError):
        LlamaEngine(**options)


ORDER = {"path": "a.gguf", "name": "a", "api_key": "k", "slots": 2, "context": 64}


def test_settings_of_the_server(monkeypatch):
    params = types.SimpleNamespace(model=types.SimpleNamespace())
    library = types.SimpleNamespace(CommonParams=lambda: params, Server=lambda given: given)
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    monkeypatch.setenv("GOMP_SPINCOUNT", "9")
    assert llama_server.serve(ORDER) is params
    assert (params.n_parallel, params.n_ctx) == (2, 128)
    assert params.api_keys == ["k"]
    assert params.hostnames == ["127.0.0.1"]
    assert os.environ["GOMP_SPINCOUNT"] == "9"


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (ImportError("none"), {"missing": "none"}),
        (RuntimeError("bad file"), {"error": "bad file"}),
        (types.SimpleNamespace(listening_address="http://a"), {"address": "http://a"}),
    ],
)
def test_what_the_server_answers(monkeypatch, outcome, answer):
    def serve(order):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def stop(code):
        raise SystemExit(code)

    answers = []
    monkeypatch.setattr(llama_server, "read_order", lambda: ORDER)
    monkeypatch.setattr(llama_server, "when_parent_ends", lambda action: None)
    monkeypatch.setattr(llama_server, "answer", answers.append)
    monkeypatch.setattr(llama_server, "serve", serve)
    monkeypatch.setattr(llama_server.threading.Event, "wait", lambda event: None)
    monkeypatch.setattr(os, "_exit", stop)
    with pytest.raises(SystemExit):
        llama_server.main()
    assert answers == [answer]
