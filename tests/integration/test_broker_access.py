"""Who may do what on a real broker, and how it comes and goes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats.errors
import psutil
import pytest
from typer.testing import CliRunner

from dria_magpie.cli.app import app
from dria_magpie.errors import DriaMagpieError, InvalidInputError, NetworkError
from dria_magpie.network.credentials import Credentials
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.credentials.keys import BrokerKey
from dria_magpie.network.credentials.permissions import Permissions
from dria_magpie.network.credentials.tokens import mint_user
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.kept import Kept
from dria_magpie.network.server.keyring import Keyring
from dria_magpie.network.server.leashed import _LEASH, Leashed
from dria_magpie.network.server.process import start_server
from dria_magpie.network.server.revocation import publish
from dria_magpie.network.server.running import run_network
from tests.ports import find_ports

KEY = 'a key "of" 20 \\ characters # or more'
MARKER = b"a marker that nobody else writes"
# Of nats-py and aiohttp
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout'")


@pytest.fixture(autouse=True, scope="module")
def store_key():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIA_STORE_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory, store_key):
    """A network that runs."""
    home = NetworkHome.create(tmp_path_factory.mktemp("home") / "net", port=find_ports())
    server = asyncio.run(start_server(home))
    yield home
    asyncio.run(server.stop())


@pytest.fixture(scope="module")
def node(home):
    return home.invite("node", "node-a")


@pytest.fixture(scope="module")
def client(home):
    return home.invite("client", "client-a")


@pytest.fixture(scope="module")
def other_node(home):
    return home.invite("node", "node-b")


class Connected:
    """A connection, and what its broker complained of."""

    def __init__(self, home, credentials, url=""):
        self._credentials = credentials
        self._url = url or home.local_url
        self.violations = []
        self.closed = asyncio.Event()

    async def __aenter__(self):
        async def keep(error):
            self.violations.append(str(error))

        async def close():
            self.closed.set()

        self.nats = await connect_once(self._url, self._credentials, error_cb=keep, closed_cb=close)
        return self

    async def __aexit__(self, *_):
        await self.nats.close()

    async def publishes(self, subject, payload=b"x"):
        return await self._tell(self.nats.publish(subject, payload))

    async def subscribes(self, subject):
        return await self._tell(self.nats.subscribe(subject))

    async def settle(self):
        """Wait until the broker has all that was sent, and has said what it thinks of it."""
        # The ping of the first one may overtake what nats-py has still to send
        await self.nats.flush()
        await self.nats.flush()

    async def _tell(self, call):
        before = len(self.violations)
        await call
        await self.settle()
        said = self.violations[before:]
        assert all("permissions violation" in each.lower() for each in said)
        return not said


async def test_a_node_uses_its_own_subjects_only(home, node, other_node) -> None:
    mine, other = node.token, other_node.token
    async with Connected(home, node) as link:
        for subject in (f"node.{mine}.result", f"node.{mine}.x", f"alive.{mine}"):
            assert await link.publishes(subject), subject
        for subject in (f"work.{mine}", f"_INBOX.{mine}.>"):
            assert await link.subscribes(subject), subject
        for subject in (
            f"node.{other}.result",
            f"node.{mine}.result.more",
            f"alive.{other}",
            f"work.{mine}",
            f"work.{other}",
            "task.client-a.1",
            "ask.client-a.x",
            "told.client-a.1",
            "_INBOX.HUB.1",
            "$JS.API.INFO",
            "$JS.API.STREAM.CREATE.X",
            "$JS.ACK.X.hub.1.1.1.1.0",
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.CLAIMS.UPDATE",
            "anything",
        ):
            assert not await link.publishes(subject), subject
        for subject in (
            f"work.{other}",
            "work.*",
            "work.>",
            "node.>",
            f"node.{mine}.*",
            "alive.*",
            "task.>",
            "told.>",
            "told.client-a.>",
            f"_INBOX.{other}.>",
            "_INBOX.HUB.>",
            "_INBOX.>",
            "$JS.>",
            "$SYS.>",
            ">",
        ):
            assert not await link.subscribes(subject), subject


async def test_a_client_uses_its_own_subjects_only(home, client) -> None:
    async with Connected(home, client) as link:
        for subject in ("task.client-a.1", "task.client-a.1.2", "ask.client-a.status"):
            assert await link.publishes(subject), subject
        for subject in ("told.client-a.>", "told.client-a.1", "_INBOX.client-a.>"):
            assert await link.subscribes(subject), subject
        for subject in (
            "task.client-b.1",
            "ask.client-b.x",
            "ask.client-a.x.y",
            "told.client-a.1",
            "node.client-a.result",
            "$JS.API.STREAM.NAMES",
            "$SYS.REQ.SERVER.PING",
        ):
            assert not await link.publishes(subject), subject
        for subject in (
            "told.client-b.>",
            "told.*.>",
            "task.client-a.>",
            "task.>",
            "ask.>",
            "work.>",
            "node.>",
            "_INBOX.client-b.>",
            "_INBOX.HUB.>",
            "$JS.API.>",
            "$SYS.>",
            ">",
        ):
            assert not await link.subscribes(subject), subject


async def test_the_hub_reaches_everyone_and_nobody_else_reaches_jetstream(
    home, node, client
) -> None:
    hub = home.credentials("hub")
    async with Connected(home, hub) as link, Connected(home, node) as worker:
        given = await worker.nats.subscribe(f"work.{node.token}")
        done = await link.nats.subscribe("node.*.result")
        await worker.settle()
        await link.settle()
        await link.publishes(f"work.{node.token}", b"a task")
        assert (await given.next_msg(5)).data == b"a task"
        await worker.publishes(f"node.{node.token}.result", b"a result")
        assert (await done.next_msg(5)).data == b"a result"
        assert (await link.nats.jetstream().account_info()).limits.max_storage == -1
    for credentials in (node, client):
        async with Connected(home, credentials) as link:
            with pytest.raises(nats.errors.TimeoutError):
                await link.nats.request("$JS.API.INFO", timeout=0.05)
            assert 'publish to "$js.api.info"' in link.violations[0]


async def test_requests_are_answered_in_an_inbox_of_ones_own(home, client) -> None:
    async with Connected(home, home.credentials("hub")) as hub, Connected(home, client) as link:

        async def answer(message):
            assert message.reply.startswith("_INBOX.client-a.")
            await message.respond(b"here")

        await hub.nats.subscribe("ask.*.*", cb=answer)
        await hub.settle()
        assert (await link.nats.request("ask.client-a.x", timeout=5)).data == b"here"


async def test_a_member_cannot_send_too_much(home, client) -> None:
    async with Connected(home, client) as link:
        await link.nats.publish("task.client-a.1", b"x" * 600_001)
        await asyncio.wait_for(link.closed.wait(), 5)
        assert "maximum payload" in str(link.nats.last_error).lower()


async def test_a_member_cannot_listen_to_too_much(home, client) -> None:
    async with Connected(home, client) as link:
        for _ in range(20):
            await link.nats.subscribe("told.client-a.>")
        await asyncio.wait_for(link.closed.wait(), 5)
        assert "maximum subscriptions exceeded" in str(link.nats.last_error).lower()


async def test_nobody_comes_in_without_good_credentials(home, client, tmp_path) -> None:
    # Of another operator
    elsewhere = NetworkHome.create(tmp_path / "elsewhere")
    strangers = [elsewhere.invite("client", "client-a"), elsewhere.credentials("hub")]
    # With a token that is another's, or changed
    strangers.append(Credentials(client.jwt, BrokerKey.generate("user").seed))
    head, _, tail = client.jwt.split(".")
    strangers.append(
        Credentials(f"{head}.{home.credentials('hub').jwt.split('.')[1]}.{tail}", client.seed)
    )
    # Signed by a key of a member
    key = BrokerKey.from_seed(client.seed)
    own = mint_user(
        key,
        key.public,
        name="x",
        tags=["kind:hub", "token:HUB"],
        permissions=Permissions((">",), (">",)),
        now=1,
    )
    strangers.append(Credentials(own, client.seed))
    for stranger in strangers:
        with pytest.raises(NetworkError, match=r"refused these credentials.*network invite"):
            await connect_once(home.local_url, stranger)


async def test_nobody_comes_in_without_any_credentials(home) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", home.facts.port)
    info = json.loads((await reader.readline()).removeprefix(b"INFO "))
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    said = await reader.read()
    assert info["auth_required"]
    assert b"Authorization Violation" in said
    assert b"PONG" not in said
    writer.close()
    await writer.wait_closed()


async def test_expired_credentials_are_refused_here_and_by_the_broker(home) -> None:
    made = home.invite("client", "late", timedelta(seconds=-5))
    with pytest.raises(InvalidInputError, match=r"expired on .* UTC; ask the network's owner"):
        await connect_once(home.local_url, made)
    with pytest.raises(InvalidInputError, match=r"late.creds: these credentials expired"):
        Credentials.read(home.files.creds("late"))

    class Shameless(Credentials):
        def check(self, what=""):
            pass

    with pytest.raises(NetworkError, match=r"refused these credentials.*expired"):
        await connect_once(home.local_url, Shameless(made.jwt, made.seed))


async def test_credentials_that_expire_end_the_connection(home) -> None:
    keys = Keyring.read(home.files.keys)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    made = keys.issue("client", "brief", token="brief", expires=soon)
    async with Connected(home, made) as link:
        await asyncio.wait_for(link.closed.wait(), 4)
        assert "expired" in str(link.nats.last_error).lower()


async def test_who_is_revoked_is_cut_off_at_once_and_stays_out(home) -> None:
    made, kept = home.invite("node", "bad"), home.invite("node", "good")
    async with Connected(home, made) as link, Connected(home, kept) as other:
        home.revoke("bad")
        assert (await publish(home)).effective
        await asyncio.wait_for(link.closed.wait(), 2)
        assert "revoked" in str(link.nats.last_error).lower()
        assert await other.publishes(f"alive.{kept.token}")
    with pytest.raises(NetworkError, match="they were revoked"):
        await connect_once(home.local_url, made)
    again = home.invite("node", "bad")
    assert again.token != made.token
    async with Connected(home, again) as link:
        assert await link.publishes(f"alive.{again.token}")
        # Other changes do not bring the first one back
        home.revoke("good")
        await publish(home)
    with pytest.raises(NetworkError, match="they were revoked"):
        await connect_once(home.local_url, made)


async def test_websockets_work_as_well(home, client) -> None:
    async with Connected(home, client, home.facts.websocket_url) as link:
        assert await link.publishes("task.client-a.1")
        assert not await link.publishes("task.client-b.1")


async def test_nothing_that_is_kept_can_be_read_on_the_disk(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    server = await start_server(home)
    async with Connected(home, home.credentials("hub")) as link:
        stream = link.nats.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept.*"])
        await stream.publish("kept.1", MARKER)
    await server.stop()
    files = [file for file in home.files.store.rglob("*") if file.is_file()]
    assert any(file.suffix == ".blk" for file in files)
    assert not any(MARKER in file.read_bytes() for file in files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIA_STORE_KEY", "another key of some length")
        with pytest.raises(InvalidInputError, match="not the key that this network's store"):
            await start_server(home)
    server = await start_server(home)
    async with Connected(home, home.credentials("hub")) as link:
        kept = await link.nats.jetstream().get_last_msg("KEPT", "kept.1")
        assert kept.data == MARKER
    await server.stop()


async def test_a_revocation_without_a_broker_counts_from_the_next_start_on(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    made = home.invite("client", "anna")
    server = await start_server(home)
    await server.stop()
    home.revoke("anna")
    published = await publish(home)
    assert not published.effective
    assert "nothing answers" in published.reason
    server = await start_server(home)
    with pytest.raises(NetworkError, match="they were revoked"):
        await connect_once(home.local_url, made)
    await server.stop()
    with pytest.raises(NetworkError, match=r"nothing answers there.*network up"):
        await connect_once(home.local_url, made)


async def test_with_a_host_name_everything_is_encrypted(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", host="localhost", port=find_ports())
    made = home.invite("client", "anna")
    read = Credentials.read(home.files.creds("anna"))
    assert read == made
    assert read.certificate.startswith("-----BEGIN CERTIFICATE")
    server = await start_server(home)
    try:
        for url in (home.facts.url, home.facts.websocket_url):
            async with Connected(home, read, url) as link:
                assert await link.publishes("task.anna.1")
        plain = f"nats://127.0.0.1:{home.facts.port}"
        with pytest.raises(InvalidInputError, match="begins with tls:// or wss://"):
            await connect_once(plain, read)
        without = Credentials(read.jwt, read.seed)
        for url in (home.facts.url, home.facts.websocket_url):
            with pytest.raises(NetworkError, match="certificate is not to be trusted"):
                await connect_once(url, without)
        home.revoke("anna")
        assert (await publish(home)).effective
    finally:
        await server.stop()


async def test_a_port_that_is_taken_is_named(home, tmp_path) -> None:
    second = NetworkHome.create(tmp_path / "net", port=home.facts.port)
    with pytest.raises(InvalidInputError, match=f"port {home.facts.port} or .* is taken"):
        await start_server(second)


async def test_a_broker_that_cannot_start_says_why(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    with pytest.raises(DriaMagpieError, match="ended with exit code 0"):
        await start_server(home, Path(shutil.which("true")))
    with pytest.raises(InvalidInputError, match=r"--server .*: there is no program"):
        await start_server(home, tmp_path / "nothing")


def test_a_program_ends_with_its_owner_however_that_dies() -> None:
    code = (
        "import sys, time\n"
        "from dria_magpie.network.server.leashed import Leashed\n"
        "program = Leashed(['/bin/sleep', '60'])\n"
        "print(program.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = psutil.Process(int(owner.stdout.readline()))
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait(5)
    owner.stdout.close()
    gone, _ = psutil.wait_procs([child], 5)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


async def test_a_program_that_does_not_heed_its_owners_end_is_killed(tmp_path, monkeypatch) -> None:
    hasty = tmp_path / "leash.py"
    hasty.write_text(_LEASH.read_text().replace("_PATIENCE = 10.0", "_PATIENCE = 0.1"))
    monkeypatch.setattr("dria_magpie.network.server.leashed._LEASH", hasty)
    # What is ignored here is ignored by a program that starts now
    heeded = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        program = Leashed(["/bin/sleep", "60"])
    finally:
        signal.signal(signal.SIGTERM, heeded)
    program._process.stdin.close()  # as the operating system does where the owner is gone
    async with asyncio.timeout(5):
        assert await program.wait() == -signal.SIGKILL


HUB = """
import asyncio, sys
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.server import NetworkHome

async def main():
    home = NetworkHome.open(sys.argv[1])
    nats = await connect_once(home.local_url, home.credentials("hub"))
    closed = asyncio.Event()
    async def answer(message):
        await message.respond(b"{}")
    await nats.subscribe("owner.status", cb=answer)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_network_runs_until_it_is_stopped_whatever_dies_in_it(tmp_path, caplog) -> None:
    caplog.set_level("INFO", "dria_magpie")
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    ready, stopped, restarted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record):
            if record.action == "restarted":
                restarted.set()

    log = logging.getLogger("dria_magpie.network.server.kept")
    log.addHandler(watch := Watch())
    hub = [sys.executable, "-c", HUB, str(home.path)]
    running = asyncio.create_task(run_network(home, stopped, on_ready=ready.set, hub=hub))
    await asyncio.wait_for(ready.wait(), 20)
    with pytest.raises(DriaMagpieError, match="another process runs the network"):
        await run_network(home, stopped, on_ready=ready.set, hub=hub)
    started = {line.program: line.pid for line in caplog.records if line.action == "started"}
    os.kill(started["broker"], signal.SIGKILL)
    await asyncio.wait_for(restarted.wait(), 10)
    async with Connected(home, home.credentials("hub")):
        stopped.set()
    assert await asyncio.wait_for(running, 15) == 0
    log.removeHandler(watch)
    last = [line.program for line in caplog.records if line.action == "ended"][-2:]
    assert last == ["hub", "broker"]
    assert not any(psutil.pid_exists(pid) for pid in started.values())


async def test_a_hub_that_was_called_wrongly_ends_the_network(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    hub = [sys.executable, "-c", "raise SystemExit(2)"]
    never = asyncio.Event()
    code = await run_network(home, never, on_ready=never.set, hub=hub)
    assert code == 2


async def test_a_program_that_does_not_start_again_is_tried_again(caplog, monkeypatch) -> None:
    monkeypatch.setattr("dria_magpie.network.server.kept._FIRST_WAIT", 0.01)
    commands = iter([["/bin/sh", "-c", "exit 1"], None, ["/bin/sh", "-c", "exit 2"]])

    async def start():
        command = next(commands)
        if command is None:
            raise DriaMagpieError("not now")
        return Leashed(command)

    kept = Kept("program", start, last=2)
    await kept.start()
    assert await kept.keep() == 2
    assert "not now" in caplog.text


def command(*words):
    """Run `dria-magpie network` in this process."""
    return CliRunner().invoke(app, ["network", *map(str, words)])


def test_members_are_invited_and_revoked_from_the_command_line(tmp_path) -> None:
    place = tmp_path / "net"
    made = command("init", place, "--port", find_ports())
    assert made.exit_code == 0
    assert made.stdout == ""
    assert "made a network at nats://127.0.0.1" in made.stderr
    invited = command(
        "invite", place, "--node", "a", "--client", "c", "--node", "b", "--expires", "30d"
    )
    files = invited.stdout.splitlines()
    assert files == [str(place / "creds" / f"{name}.creds") for name in "abc"]
    assert Credentials.read(files[0]).expires > datetime.now(UTC) + timedelta(days=29)
    for words in (
        ["invite", place],
        ["invite", place, "--client", "new", "--client", "new"],
        ["invite", place, "--client", "new", "--node", "a"],
        ["invite", place, "--client", "new", "--expires", "soon"],
        ["revoke", place, "a", "nobody"],
        ["init", place],
        ["up", tmp_path / "nowhere"],
    ):
        assert isinstance(command(*words).exception, InvalidInputError), words
    home = NetworkHome.open(place)
    assert {member.state for member in home.members()} == {"invited"}
    assert [member.name for member in home.members()] == ["a", "b", "c"]
    revoked = command("revoke", place, "a", "c")
    assert revoked.exit_code == 0
    assert "revoked from the network's next start on: a, c" in revoked.stderr
    assert [member.state for member in home.members()] == ["revoked", "invited", "revoked"]


def test_a_running_network_is_told_of_it(home) -> None:
    home.invite("client", "told-of")
    revoked = command("revoke", home.path, "told-of")
    assert revoked.stderr == "revoked, and cut off from the running network: told-of\n"


UP = """
import sys
from dria_magpie.network.server import running
hub = sys.argv.pop()
running.hub_command = lambda home: [sys.executable, "-c", hub, str(home.path)]
from dria_magpie.cli import main
main()
"""


@pytest.fixture
def up(tmp_path):
    """`dria-magpie network up` with a hub that does nothing, once it is ready."""
    home = NetworkHome.create(tmp_path / "net", port=find_ports())
    process = subprocess.Popen(
        [sys.executable, "-c", UP, "network", "up", str(home.path), HUB],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("ready: "):
            break
    yield process, lines, home
    process.kill()
    process.communicate(timeout=10)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_up_tells_when_it_is_ready_and_ends_hub_and_broker_in_this_order(up, kind) -> None:
    process, lines, home = up
    assert lines[-1] == f"ready: {home.facts.url} {home.facts.websocket_url}\n"
    started = [json.loads(line) for line in lines[:-1]]
    assert [(line["action"], line["program"]) for line in started] == [
        ("started", "broker"),
        ("started", "hub"),
    ]
    process.send_signal(kind)
    out, said = process.communicate(timeout=20)
    ended = [json.loads(line) for line in said.splitlines()]
    assert [(line["action"], line["program"]) for line in ended] == [
        ("ended", "hub"),
        ("ended", "broker"),
    ]
    assert [line["pid"] for line in ended] == [line["pid"] for line in started[::-1]]
    assert process.returncode == 130
    assert out == ""


def test_nothing_outlives_up_however_that_ends(up) -> None:
    process, lines, _ = up
    children = [psutil.Process(json.loads(line)["pid"]) for line in lines[:-1]]
    process.kill()
    process.wait(5)
    _, left = psutil.wait_procs(children, 10)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in left)


def test_up_without_a_key_for_the_store_says_how_to_make_one(tmp_path, monkeypatch) -> None:
    NetworkHome.create(tmp_path / "net")
    monkeypatch.delenv("DRIA_STORE_KEY")
    error = command("up", tmp_path / "net").exception
    assert isinstance(error, InvalidInputError)
    assert "export DRIA_STORE_KEY=$(openssl rand -hex 32)" in str(error)
