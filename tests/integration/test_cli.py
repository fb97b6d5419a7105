"""The command line in this process, against an endpoint."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dria_magpie import cli
from dria_magpie.engines.weights.files import find_weights
from tests.integration.endpoint import MisbehavingEndpoint, answer, completion, raw, status
from tests.integration.raw_servers import RawCall, RawServer, tiny, vllm

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
        (["--network", "nats://h"], 2, "takes credentials"),
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


# generate, and the options that it has in common with probe and sweep

RECIPE = 'kind = "self_synthesis"\nrows = 2\n'


class FailingServer(RawServer):
    """Writes so many messages, then no more."""

    def __init__(self, calls: int) -> None:
        super().__init__(models=["llama3:8b"])
        self._taken = calls

    def _refusal(self, call: RawCall) -> Any:
        if call.body and not tiny(call):
            self._taken -= 1
            if self._taken < 0:
                return web.json_response({"error": {"message": "the key is used up"}}, status=403)
        return super()._refusal(call)


def read_rows(path: Path) -> list[Any]:
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


async def test_generate_writes_a_line_a_row_and_says_how_many(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    options = "--turns 2 --system-prompt Bref.☕ --include-system-prompt --seed 9223372036854775807"
    async with vllm() as server:
        base = ("generate", "--endpoint", server.url, "-o", str(path))
        assert await run(monkeypatch, *base, "-n", "3", *options.split()) == 0
        assert f"3 rows in {path}" in capsys.readouterr().err
        assert await run(monkeypatch, *base, "-n", "3") == 2
    assert "exists already" in capsys.readouterr().err
    rows = read_rows(path)
    assert [row["conversation"][0]["content"] for row in rows] == ["Bref.☕"] * 3
    assert [len(row["conversation"]) for row in rows] == [5] * 3


async def test_generate_of_no_rows_writes_an_empty_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    async with vllm() as server:
        options = ("-n", "0", "-o", str(path), "--endpoint", server.url)
        assert await run(monkeypatch, "generate", *options) == 0
    assert path.read_bytes() == b""
    assert f"0 rows in {path}" in capsys.readouterr().err


async def test_an_interrupt_before_the_first_row_leaves_no_file_and_tells_of_none(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    def interrupted(main: Any) -> None:
        main.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    path = tmp_path / "rows.jsonl"
    options = ("-n", "3", "-o", str(path), "--endpoint", "http://h/v1")
    assert await run(monkeypatch, "generate", *options) == 130
    assert not path.exists()
    assert f"interrupted; no rows, and so no {path}" in capsys.readouterr().err


async def test_an_endpoints_error_tells_of_the_rows_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    async with FailingServer(300) as server:
        options = ("-n", "999", "-o", str(path), "--endpoint", server.url)
        assert await run(monkeypatch, "generate", *options) == 1
    made = len(read_rows(path))
    assert 0 < made <= 150
    err = capsys.readouterr().err
    assert f"{made} rows in {path}\nerror: " in err
    assert "used up" in err


async def test_an_error_before_the_first_row_leaves_no_file_and_tells_of_none(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    async with FailingServer(0) as server:
        options = ("-n", "4", "-o", str(path), "--endpoint", server.url)
        assert await run(monkeypatch, "generate", *options) == 1
    assert not path.exists()
    assert f"no rows, and so no {path}\nerror: " in capsys.readouterr().err


async def test_a_full_disk_leaves_whole_lines_and_is_told_of_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    program = "from dria_magpie.cli import main; main()"
    command = f'ulimit -f 2; exec "$0" -c "{program}" generate -n 50 -o "$1" --endpoint "$2"'
    async with vllm() as server:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command, sys.executable, str(path), server.url),
            stderr=asyncio.subprocess.PIPE,
        )
        err = (await asyncio.wait_for(process.communicate(), 60))[1].decode()
    assert process.returncode == 1, err
    rows = read_rows(path)
    assert 0 < len(rows) < 50
    assert err.endswith(
        f"{len(rows)} rows in {path}\nerror: {path} cannot be written: File too large\n"
    )


@pytest.mark.parametrize("verb", ["generate", "probe", "sweep"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--chat-template FILE.jinja", "--chat-template belongs to --endpoint"),
        ("--chat-template NONE.jinja --endpoint http://h/v1", "--chat-template: .*NONE.jinja"),
        ("--chat-template . --endpoint http://h/v1", "--chat-template: . is no chat template"),
        ("--chat-template BAD.json --endpoint http://h/v1", "--chat-template: .*is damaged"),
    ],
)
async def test_a_chat_template_that_cannot_be_used_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    tmp_path: Path,
    verb: str,
    options: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE.jinja").write_text("{{ messages }}", "utf-8")
    (tmp_path / "BAD.json").write_text("[", "utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, "utf-8")
    arguments = {
        "generate": ["-n", "1", "-o", "rows.jsonl"],
        "probe": [],
        "sweep": ["recipe.toml", "-o", "run"],
    }[verb]
    assert await run(monkeypatch, verb, *arguments, *options.split()) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("verb", ["generate", "probe"])
async def test_a_chat_template_may_be_for_the_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path, verb: str
) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}[{{ m.role }}]{{ m.content }}|{% endfor %}")
    arguments = ["-n", "2", "--chat-template", str(template)]
    arguments += ["-o", str(tmp_path / "rows.jsonl")] if verb == "generate" else []
    async with vllm() as server:
        monkeypatch.setenv("DRIA_ENDPOINT", server.url)
        assert await run(monkeypatch, verb, *arguments) in {0, 1}
        assert {call.prompt for call in server.raw} == {"[user]"}
        monkeypatch.setenv("DRIA_NETWORK", "nats://h")
        if verb == "generate":
            assert await run(monkeypatch, verb, *arguments) == 2
            assert "belongs to --endpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--turns", "0"], "--turns takes 1 to"),
        (["--turns", "1000000000"], "--turns takes 1 to"),
        (["--seed", str(2**63)], "--seed"),
        (["-n", "-1"], "-n"),
        (["--model", " "], "models takes"),
        (["--endpoint", ""], "URL"),
        (["--endpoint", "http://h/v1", "--network", "nats://h"], "not both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
async def test_wrong_usage_of_generate_makes_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path, options: list[str], says: str
) -> None:
    path = tmp_path / "rows.jsonl"
    assert await run(monkeypatch, "generate", "-n", "1", "-o", str(path), *options) == 2
    assert says in capsys.readouterr().err
    assert not path.exists()


async def test_an_empty_url_is_wrong_usage_of_probe_too(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("DRIA_ENDPOINT", "http://h/v1")
    assert await run(monkeypatch, "probe", "--endpoint", "") == 2
    assert "URL" in capsys.readouterr().err
