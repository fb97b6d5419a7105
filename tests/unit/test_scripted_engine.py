from __future__ import annotations

import asyncio

import pytest

from dria_magpie.errors import EndpointError, EngineError, InvalidInputError
from dria_magpie.models import Engine, Generation, GenerationRequest, Message
from dria_magpie.testing import ScriptedEngine

REQUEST = GenerationRequest(model="m", messages=(Message("user", "How are you?"),))


async def test_a_function_answers_with_text():
    engine: Engine = ScriptedEngine(lambda request: f"You said: {request.messages[-1].content}")
    await engine.start()
    answer = await engine.generate(REQUEST)
    await engine.aclose()
    assert answer == Generation(
        text="You said: How are you?", model="m", prompt_tokens=3, completion_tokens=5
    )


async def test_an_async_function_answers_too():
    async def answer(request):
        return "Fine."

    assert (await ScriptedEngine(answer).generate(REQUEST)).text == "Fine."


async def test_a_generation_is_given_as_it_is_with_the_models_name():
    engine = ScriptedEngine([Generation(text="a"), Generation(text="b", model="other")])
    assert await engine.generate(REQUEST) == Generation(text="a", model="m")
    assert await engine.generate(REQUEST) == Generation(text="b", model="other")


async def test_answers_are_handed_out_in_order_and_exceptions_raised():
    engine = ScriptedEngine(["one", EndpointError("down", 503), "two"])
    assert (await engine.generate(REQUEST)).text == "one"
    with pytest.raises(EndpointError, match="down"):
        await engine.generate(REQUEST)
    assert (await engine.generate(REQUEST)).text == "two"
    with pytest.raises(EngineError, match="the script has 3 answers"):
        await engine.generate(REQUEST)
    assert engine.calls == 4


async def test_a_function_may_give_an_exception():
    with pytest.raises(KeyError):
        await ScriptedEngine(lambda request: KeyError("x")).generate(REQUEST)


async def test_requests_are_kept_but_not_without_end():
    engine = ScriptedEngine(lambda request: "yes", slots=3)
    for _ in range(10_001):
        await engine.generate(REQUEST)
    assert engine.calls == 10_001
    assert len(engine.requests) == 10_000
    assert engine.requests[0] is REQUEST


async def test_open_user_turns_are_answered():
    request = REQUEST.evolve(messages=(Message("user", ""),), open_user_turn=True)
    assert (await ScriptedEngine(["Why is the sky blue?"]).generate(request)).prompt_tokens == 0


async def test_answers_take_their_latency_all_at_once():
    engine = ScriptedEngine(lambda request: "yes", latency=0.05)
    begin = asyncio.get_running_loop().time()
    await asyncio.gather(*(engine.generate(REQUEST) for _ in range(20)))
    assert 0.045 <= asyncio.get_running_loop().time() - begin < 0.5


def test_it_says_what_it_serves():
    engine = ScriptedEngine([], models=["a", "b"], slots=2)
    assert (engine.models, engine.slots, engine.address) == (("a", "b"), 2, "scripted")


def test_a_single_text_is_refused():
    with pytest.raises(InvalidInputError, match="list of answers"):
        ScriptedEngine("Hello")


async def test_a_drained_engine_begins_no_further_call_until_it_is_started():
    go_on = asyncio.Event()

    async def answer(request):
        await go_on.wait()
        return "yes"

    engine = ScriptedEngine(answer)
    under_way = asyncio.create_task(engine.generate(REQUEST))
    await asyncio.sleep(0)
    engine.drain()
    with pytest.raises(EngineError, match="until the engine is started"):
        await engine.generate(REQUEST)
    go_on.set()
    assert (await under_way).text == "yes"
    assert engine.calls == 1
    await engine.start()
    assert (await engine.generate(REQUEST)).text == "yes"
