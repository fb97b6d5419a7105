"""The broker: the one module that speaks NATS. Everything else is told of messages and streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, UnexpectedEOF

from dria_magpie.errors import LimitError, NetworkError
from dria_magpie.network.answers import Answers
from dria_magpie.network.credentials.connecting import connect_once
from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.refusal import explain_refusal
from dria_magpie.network.delivery import (
    Delivery,
    read_answer,
    read_delivery,
    read_headers,
)

logger = logging.getLogger(__name__)
PATIENCE = 5.0
_TAKEN = 10077  # JetStream's code for "maximum messages per subject exceeded"
_RECONNECT = 0.25
_MOST_PENDING = 64 * 2**20


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
        self._answers: Answers | None = None
        self._inbox = ""
        self._refused: Exception | None = None
        self._is_away = False

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
        read_headers(nc)
        self._inbox = nc.new_inbox()
        self._answers = Answers(self._explain_silence)
        await nc.subscribe(f"{self._inbox}.*", cb=self._answers.take)

    async def aclose(self) -> None:
        """Disconnect; what waits for an answer ends in a `NetworkError`."""
        nc, self._nc = self._nc, None
        answers, self._answers = self._answers, None
        if answers is not None:
            await answers.aclose()
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
            if self.is_closed:
                raise NetworkError(
                    f"the network at {self._url} has cut this program off: its credentials were "
                    "revoked, or have expired; ask the network's owner"
                ) from error
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
            await handler(read_delivery(message))

        return Subscription(await self._client.subscribe(subject, cb=handle, pending_msgs_limit=-1))

    async def ask(self, subject: str, payload: bytes, *, patience: float = PATIENCE) -> Msg:
        """Send a message and wait for the answer to it."""
        answers = self._answers
        if answers is None:
            raise _not_connected()
        inbox, expected = answers.expect(self._inbox, patience)
        try:
            await self.publish(subject, payload, reply=inbox)
            answer = await expected
        finally:
            answers.drop(inbox)
        headers = answer.headers or {}
        # A stored message that is read comes with the headers of whoever wrote it.
        if headers.get("Status") == "503" and "Nats-Sequence" not in headers:
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
            raise _not_connected()
        return self._nc

    def _explain_silence(self) -> str:
        if self._refused is not None:
            return explain_refusal(self._refused)
        return f"no answer from the broker at {self._url}: is it up?"

    async def _tell_error(self, error: Exception) -> None:
        # A forbidden call looks like silence to whoever made it, so it is kept and told here.
        self._refused = error
        context = {"action": "broker_error", "error": repr(error)}
        if not isinstance(error, OSError | UnexpectedEOF):
            logger.warning("the broker says: %s", error, extra=context)
        elif not self._is_away:
            # Once: it is tried again several times a second
            self._is_away = True
            logger.warning("the network is away, and looked for: %r", error, extra=context)

    async def _tell_connected(self) -> None:
        self._refused = None
        self._is_away = False
        logger.warning("the network is back", extra={"action": "broker_back"})
        # Answers to what was asked before went to a connection that is gone.
        if self._answers is not None:
            lost = NetworkError("the connection to the broker was lost and made again")
            self._answers.fail(lost)
        self.on_connect()


def _not_connected() -> NetworkError:
    return NetworkError("not connected to the network")
