"""The command line in this process, against an endpoint."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dria_magpie import cli
from dria_magpie.engines.weights.files import find_weights
from tests.integration.endpoint import MisbehavingEndpoint, answer, completion, raw, status

PERSONAS = ("--instructor", "A chemist", "--responder", "A [bold]cook[/bold]")
Output = Any


async def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command in another thread, as it has an event loop of its own."""
    monkeypatch.setattr(sys, "argv", ["dria-magpie", *arguments])

    def call() -> int:
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return await asyncio.to_thread(call)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DRIA_NETWORK", "DRIA_ENDPOINT", "DRIA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_a_dialogue_is_json_where_stdout_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    async with MisbehavingEndpoint([answer("Why?"), answer("Ça va ☕")]) as endpoint:
        code = await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url)
    out, err = capsys.readouterr()
    assert code == 0
    assert json.loads(out) == {
        "dialogue": [{"instructor": "Why?"}, {"responder": "Ça va ☕"}],
        "model": "really-m",
    }
    assert err == ""


async def test_options_reach_the_model(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    options = "--turns 2 --seed 7 --max-tokens 33 --topic tides --language Turkish --model n"
    async with MisbehavingEndpoint() as endpoint:
        monkeypatch.setenv("DRIA_ENDPOINT", endpoint.url)
        assert await run(monkeypatch, "dialogue", *PERSONAS, *options.split()) == 0
    assert [call.body["seed"] for call in endpoint.calls] == [7, 8, 9, 10]
    for call in endpoint.calls:
        assert (call.body["model"], call.body["max_tokens"]) == ("n", 33)
        assert "tides" in call.messages[0][1]
        assert "Turkish" in call.messages[0][1]


async def test_the_key_comes_from_the_variable_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("DRIA_API_KEY", "usual")
    monkeypatch.setenv("OTHER", "special")
    async with MisbehavingEndpoint() as endpoint:
        base = ("dialogue", *PERSONAS, "--endpoint", endpoint.url)
        assert await run(monkeypatch, *base) == 0
        assert await run(monkeypatch, *base, "--api-key-env", "OTHER") == 0
        assert await run(monkeypatch, *base, "--api-key-env", "MISSING") == 2
    keys = [call.headers["Authorization"] for call in endpoint.calls[::2]]
    assert keys == ["Bearer usual", "Bearer special"]
    err = capsys.readouterr().err
    assert "MISSING" in err
    assert "special" not in err


async def test_what_was_said_before_a_failure_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    script = [answer("Why?"), answer("So.", finish_reason=None), status(404, "gone")]
    async with MisbehavingEndpoint(script) as endpoint:
        code = await run(
            monkeypatch, "dialogue", *PERSONAS, "--turns", "3", "--endpoint", endpoint.url
        )
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert code == 1
    assert data["dialogue"] == [{"instructor": "Why?"}, {"responder": "So."}]
    assert "gone" in data["error"]
    assert "gone" in err


async def test_messages_that_were_cut_off_are_counted_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    cut = json.loads('{"choices": [{"message": {"content": "and so"}, "finish_reason": "length"}]}')
    async with MisbehavingEndpoint([raw(json.dumps(cut))]) as endpoint:
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url) == 0
    assert "2 of 2 messages were cut off" in capsys.readouterr().err


async def test_a_terminal_shows_each_message_under_its_persona(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    script = [answer("Is [red]this[/red] \x1b[31mclean?"), answer("So.")]
    async with MisbehavingEndpoint(script) as endpoint:
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url) == 0
    out, err = capsys.readouterr()
    assert "A chemist\x1b[0m\nIs [red]this[/red] [31mclean?\n" in out
    assert "A [bold]cook[/bold]\x1b[0m\nSo.\n" in out
    assert "2 messages, 14 tokens, really-m" in err


async def test_a_terminal_that_shows_no_message_shows_why(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    async with MisbehavingEndpoint([status(404, "gone")]) as endpoint:
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--turns", "0"], 2, "num_turns"),
        (["--seed", "-1"], 2, "seed"),
        (["--max-tokens", "0"], 2, "max_tokens"),
        (["--endpoint", "nonsense"], 2, "nonsense"),
        (["--endpoint", "http://h/v1", "--network", "nats://h"], 2, "not both"),
        (["--network", "nats://h"], 1, "this version"),
        (["--instructor", " "], 2, "instructor_persona"),
        (["--turns", "many"], 2, "--turns"),
        (["--nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_wrong_usage_exits_with_its_code_and_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, options: list[str], code: int, says: str
) -> None:
    assert await run(monkeypatch, "dialogue", *PERSONAS, *options) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err


async def test_an_unknown_model_names_what_is_served_here(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    code = await run(monkeypatch, "dialogue", *PERSONAS, "--model", "gemma2:9b-instruct-fp16")
    assert code == 1
    err = capsys.readouterr().err
    assert "serves smollm2:135m-instruct-q4_1" in err
    assert "--endpoint" in err


async def test_an_interrupt_prints_what_was_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def interrupted(main: Any) -> None:
        main.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", "http://h/v1") == 130
    assert json.loads(capsys.readouterr().out)["error"] == "interrupted"


@pytest.mark.parametrize("arguments", [["--help"], ["dialogue", "--help"], ["models", "--help"]])
async def test_help_goes_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, arguments: list[str]
) -> None:
    assert await run(monkeypatch, *arguments) == 0
    assert "Usage" in capsys.readouterr().out


async def test_the_verb_models_lists_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert await run(monkeypatch, "models", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "smollm2:135m-instruct-q4_1"


async def test_an_interrupt_outside_of_a_dialogue_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dria_magpie.cli.app.app", interrupted)
    assert await run(monkeypatch) == 130


async def test_the_key_may_be_named_for_the_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("OTHER", "special")
    async with MisbehavingEndpoint() as endpoint:
        monkeypatch.setenv("DRIA_ENDPOINT", endpoint.url)
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--api-key-env", "OTHER") == 0
    assert endpoint.calls[0].headers["Authorization"] == "Bearer special"


async def test_the_path_of_a_file_is_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    weights = find_weights("smollm2:135m-instruct-q4_1").path
    path = tmp_path / "mine.gguf"
    path.symlink_to(weights)
    assert await run(monkeypatch, "dialogue", *PERSONAS, "--model", str(path), "--seed", "1") == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mine"


async def test_what_strangers_write_does_not_drive_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    body = {"model": "m\x1b]0;evil\x07\ud800", **completion("Why?\u202e")}
    body["model"] = "m\x1b]0;evil\x07\ud800"
    script = [raw(json.dumps(body)), status(400, "no \x1b[2J\x07 \ud800")]
    async with MisbehavingEndpoint(script) as endpoint:
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url) == 1
    out, err = capsys.readouterr()
    assert "\x1b[2J" not in err
    assert "\x1b]0" not in out + err
    assert "\x07" not in out + err
    assert "\u202e" not in out


class FullDisk(io.StringIO):
    """A stream that takes nothing, as /dev/full."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_dialogue_that_cannot_be_written_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    full = FullDisk()
    monkeypatch.setattr(FullDisk, "encoding", "utf-8")
    monkeypatch.setattr(sys, "stdout", full)
    async with MisbehavingEndpoint() as endpoint:
        assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", endpoint.url) == 1
    err = capsys.readouterr().err
    assert '"responder": "Hello."' in err
    assert "error: [Errno 28] No space left" in err


async def test_an_empty_url_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    assert await run(monkeypatch, "dialogue", *PERSONAS, "--endpoint", "") == 2
    assert "URL" in capsys.readouterr().err
