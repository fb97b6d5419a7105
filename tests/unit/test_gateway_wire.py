"""What travels between a client and the gateway, against vectors that the SDK accepts."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest
from coincurve import PrivateKey, PublicKey
from ecies import decrypt

from dria_magpie.errors import InvalidInputError
from dria_magpie.gateway.identities import NUMBER, Identities
from dria_magpie.gateway.seal import Address, Execution, seal_failure, seal_result
from dria_magpie.gateway.wire import read_order
from dria_magpie.network.signing import NodeKey, address_of

SECRET = b"driadriadriadriadriadriadriadria".hex()
PAYLOAD = (
    '{"heartbeat_id":"00000000-0000-0000-0000-000000000000","deadline":"2025-04-03T12:00:20Z",'
    '"models":["gemma2:9b-instruct-fp16"],"pending_tasks":[0,0]}'
)
SIGNATURE = (
    "0b1ebe49346cb3eed485f4099db0208f52e040aaabb36f9c968ffec304f30168"
    "3738560845f0450fc48d0b74f51435e8be37863474b936e8afb258556c17ec4a"
)
TASK_SECRET = b"\x11" * 32
TASK_KEY = (
    "4f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
    "385b6b1b8ead809ca67454d9683fcf2ba03456d6fe2c4abe2b07f0fbdbb2f1c1"
)
CIPHERTEXT = (
    "046d916b2955a916af4bfd18eda12423de35bc9a1c80cbc26af4d87c2c42a6445a75c0b2d12f69343c0029a79c14"
    "b90de9599501f070a3f289704f29e4fe1bac43222932a07e8870a14f9264ad0dde857a4ad5251569e19d0b80f72e"
    "f8dfdace3babffdb01239a7bce89d52efeb3a1"
)
IDENTITIES = Identities(b"\x07" * 32)
TO = Address(
    task="abc",
    key_digest="d" * 64,
    public_key=b"\x04" + bytes.fromhex(TASK_KEY),
    identity=4,
    received=1.0,
)
RUN = Execution(model="really-m", started=1.5, ended=2.000001)


def recover(item: dict[str, object]) -> str:
    signature = bytes.fromhex(item["signature"]) + item["recovery_id"].to_bytes(1, "big")
    return address_of(PublicKey.from_signature_and_message(signature, item["message"].encode()))


def test_a_signature_is_the_one_that_nodes_on_dria_made() -> None:
    message = base64.b64encode(PAYLOAD.encode())
    key = NodeKey.from_hex(SECRET)
    assert key.sign(sha256(message).digest()) == SIGNATURE + "01"
    assert key.address == "d79fdf178547614cfdd0df6397c53569716bd596"


def test_a_heartbeat_is_signed_by_the_node_that_it_names() -> None:
    beats = [json.loads(text) for text in IDENTITIES.heartbeats(["a", "b"])]
    assert [recover(beat) for beat in beats] == list(IDENTITIES.addresses)
    assert len(set(IDENTITIES.addresses)) == NUMBER == 10
    for beat in beats:
        assert json.loads(base64.b64decode(beat["message"])) == {
            "models": ["a", "b"],
            "pending_tasks": [0, 0],
        }
        assert beat["peer_id"]


def test_nodes_without_models_are_not_there() -> None:
    assert IDENTITIES.heartbeats([]) == []


def test_the_same_secret_makes_the_same_nodes(tmp_path) -> None:
    assert Identities(b"\x07" * 32).addresses == IDENTITIES.addresses
    assert Identities(b"\x08" * 32).addresses != IDENTITIES.addresses
    assert IDENTITIES.find(IDENTITIES.addresses[3]) == 3
    assert IDENTITIES.find("0" * 40) is None


def test_a_result_is_sealed_as_the_sdk_opens_it() -> None:
    assert decrypt(TASK_SECRET, bytes.fromhex(CIPHERTEXT)) == b'["hi","hello"]'
    item = json.loads(seal_result(IDENTITIES, TO, RUN, '["hi","ça"]'))
    assert recover(item) == IDENTITIES.addresses[4]
    inner = json.loads(base64.b64decode(item["message"]))
    sealed = bytes.fromhex(inner.pop("ciphertext"))
    assert decrypt(TASK_SECRET, sealed).decode() == '["hi","ça"]'
    assert len(sealed) == 97 + len('["hi","ça"]'.encode())
    assert inner == {
        "taskId": f"abc--{'d' * 64}",
        "model": "really-m",
        "stats": {
            "receivedAt": "1970-01-01T00:00:01.000000Z",
            "publishedAt": "1970-01-01T00:00:02.000001Z",
            "executionStartedAt": "1970-01-01T00:00:01.500000Z",
            "executionEndedAt": "1970-01-01T00:00:02.000001Z",
        },
    }


def test_half_a_character_does_not_keep_a_result_back() -> None:
    item = json.loads(seal_result(IDENTITIES, TO, RUN, "a\ud800"))
    inner = json.loads(base64.b64decode(item["message"]))
    assert decrypt(TASK_SECRET, bytes.fromhex(inner["ciphertext"])).decode() == "a\ufffd"


def test_a_failure_has_the_text_that_ends_the_clients_wait() -> None:
    item = json.loads(seal_failure(IDENTITIES, TO, RUN, "x" * 5000))
    inner = json.loads(base64.b64decode(item["message"]))
    assert inner["error"].startswith("Invalid prompt: xxx")
    assert len(inner["error"]) < 2100
    assert inner["model"] == "really-m"
    assert "ciphertext" not in inner


def order(**changes: object) -> bytes:
    task = {
        "taskId": "c4ggIj9ASHNkXUZcDdDnGSkgap9lcMRT",
        "input": {"workflow": {"é": 1}, "model": ["gemma2:9b-instruct-fp16"]},
        "pickedNodes": ["9c11f8b618aee0c4e4b4a9ced5910611f42a049b"],
        "deadline": "2026-11-20T05:35:25.102269+00:00",
        "publicKey": TASK_KEY,
        "datasetId": "d",
        "privateKey": "0x" + "11" * 32,
        "nodePeerIds": ["p"],
    } | changes
    payload = base64.b64encode(json.dumps(task, ensure_ascii=False).encode()).decode()
    return json.dumps({"value": {"payload": payload}}).encode()


def test_a_task_is_read_without_its_private_key() -> None:
    read = read_order(order())
    assert read.id == "c4ggIj9ASHNkXUZcDdDnGSkgap9lcMRT"
    assert read.workflow == {"é": 1}
    assert read.models == ("gemma2:9b-instruct-fp16",)
    assert read.picked == ("9c11f8b618aee0c4e4b4a9ced5910611f42a049b",)
    assert read.public_key == PrivateKey(TASK_SECRET).public_key.format(compressed=False)
    assert "11" * 32 not in repr(read)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body is"),
        (b"{}", "value: Field required"),
        (b'{"value": {"payload": "?"}}', "is not base64"),
        (b'{"value": {"payload": "e30="}}', "taskId: Field required"),
        (b'{"value": {"payload": "/w=="}}', "value.payload is a task"),
        (order(publicKey="11" * 64), "publicKey is no point"),
        (order(publicKey=TASK_KEY[:-2]), "publicKey is no point"),
        (order(taskId="a--b"), "taskId"),
        (order(taskId="a\n"), "taskId"),
        (order(taskId=7), "taskId"),
        (order(input={"model": ["m"]}), "input.workflow"),
        (order(input={"workflow": {}, "model": "m"}), "input.model"),
    ],
)
def test_what_is_no_task_is_refused_and_nothing_is_quoted(body, told) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_order(body)
    assert told in str(caught.value)
    told_of = [caught.value]
    while (error := told_of[-1].__context__) is not None:
        told_of.append(error)
    assert "1111" not in "".join(map(repr, told_of))
