"""The broker: the one module that speaks NATS. Everything else is told of messages and streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from dria_magpie.errors import LimitError, NetworkError
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.refusal import explain_refusal

logger = logging.getLogger(__name__)
PATIENCE = 5.0
_TAKEN = 10077  # JetStream's code for "maximum messages per subject exceeded"
_RECONNECT = 0.25
_MOST_PENDING = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came.

    Attributes:
        subject: what it was published on.
        payload: its bytes.
        seq: its place in its stream; 0 if it came from none.
        reply: where an answer, or the word that it is done with, goes; "" for nowhere.
        status: what the broker says instead of a message; 0 for a message.
    """

    subject: str
    payload: bytes
    seq: int = 0
    reply: str = ""
    status: int = 0


Handler = Callable[[Delivery], Awaitable[None]]


class Subscription:
    """A subject that is listened to."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def aclose(self) -> None:
        """Listen no more."""
        try:
            await self._inner.unsubscribe()
        except (NatsError, OSError) as error:
            raise NetworkError(f"the subscription is gone: {error!r}") from error


class SubjectTakenError(NetworkError):
    """The stream has as many messages of this subject as it takes."""


class Broker:
    """A connection to the broker, which is made again for as long as it takes.

    Args:
        url: of the broker: ``nats://``, ``tls://``, ``ws://`` or ``wss://``.
        credentials: who connects.

    Attributes:
        on_connect: called after each connection but the first, as everything that was not stored
            may be lost.

    Raises:
        NetworkError: from every method that asks for an answer: there is none in time.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.on_connect: Callable[[], None] = lambda: None
        self._url = url
        self._credentials = credentials
        self._nc: Client | None = None
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float]] = {}
        self._asked = 0
        self._inbox = ""
        self._watch: asyncio.Task[None] | None = None
        self._refused: Exception | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._nc is not None and self._nc.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone for good, as after a revocation."""
        return self._nc is not None and self._nc.is_closed

    async def connect(self) -> None:
        """Connect.

        Raises:
            NetworkError: nobody is there, or the credentials are refused; the text says why.
        """
        nc = await connect_once(
            self._url,
            self._credentials,
            error_cb=self._tell_error,
            reconnected_cb=self._tell_connected,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT,
            pending_size=_MOST_PENDING,
            skip_subject_validation=True,
        )
        self._nc = nc
        _pass_over_bad_headers(nc)
        self._inbox = nc.new_inbox()
        await nc.subscribe(f"{self._inbox}.*", cb=self._take_answer)
        self._watch = asyncio.create_task(self._expire())

    async def aclose(self) -> None:
        """Disconnect; what waits for an answer ends in a `NetworkError`."""
        nc, self._nc = self._nc, None
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._fail_all(NetworkError("the connection to the network was closed"))
        if nc is not None and not nc.is_closed:
            with contextlib.suppress(NatsError, OSError, asyncio.TimeoutError):
                # Twice: a ping may overtake what was published just before.
                await asyncio.wait_for(nc.flush(1), 1.5)
                await asyncio.wait_for(nc.flush(1), 1.5)
            with contextlib.suppress(NatsError, OSError):
                await nc.close()

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Send a message; while the connection is away it waits for it.

        Nobody says whether it came. What members put into streams is not acknowledged: the broker
        would answer on whatever subject a member names, be it another's.

        Raises:
            LimitError: it is larger than the broker takes.
        """
        try:
            await self._client.publish(subject, payload, reply)
        except MaxPayloadError as error:
            raise LimitError(f"{len(payload):,} bytes are more than a network takes") from error
        except (NatsError, OSError) as error:
            raise NetworkError(f"the broker at {self._url} takes nothing: {error!r}") from error

    async def flush(self) -> None:
        """Wait until the broker has read what was sent."""
        try:
            await self._client.flush(int(PATIENCE))
        except (NatsError, OSError, TimeoutError) as error:
            raise NetworkError(self._explain_silence()) from error

    def new_inbox(self) -> str:
        """Give a subject for answers that nobody else may read."""
        return self._client.new_inbox()

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Have messages of a subject handled one after the other, in their order."""

        async def handle(message: Msg) -> None:
            await handler(_read_delivery(message))

        return Subscription(await self._client.subscribe(subject, cb=handle, pending_msgs_limit=-1))

    async def ask(self, subject: str, payload: bytes, *, patience: float = PATIENCE) -> Msg:
        """Send a message and wait for the answer to it."""
        self._asked += 1
        token = f"{self._inbox}.{self._asked}"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = (future, loop.time() + patience)
        try:
            await self.publish(subject, payload, reply=token)
            answer = await future
        finally:
            self._waiting.pop(token, None)
        if answer.headers and answer.headers.get("Status") == "503":
            raise NetworkError(f"nobody listens to {subject!r} at {self._url}: is the hub up?")
        return answer

    async def store(self, subject: str, payload: bytes, *, patience: float = PATIENCE) -> int:
        """Put a message into a stream of the hub's; give its place once it is on the disk.

        Raises:
            SubjectTakenError: there are as many messages of this subject as the stream takes.
        """
        answer = read_answer(await self.ask(subject, payload, patience=patience))
        if "error" in answer:
            told = answer["error"]
            if told.get("err_code") == _TAKEN:
                raise SubjectTakenError(f"{subject} is taken")
            raise NetworkError(f"the broker did not keep {subject}: {told.get('description')}")
        return int(answer["seq"])

    @property
    def _client(self) -> Client:
        if self._nc is None:
            raise NetworkError("not connected to the network")
        return self._nc

    async def _take_answer(self, message: Msg) -> None:
        waiting = self._waiting.pop(message.subject, None)
        if waiting and not waiting[0].done():
            waiting[0].set_result(message)

    async def _expire(self) -> None:
        """End what has waited too long; one clock for all, as a timer each would cost more."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.1)
            now = loop.time()
            late = [token for token, (_, until) in self._waiting.items() if until < now]
            for token in late:
                future, _ = self._waiting.pop(token)
                if not future.done():
                    future.set_exception(NetworkError(self._explain_silence()))

    def _explain_silence(self) -> str:
        if self._refused is not None:
            return explain_refusal(self._refused)
        return f"no answer from the broker at {self._url}: is it up?"

    def _fail_all(self, error: NetworkError) -> None:
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(error)

    async def _tell_error(self, error: Exception) -> None:
        # A forbidden call looks like silence to whoever made it, so it is kept and told here.
        self._refused = error
        context = {"action": "broker_error", "error": repr(error)}
        logger.warning("the broker says: %s", error, extra=context)

    async def _tell_connected(self) -> None:
        self._refused = None
        # Answers to what was asked before went to a connection that is gone.
        self._fail_all(NetworkError("the connection to the broker was lost and made again"))
        self.on_connect()


def read_answer(message: Msg) -> dict[str, Any]:
    """Read an answer of JetStream, which may tell of an error."""
    try:
        value = json.loads(message.data)
    except ValueError as error:
        raise NetworkError(f"the broker answered {message.data[:80]!r}") from error
    return value if isinstance(value, dict) else {}


def _read_delivery(message: Msg) -> Delivery:
    reply = message.reply or ""
    # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.…
    if reply.startswith("$JS.ACK."):
        # The headers of what somebody handed in are his own, and no word of the broker.
        return Delivery(message.subject, message.data, int(reply.split(".")[5]), reply)
    status = (message.headers or {}).get("Status", "")
    return Delivery(
        message.subject, message.data, 0, reply, int(status) if status.isdecimal() else 0
    )


def _pass_over_bad_headers(nc: Any) -> None:
    """Have headers count as none that cannot be read: else nats-py reads nothing any more."""
    read = nc._process_headers  # noqa: SLF001 - there is no other way to keep a client alive

    async def read_or_not(headers: bytes) -> Any:
        try:
            return await read(headers)
        except Exception:  # noqa: BLE001 - strangers write headers
            return None

    nc._process_headers = read_or_not  # noqa: SLF001
