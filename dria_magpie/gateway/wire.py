"""What a client hands in, read; whatever does not belong there is left behind here.

A client sends its task's private key along. It is in none of these models, so that it goes no
further than the bytes that were read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from coincurve import PublicKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dria_magpie.errors import InvalidInputError

_Id = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9]{1,64}\z")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Read = TypeVar("_Read", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Value(_Part):
    payload: str


class _Envelope(_Part):
    value: _Value


class _Input(_Part):
    workflow: Any
    model: Annotated[list[_Name], Field(min_length=1, max_length=100)]


class _TaskModel(_Part):
    task_id: _Id = Field(alias="taskId")
    input: _Input
    picked_nodes: Annotated[list[_Name], Field(alias="pickedNodes", min_length=1, max_length=100)]
    public_key: Annotated[str, StringConstraints(max_length=200)] = Field(alias="publicKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task as a client hands it in.

    Attributes:
        id: its name there.
        workflow: the graph, not checked.
        models: any of which will do.
        picked: addresses of the nodes that the client waits for.
        public_key: what its result is sealed with: a point of the curve, 65 bytes.
    """

    id: str
    workflow: Any
    models: tuple[str, ...]
    picked: tuple[str, ...]
    public_key: bytes


def read_order(body: bytes) -> Order:
    """Read the body of a POST.

    Raises:
        InvalidInputError: it is no task; the text names what is wrong, and quotes nothing.
    """
    envelope = _validate(_Envelope, body, 'the body is {"value": {"payload": BASE64}}')
    try:
        payload = base64.b64decode(envelope.value.payload, validate=True)
    except (binascii.Error, ValueError):
        payload = None
    if payload is None:
        raise InvalidInputError("value.payload is not base64")
    task = _validate(_TaskModel, payload, "value.payload is a task in base64")
    return Order(
        id=task.task_id,
        workflow=task.input.workflow,
        models=tuple(task.input.model),
        picked=tuple(task.picked_nodes),
        public_key=_read_key(task.public_key),
    )


def _validate(kind: type[_Read], text: bytes, what: str) -> _Read:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    # Raised out here, as an exception keeps the one that it comes from, and that one the input.
    raise InvalidInputError(f"{what}: {_describe(problems[0])}")


def _describe(problem: Mapping[str, Any]) -> str:
    # What a stranger wrote is not part of these texts, but for JSON's own errors.
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _read_key(text: str) -> bytes:
    try:
        return PublicKey(b"\x04" + bytes.fromhex(text)).format(compressed=False)
    except Exception:  # noqa: BLE001 - coincurve raises bare ones, and a stranger wrote this
        raise InvalidInputError("publicKey is no point of secp256k1: X and Y in hex") from None
