from __future__ import annotations

import asyncio
import gc
import json
import logging

import aiohttp
import jinja2
import pytest

from dria_magpie.engines import OpenAIEngine
from dria_magpie.engines.chat.client import ChatClient
from dria_magpie.engines.chat.failures import LostConnectionError
from dria_magpie.engines.chat.retry import RetryPolicy
from dria_magpie.engines.openai import normalise_url
from dria_magpie.errors import (
    ContextLengthError,
    DrainedError,
    EmptyCompletionError,
    EndpointError,
    InvalidInputError,
    UnsupportedError,
)
from dria_magpie.models import Engine, Generation, GenerationRequest, Message, Sampling
from tests.integration.endpoint import (
    MisbehavingEndpoint,
    answer,
    completion,
    cut_before,
    cut_within,
    delta,
    html,
    never,
    raw,
    slow,
    status,
    stream,
    waiting,
)
from tests.integration.templates import TEMPLATES, render

FAST = RetryPolicy(wait=0.001, longest_wait=0.002)
KEY = "sk-very-secret"
LEAP = 2**31 // 15
TEXT_PART = {"type": "text", "text": "b"}
SYSTEM, USER = Message("system", "Be brief."), Message("user", "Hi")


def request(*messages: Message, model: str = "m", **sampling) -> GenerationRequest:
    return GenerationRequest(
        model=model, messages=messages or (SYSTEM, USER), sampling=Sampling(**sampling)
    )


def engine_for(endpoint: MisbehavingEndpoint, **options) -> OpenAIEngine:
    return OpenAIEngine(endpoint.url, **{"models": ["m"], "retry": FAST} | options)


async def ask(*script, asked: GenerationRequest | None = None, **options):
    """Give what one request came to, an error too, and the endpoint that it went to."""
    async with MisbehavingEndpoint(script) as endpoint:
        engine = engine_for(endpoint, **options)
        try:
            return await engine.generate(asked or request()), endpoint
        except Exception as error:  # noqa: BLE001
            return error, endpoint
        finally:
            await engine.aclose()


# What is sent and what comes back


async def test_an_answer_carries_everything_that_the_endpoint_said():
    generation, _ = await ask(answer("Hello."))
    assert generation == Generation(
        text="Hello.",
        model="really-m",
        prompt_tokens=11,
        cached_tokens=5,
        completion_tokens=7,
    )


async def test_a_request_carries_only_what_is_set():
    _, endpoint = await ask(answer())
    assert endpoint.calls[0].body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
    }
    assert "Authorization" not in endpoint.calls[0].headers


async def test_sampling_and_format_are_sent_under_the_names_that_servers_take():
    everything = {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "max_tokens": 20,
        "stop": ["\n"],
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "repetition_penalty": 1.1,
    }
    form = {"type": "json_object"}
    asked = request(**everything).evolve(response_format=form)
    _, endpoint = await ask(answer(), asked=asked, api_key=KEY)
    body = endpoint.calls[0].body
    assert {name: body[name] for name in everything} == everything
    assert body["response_format"] == form
    assert endpoint.calls[0].headers["Authorization"] == f"Bearer {KEY}"
    assert endpoint.calls[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (" verbatim \n", " verbatim \n"),
        (
            [{"type": "text", "text": "a"}, {"type": "image"}, "x", {"type": "text", "text": "b"}],
            "ab",
        ),
        ("half \ud83d emoji", "half \ufffd emoji"),
        ("whole \U0001f600", "whole \U0001f600"),
    ],
)
async def test_any_form_of_content_becomes_clean_text(content, text):
    generation, _ = await ask(answer(content))
    assert generation.text == text
    generation.text.encode()


async def test_damaged_utf8_is_replaced():
    generation, _ = await ask(raw(json.dumps(completion("X")).encode().replace(b"X", b"\xff")))
    assert generation.text == "\ufffd"


async def test_a_missing_finish_reason_is_stop_and_missing_counts_are_zero():
    body = {"choices": [{"message": {"content": "Hi"}}], "usage": {"prompt_tokens": "many"}}
    generation, _ = await ask(raw(json.dumps(body)))
    assert generation == Generation(text="Hi", model="m")


@pytest.mark.parametrize(
    ("said", "counted"),
    [(2**31 - 1, 2**31 - 1), (2**31, 0), (2**53 + 1, 0), (10**30, 0), (-1, 0), (7.0, 0), (True, 0)],
)
async def test_counts_that_cannot_be_counts_are_zero(said, counted):
    usage = {
        "prompt_tokens": said,
        "completion_tokens": said,
        "prompt_tokens_details": {"cached_tokens": said},
    }
    generation, _ = await ask(raw(json.dumps(completion("Hi") | {"usage": usage})))
    made = (generation.prompt_tokens, generation.completion_tokens, generation.cached_tokens)
    assert made == (counted,) * 3


async def test_a_cut_off_answer_is_marked():
    generation, _ = await ask(answer("Hel", finish_reason="length"))
    assert generation.finish_reason == "length"


@pytest.mark.parametrize(
    "behaviour",
    [
        answer("<think>Greet.</think>\n\nHello."),
        answer("Greet.</think>Hello."),
        answer("\n\nHello.", reasoning_content="Greet."),
        answer("Hello.", reasoning="Greet.", reasoning_content=None),
    ],
)
async def test_reasoning_never_gets_into_the_text(behaviour):
    generation, _ = await ask(behaviour)
    assert (generation.text, generation.reasoning) == ("Hello.", "Greet.")


async def test_a_long_prompt_is_sent_whole():
    prompt = "x" * 2**21
    _, endpoint = await ask(answer(), asked=request(Message("user", prompt)))
    assert endpoint.calls[0].messages == [("user", prompt)]


@pytest.mark.parametrize(
    ("model", "why"), [("llama3:8b", "takes no raw prompts"), ("m", "how m writes")]
)
async def test_an_open_user_turn_never_becomes_a_chat_call(model, why):
    asked = request(SYSTEM, Message("user", ""), model=model).evolve(open_user_turn=True)
    error, endpoint = await ask(asked=asked, models=[model])
    assert isinstance(error, UnsupportedError)
    assert why in str(error)
    assert endpoint.calls == []


# What is tried again


@pytest.mark.parametrize(
    "trouble",
    [
        status(408),
        status(409),
        status(429, headers={"Retry-After": "0"}),
        status(500),
        status(503),
        html(502),
        html(200),
        raw("not json", "text/plain"),
        raw(""),
        raw("{}"),
        raw("[]"),
        raw("[" * 100_000),
        raw('{"choices": []}'),
        raw('{"choices": [null]}'),
        raw('{"choices": [{"message": null}]}'),
        raw('{"error": {"code": 502, "message": "upstream"}}'),
        raw('{"error": "odd"}'),
        answer(""),
        answer(" \n"),
        answer(None),
        answer(3),
        answer("<think>only thought</think>"),
        cut_before(),
        cut_within(),
    ],
)
async def test_a_passing_trouble_is_tried_again(trouble):
    generation, endpoint = await ask(trouble, answer("Hello."))
    assert (generation.text, generation.attempts) == ("Hello.", 2)
    assert endpoint.calls[0].body == endpoint.calls[1].body


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 422])
async def test_a_refusal_is_not_tried_again(code):
    error, endpoint = await ask(status(code, "because"))
    assert isinstance(error, EndpointError)
    assert error.status == code
    assert len(endpoint.calls) == 1
    for part in (endpoint.url, str(code), "because"):
        assert part in str(error)


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_an_endless_trouble_ends_in_an_error_that_says_what_to_do(code):
    error, endpoint = await ask(status(code, "busy"))
    assert isinstance(error, EndpointError)
    assert error.status == code
    assert len(endpoint.calls) == 8
    for part in (endpoint.url, str(code), "busy", "8 attempts", "; "):
        assert part in str(error)


async def test_retry_after_is_waited_for():
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await ask(status(429, headers={"Retry-After": "0.2"}), answer())
    assert loop.time() - begin >= 0.2


async def test_empty_answers_are_tried_three_times_with_another_seed_each():
    error, endpoint = await ask(answer(""), asked=request(seed=7))
    assert isinstance(error, EmptyCompletionError)
    seeds = [call.body["seed"] for call in endpoint.calls]
    assert seeds == [7, 7 + LEAP, 7 + 2 * LEAP]


async def test_a_seed_stays_in_its_range():
    _, endpoint = await ask(answer(""), answer(), asked=request(seed=2**31 - 1))
    assert endpoint.calls[1].body["seed"] == LEAP - 1


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answer("<think>on and on", finish_reason="length"), "reasoning took every token"),
        (answer(None, finish_reason="length", reasoning_content="hm"), "raise max_tokens"),
        (answer("", finish_reason="length"), "raise max_tokens"),
        (answer("", finish_reason="content_filter"), "content filter"),
    ],
)
async def test_an_empty_answer_with_a_reason_is_final(behaviour, words):
    error, endpoint = await ask(behaviour)
    assert isinstance(error, EmptyCompletionError)
    assert words in str(error)
    assert len(endpoint.calls) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        status(400, "request (9412 tokens) exceeds the available context size (8192 tokens)"),
        raw("too large", "text/plain", status=413),
        raw('{"error": {"message": "maximum context length is 8192 tokens"}}'),
    ],
)
async def test_a_prompt_that_is_too_long_is_never_tried_again(behaviour):
    error, endpoint = await ask(behaviour)
    assert isinstance(error, ContextLengthError)
    assert len(endpoint.calls) == 1


async def test_a_redirect_is_not_followed_but_told():
    error, endpoint = await ask(status(307, headers={"Location": "https://elsewhere/v1"}))
    assert isinstance(error, EndpointError)
    assert "https://elsewhere/v1" in str(error)
    assert len(endpoint.calls) == 1


async def test_a_body_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr("dria_magpie.engines.chat.wire.MOST_BYTES", 1000)
    error, _ = await ask(raw("x" * 5000), retry=RetryPolicy(attempts=1))
    assert "more than 1000 bytes" in str(error)


async def test_an_endpoint_that_never_answers_is_asked_twice():
    error, endpoint = await ask(never(), timeout=0.1)
    assert isinstance(error, EndpointError)
    assert error.status is None
    assert "did not answer within 0.1 s" in str(error)
    assert len(endpoint.calls) == 2


async def test_foreign_pages_are_quoted_short():
    error, _ = await ask(html(502), retry=RetryPolicy(attempts=1))
    assert len(str(error)) < 500


async def test_the_key_is_never_shown(caplog):
    caplog.set_level(logging.DEBUG)
    error, _ = await ask(status(401, f"Incorrect API key provided: {KEY}"), api_key=KEY)
    assert "DRIA_API_KEY" in str(error)
    shown = f"{error}{error!r}{OpenAIEngine('http://h', api_key=KEY)!r}{caplog.text}"
    assert KEY not in shown


async def test_errors_of_other_libraries_are_only_causes():
    error, _ = await ask(cut_before(), retry=RetryPolicy(attempts=1))
    assert isinstance(error, LostConnectionError)
    assert isinstance(error.__cause__, aiohttp.ClientError)


async def test_what_speaks_no_http_is_told_apart():
    async def talk(_, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = OpenAIEngine(f"http://127.0.0.1:{port}", models=["m"], retry=FAST)
        with pytest.raises(EndpointError, match="does not speak HTTP"):
            await engine.generate(request())
        await engine.aclose()


async def test_https_to_a_plain_server_fails_at_once():
    async with MisbehavingEndpoint() as endpoint:
        url = endpoint.url.replace("http:", "https:")
        engine = OpenAIEngine(url, models=["m"], retry=FAST)
        with pytest.raises(EndpointError, match="use http://"):
            await engine.generate(request())
        await engine.aclose()


# Where nothing answers


async def test_an_endpoint_that_was_never_there_is_given_up_after_two_attempts(unused_tcp_port):
    engine = OpenAIEngine(f"http://127.0.0.1:{unused_tcp_port}", retry=FAST)
    with pytest.raises(LostConnectionError, match=r"2 attempts.*is the server running") as caught:
        await engine.start()
    assert str(unused_tcp_port) in str(caught.value)
    await engine.aclose()


async def test_an_endpoint_that_answered_before_is_waited_for_while_it_restarts():
    endpoint = MisbehavingEndpoint()
    engine = None
    async with endpoint:
        engine = engine_for(endpoint, retry=RetryPolicy(wait=0.05, longest_wait=0.2))
        await engine.generate(request())
        await engine.aclose()
    task = asyncio.create_task(engine.generate(request()))
    await asyncio.sleep(0.15)
    async with endpoint:
        generation = await task
        await engine.aclose()
    assert generation.attempts > 2


async def test_a_connection_that_does_not_come_about_is_a_lost_one(monkeypatch):
    async def connect(*_, **__):
        raise aiohttp.ConnectionTimeoutError

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    engine = OpenAIEngine("http://127.0.0.1:1", models=["m"], retry=FAST)
    with pytest.raises(LostConnectionError, match="took no connection within 10 s"):
        await engine.generate(request())
    await engine.aclose()


# Which models there are


async def test_given_models_are_not_asked_for():
    async with MisbehavingEndpoint() as endpoint:
        engine: Engine = engine_for(endpoint, models=["a", "b"], concurrency=3)
        await engine.start()
        await engine.aclose()
    assert (engine.models, engine.slots, engine.address) == (("a", "b"), 3, endpoint.url)
    assert endpoint.model_calls == 0


async def test_models_are_asked_for_once_until_the_engine_is_closed():
    async with MisbehavingEndpoint() as endpoint:
        engine = engine_for(endpoint, models=())
        await engine.start()
        await engine.start()
        assert (engine.models, endpoint.model_calls) == (("m", "n"), 1)
        await engine.aclose()
        await engine.aclose()
        await asyncio.gather(*(engine.start() for _ in range(5)))
        assert engine.models == ("m", "n")
        await engine.aclose()


@pytest.mark.parametrize(
    "behaviour",
    [
        status(404),
        status(405),
        status(501),
        html(200),
        raw("[]"),
        raw('{"data": {}}'),
        raw('{"data": []}'),
        raw('{"data": [3, {"id": 4}, {"id": ""}]}'),
    ],
)
async def test_an_endpoint_that_does_not_name_its_models_serves_any(behaviour):
    async with MisbehavingEndpoint(models=behaviour) as endpoint:
        engine = engine_for(endpoint, models=())
        await engine.start()
        await engine.aclose()
    assert engine.models == ("*",)
    assert endpoint.model_calls == 1


async def test_start_fails_where_the_key_is_wrong():
    async with MisbehavingEndpoint(models=status(401)) as endpoint:
        engine = engine_for(endpoint, models=())
        with pytest.raises(EndpointError, match="DRIA_API_KEY"):
            await engine.start()
        await engine.aclose()


async def test_start_waits_for_a_model_that_is_being_loaded():
    answers = iter([status(503, "Loading model"), raw('{"data": [{"id": "m"}]}')])

    async def load(asked):
        return await next(answers)(asked)

    async with MisbehavingEndpoint(models=load) as endpoint:
        engine = engine_for(endpoint, models=())
        await engine.start()
        await engine.aclose()
    assert engine.models == ("m",)


# Templates without a system role


def templated(name: str):
    """Refuse what the template refuses; answer with the rendered prompt otherwise."""

    def script(call):
        messages = [Message(role, content) for role, content in call.messages]
        try:
            return answer(render(name, messages))
        except jinja2.TemplateError as error:
            return status(400, str(error))

    return script


@pytest.mark.parametrize("name", ["gemma-2-it", "mistral-7b-instruct-v0.2"])
async def test_a_refused_system_message_is_folded_and_the_model_remembered(name):
    async with MisbehavingEndpoint(templated(name)) as endpoint:
        engine = engine_for(endpoint)
        first = await engine.generate(request())
        second = await engine.generate(request())
        await engine.generate(request(model="other"))
        await engine.aclose()
    assert "Be brief.\n\nHi" in first.text
    assert (first.attempts, second.attempts) == (2, 1)
    assert second.text == first.text
    assert len(endpoint.calls) == 5


@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_refused_order_of_roles_is_mended_but_says_nothing_of_the_model(name):
    async with MisbehavingEndpoint(templated(name)) as endpoint:
        engine = engine_for(endpoint)
        await engine.generate(request(USER, USER))
        generation = await engine.generate(request(USER))
        await engine.aclose()
    assert generation.attempts == 1
    assert [len(call.messages) for call in endpoint.calls] == [2, 1, 1]


async def test_a_refusal_of_a_folded_prompt_is_final():
    error, endpoint = await ask(status(400, "System role not supported"))
    assert isinstance(error, EndpointError)
    assert "chat template" in str(error)
    assert len(endpoint.calls) == 2


async def test_a_prompt_that_cannot_be_folded_is_not_sent_twice():
    error, endpoint = await ask(status(400, "System role not supported"), asked=request(USER))
    assert isinstance(error, EndpointError)
    assert len(endpoint.calls) == 1


# Many calls at once, and calls that nobody waits for any more


async def test_no_more_calls_than_allowed_are_made_at_once():
    async with MisbehavingEndpoint([slow(0.01)]) as endpoint:
        engine = engine_for(endpoint, concurrency=4)
        await asyncio.gather(*(engine.generate(request()) for _ in range(20)))
        await engine.aclose()
    assert endpoint.most_running == 4


async def test_an_overloaded_endpoint_is_given_fewer_calls():
    async with MisbehavingEndpoint([status(429)] * 8 + [slow(0.02)]) as endpoint:
        engine = engine_for(endpoint, concurrency=8)
        await asyncio.gather(*(engine.generate(request()) for _ in range(8)))
        assert engine._client._sender._limiter.limit < 8
        assert engine._client._sender._limiter.running == 0
        await engine.aclose()


async def test_a_call_that_waits_for_its_retry_holds_no_permit():
    script = [status(429, headers={"Retry-After": "30"}), answer("Second.")]
    async with MisbehavingEndpoint(script) as endpoint:
        engine = engine_for(endpoint, concurrency=1)
        patient = asyncio.create_task(engine.generate(request()))
        await endpoint.wait_for_calls(1)
        async with asyncio.timeout(5):
            assert (await engine.generate(request())).text == "Second."
        patient.cancel()
        await asyncio.gather(patient, return_exceptions=True)
        await engine.aclose()


async def test_a_cancelled_call_ends_at_the_endpoint_too():
    async with MisbehavingEndpoint([never(), answer()]) as endpoint:
        engine = engine_for(endpoint, concurrency=1)
        task = asyncio.create_task(engine.generate(request()))
        await endpoint.wait_for_calls(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(endpoint.hung_up.wait(), 5)
        assert engine._client._sender._limiter.running == 0
        assert (await engine.generate(request())).text == "Hello."
        await engine.aclose()


async def test_connections_are_used_again():
    async with MisbehavingEndpoint() as endpoint:
        engine = engine_for(endpoint)
        for _ in range(5):
            await engine.generate(request())
        await engine.aclose()
    assert len({call.connection for call in endpoint.calls}) == 1


def test_one_engine_works_in_one_event_loop_after_the_other():
    engine = OpenAIEngine("http://127.0.0.1:1", models=["m"], retry=FAST)

    async def main():
        async with MisbehavingEndpoint([waiting(asyncio.Event())]) as stuck:
            engine._client._connection._url = stuck.url
            task = asyncio.create_task(engine.generate(request()))
            await stuck.wait_for_calls(1)
            async with MisbehavingEndpoint() as endpoint:
                engine._client._connection._url = endpoint.url
                assert (await engine.generate(request())).text == "Hello."
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await engine.aclose()

    asyncio.run(main())
    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
def test_an_engine_whose_loop_ended_before_it_was_closed_opens_itself_again():
    engine = OpenAIEngine("http://127.0.0.1:1", models=["m"], retry=FAST)

    async def main():
        async with MisbehavingEndpoint() as endpoint:
            engine._client._connection._url = endpoint.url
            assert (await engine.generate(request())).text == "Hello."

    asyncio.run(main())
    asyncio.run(main())
    asyncio.run(engine.aclose())
    gc.collect()


# An engine that begins nothing new


async def test_a_drained_engine_finishes_its_calls_and_makes_no_other():
    go_on = asyncio.Event()
    async with MisbehavingEndpoint([waiting(go_on)]) as endpoint:
        engine = engine_for(endpoint, concurrency=2)
        calls = [asyncio.create_task(engine.generate(request())) for _ in range(5)]
        await endpoint.wait_for_calls(2)
        engine.drain()
        ended = await asyncio.gather(*calls[2:], engine.generate(request()), return_exceptions=True)
        assert [type(outcome) for outcome in ended] == [DrainedError] * 4
        assert not any(call.done() for call in calls[:2])
        go_on.set()
        assert [call.text for call in await asyncio.gather(*calls[:2])] == ["Hello."] * 2
        assert len(endpoint.calls) == 2
        await engine.aclose()
        await engine.start()
        assert (await engine.generate(request())).text == "Hello."
        await engine.aclose()


async def test_a_drained_engine_ends_the_wait_for_the_next_attempt():
    async with MisbehavingEndpoint([status(429, headers={"Retry-After": "60"})]) as endpoint:
        engine = engine_for(endpoint)
        call = asyncio.create_task(engine.generate(request()))
        await endpoint.idle.wait()
        while engine._client._sender._limiter.running:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        engine.drain()
        async with asyncio.timeout(5):
            with pytest.raises(DrainedError, match="takes no further calls"):
                await call
        assert len(endpoint.calls) == 1
        await engine.aclose()


@pytest.mark.parametrize("trouble", [status(429), status(500), cut_before(), answer("")])
async def test_a_call_that_fails_after_the_engine_was_drained_is_not_made_again(trouble):
    go_on = asyncio.Event()
    async with MisbehavingEndpoint([waiting(go_on, trouble)]) as endpoint:
        engine = engine_for(endpoint)
        call = asyncio.create_task(engine.generate(request()))
        await endpoint.wait_for_calls(1)
        engine.drain()
        go_on.set()
        with pytest.raises(DrainedError):
            await call
        assert len(endpoint.calls) == 1
        await engine.aclose()


async def test_a_call_that_fails_for_good_after_the_engine_was_drained_says_why():
    go_on = asyncio.Event()
    async with MisbehavingEndpoint([waiting(go_on, status(400, "because"))]) as endpoint:
        engine = engine_for(endpoint)
        call = asyncio.create_task(engine.generate(request()))
        await endpoint.wait_for_calls(1)
        engine.drain()
        go_on.set()
        with pytest.raises(EndpointError, match="because"):
            await call
        await engine.aclose()


async def test_a_refused_order_of_roles_is_not_mended_once_the_engine_is_drained():
    go_on = asyncio.Event()
    trouble = status(400, "System role not supported")
    async with MisbehavingEndpoint([waiting(go_on, trouble)]) as endpoint:
        engine = engine_for(endpoint)
        call = asyncio.create_task(engine.generate(request()))
        await endpoint.wait_for_calls(1)
        engine.drain()
        go_on.set()
        with pytest.raises(DrainedError):
            await call
        assert len(endpoint.calls) == 1
        await engine.aclose()


# Arguments


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        (" https://host/v1/ ", "https://host/v1"),
        ("https://host/api/v1/chat/completions", "https://host/api/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_urls_are_brought_into_one_form(given, url):
    assert normalise_url(given) == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "host:8000",
        "localhost/v1",
        "ftp://host/v1",
        "http://",
        "http://host:99999",
        "http://[::1",
        "http://user:password@host/v1",
        "http://host/v1?key=1",
    ],
)
def test_what_is_no_url_of_an_endpoint_is_refused(given):
    with pytest.raises(InvalidInputError, match="URL"):
        OpenAIEngine(given)


@pytest.mark.parametrize(
    "options",
    [{"models": "m"}, {"concurrency": 0}, {"timeout": 0}, {"api_key": "a\nb"}, {"api_key": "ä"}],
)
def test_arguments_that_cannot_work_are_refused(options):
    with pytest.raises(InvalidInputError):
        OpenAIEngine("http://host", **options)


def test_a_key_that_was_read_from_a_file_may_end_in_a_newline():
    assert OpenAIEngine("http://host", api_key="key\n")._client._connection._api_key == "key"


def test_there_is_no_other_engine_in_the_package():
    with pytest.raises(AttributeError, match="NoEngine"):
        _ = __import__("dria_magpie.engines", fromlist=["x"]).NoEngine


# Answers in pieces, as an engine with a server of its own asks for them

USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "model": "s"}


async def ask_stream(*script, retry: RetryPolicy = FAST):
    async with MisbehavingEndpoint(script) as endpoint:
        client = ChatClient(
            endpoint.url, api_key=KEY, stream=True, max_tokens=100, retry=retry, timeout=5
        )
        try:
            return await client.generate(request()), endpoint
        except Exception as error:  # noqa: BLE001
            return error, endpoint
        finally:
            await client.aclose()


async def test_a_stream_is_put_together():
    generation, endpoint = await ask_stream(
        stream(
            b": ping\n\nevent: message\n",
            delta("", role="assistant"),
            delta(reasoning_content="Gre"),
            delta(reasoning="et."),
            delta("Hel"),
            delta("lo.\ud83d"),
            delta("\ude00", finish_reason="stop"),
            USAGE,
        )
    )
    assert generation == Generation(
        text="Hello.\U0001f600",
        reasoning="Greet.",
        model="s",
        prompt_tokens=3,
        completion_tokens=2,
    )
    body = endpoint.calls[0].body
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["max_tokens"] == 100


async def test_each_stream_has_a_connection_of_its_own():
    async with MisbehavingEndpoint([stream(delta("Hi", finish_reason="stop"))]) as endpoint:
        client = ChatClient(endpoint.url, stream=True)
        for _ in range(3):
            await client.generate(request())
        await client.aclose()
    assert {call.headers["Connection"] for call in endpoint.calls} == {"close"}


async def test_a_stream_may_end_without_a_word_once_it_is_finished():
    generation, _ = await ask_stream(stream(delta("Hi", finish_reason="length"), done=False))
    assert (generation.text, generation.finish_reason) == ("Hi", "length")


async def test_a_server_may_answer_in_one_piece_all_the_same():
    assert (await ask_stream(answer("Hi")))[0].text == "Hi"


@pytest.mark.parametrize(
    "trouble",
    [
        stream(delta("Hel"), done=False),
        stream(delta("Hel"), b"data: {broken\n\n"),
        stream(delta("Hel"), b"data: []\n\n"),
        stream(delta("Hel"), b'data: {"choices": [7]}\n\n'),
        stream({"choices": [{"delta": {"content": 3}}]}),
        stream(delta("Hel"), b'error: {"error": {"code": 500, "message": "oops"}}\n\n'),
        stream(b"x" * 2**21),
        cut_within(b'data: {"choices": []}\n\n', "text/event-stream"),
    ],
)
async def test_a_broken_stream_is_tried_again(trouble):
    generation, _ = await ask_stream(trouble, stream(delta("Hi", finish_reason="stop")))
    assert (generation.text, generation.attempts) == ("Hi", 2)


async def test_a_context_that_fills_up_in_a_stream_is_told():
    full = {"error": {"code": 400, "type": "exceed_context_size_error", "message": "full"}}
    error, _ = await ask_stream(stream(full))
    assert isinstance(error, ContextLengthError)


async def test_whoever_restarts_the_server_himself_hears_of_its_loss_at_once():
    error, endpoint = await ask_stream(cut_before(), retry=RetryPolicy(attempts=1))
    assert isinstance(error, LostConnectionError)
    assert len(endpoint.calls) == 1


async def test_a_cancelled_stream_ends_at_the_server_too():
    async with MisbehavingEndpoint([never()]) as endpoint:
        client = ChatClient(endpoint.url, stream=True)
        task = asyncio.create_task(client.generate(request()))
        await endpoint.wait_for_calls(1)
        task.cancel()
        await asyncio.wait_for(endpoint.hung_up.wait(), 5)
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()
