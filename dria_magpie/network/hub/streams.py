"""JetStream as the hub uses it: streams, consumers, single messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from secrets import token_hex
from typing import Any

from dria_magpie.errors import NetworkError
from dria_magpie.network.broker import Broker, Subscription
from dria_magpie.network.delivery import Delivery, read_answer
from dria_magpie.network.hub.prefix import Cut

_GRACE = 2.0
_AT_ONCE = 256
_FORGOTTEN = 10.0
_NOTHING = (404, 408)


class Streams:
    """What only the hub may do at the broker.

    Args:
        broker: the hub's connection.

    Raises:
        NetworkError: from every method that waits for an answer: there is none in time.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def make_stream(self, **config: Any) -> None:
        """Make a stream, or give an existing one this configuration."""
        name = config["name"]
        answer = await self._api(f"STREAM.CREATE.{name}", config)
        if "error" in answer:
            answer = await self._api(f"STREAM.UPDATE.{name}", config)
        if "error" in answer:
            raise NetworkError(f"cannot make the stream {name}: {answer['error']}")

    async def make_consumer(self, stream: str, name: str, **config: Any) -> int:
        """Make a consumer, in the place of an older one of its name; count what it will see."""
        await self._api(f"CONSUMER.DELETE.{stream}.{name}", {})
        wanted = {"stream_name": stream, "config": {"name": name, **config}}
        subject = f"CONSUMER.CREATE.{stream}.{name}"
        answer = await self._api(subject, wanted)
        if "error" in answer:
            raise NetworkError(f"cannot read the stream {stream}: {answer['error']}")
        return int(answer.get("num_pending", 0))

    async def reader(
        self, stream: str, consumer: str, on_arrival: Callable[[Delivery], None]
    ) -> Reader:
        """Give what reads a consumer; `on_arrival` hears of messages before they are taken."""
        reader = Reader(self._broker, stream, consumer, on_arrival)
        await reader.open()
        return reader

    async def read_last(self, stream: str, subject: str) -> Delivery | None:
        """Read the last message of a subject; None if there is none."""
        return await self._get(stream, {"last_by_subj": subject})

    async def read_at(self, stream: str, seq: int) -> Delivery | None:
        """Read the message at a place; None if there is none."""
        return await self._get(stream, {"seq": seq})

    async def read_next(self, stream: str, subject: str, seq: int) -> Delivery | None:
        """Read the first message of matching subjects from a place on; None if there is none."""
        return await self._get(stream, {"seq": seq, "next_by_subj": subject})

    async def read_all(self, stream: str, subject: str) -> AsyncGenerator[Delivery, None]:
        """Give the messages of matching subjects that are there now, oldest first."""
        name = f"all-{token_hex(8)}"
        left = await self.make_consumer(
            stream,
            name,
            filter_subject=subject,
            ack_policy="none",
            mem_storage=True,
            inactive_threshold=int(_FORGOTTEN * 1e9),
        )
        reader = await self.reader(stream, name, lambda _: None)
        try:
            while left > 0:
                some = 0
                async with aclosing(reader.pull(min(left, _AT_ONCE))) as found:
                    async for delivery in found:
                        some += 1
                        yield delivery
                # Some may be gone meanwhile
                left = left - some if some else 0
        finally:
            await reader.aclose()

    async def erase(self, stream: str, seq: int) -> None:
        """Delete a message, without waiting for it."""
        order = b'{"seq":%d,"no_erase":true}' % seq
        await self._broker.publish(f"$JS.API.STREAM.MSG.DELETE.{stream}", order)

    async def erase_now(self, stream: str, seq: int) -> None:
        """Delete a message, if it is there, and wait for it."""
        await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})

    async def purge(self, stream: str, subject: str) -> None:
        """Delete the messages of a subject, without waiting for it."""
        order = json.dumps({"filter": subject}).encode()
        await self._broker.publish(f"$JS.API.STREAM.PURGE.{stream}", order)

    async def clear(self, stream: str, subject: str) -> None:
        """Delete the messages of a subject; what was on its way to a reader is there after it."""
        await self._api(f"STREAM.PURGE.{stream}", {"filter": subject})

    async def cut(self, stream: str, subject: str, cut: Cut) -> None:
        """Delete messages of matching subjects in bulk, without waiting for it."""
        if cut.below:
            await self.purge_below(stream, subject, cut.below)
        for seq in cut.single:
            await self.erase(stream, seq)

    async def purge_below(self, stream: str, subject: str, seq: int) -> None:
        """Delete the messages of matching subjects before a place, without waiting for it."""
        order = json.dumps({"filter": subject, "seq": seq}).encode()
        await self._broker.publish(f"$JS.API.STREAM.PURGE.{stream}", order)

    async def first(self, stream: str) -> int:
        """Give the place of the oldest message of a stream."""
        return await self._ask_state(stream, "first_seq")

    async def last(self, stream: str) -> int:
        """Give the place of the last message that a stream got."""
        return await self._ask_state(stream, "last_seq")

    async def size(self, stream: str) -> int:
        """Give how many bytes a stream holds."""
        return await self._ask_state(stream, "bytes")

    async def count(self, stream: str) -> int:
        """Count the messages of a stream."""
        return await self._ask_state(stream, "messages")

    async def _ask_state(self, stream: str, name: str) -> int:
        answer = await self._api(f"STREAM.INFO.{stream}", {})
        return int(answer.get("state", {}).get(name, 0))

    async def count_left(self, stream: str, consumer: str) -> int:
        """Count the messages that a consumer has not seen."""
        answer = await self._api(f"CONSUMER.INFO.{stream}.{consumer}", {})
        return int(answer.get("num_pending", 0))

    async def _get(self, stream: str, wanted: Mapping[str, Any]) -> Delivery | None:
        answer = await self._broker.ask(f"$JS.API.DIRECT.GET.{stream}", json.dumps(wanted).encode())
        headers = answer.headers or {}
        if "Nats-Sequence" not in headers:
            return None
        return Delivery(headers["Nats-Subject"], answer.data, int(headers["Nats-Sequence"]))

    async def _api(self, subject: str, order: Mapping[str, Any]) -> dict[str, Any]:
        return read_answer(await self._broker.ask(f"$JS.API.{subject}", json.dumps(order).encode()))


class Reader:
    """Reads a consumer; several may read the same one side by side.

    A pulled message comes under the subject that it was published on, so each reader has a
    subscription of its own.
    """

    def __init__(
        self,
        broker: Broker,
        stream: str,
        consumer: str,
        on_arrival: Callable[[Delivery], None],
    ) -> None:
        self._broker = broker
        self._on_arrival = on_arrival
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = broker.new_inbox()
        self._came: asyncio.Queue[Delivery] = asyncio.Queue()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Make the subscription."""
        self._subscription = await self._broker.subscribe(self._inbox, self._take)

    async def pull(self, most: int, patience: float = 0) -> AsyncGenerator[Delivery, None]:
        """Give the next messages: so many, or those that come in time.

        Args:
            most: how many.
            patience: seconds, for all of them; 0 for those that are there.

        Raises:
            NetworkError: the consumer is gone, as after a restart of the broker.
        """
        waits = {"expires": int(patience * 1e9)} if patience else {"no_wait": True}
        order = json.dumps({"batch": most, **waits}).encode()
        await self._broker.publish(self._subject, order, reply=self._inbox)
        until = asyncio.get_running_loop().time() + patience + _GRACE
        for _ in range(most):
            try:
                async with asyncio.timeout_at(until):
                    found = await self._came.get()
            except TimeoutError as error:
                raise NetworkError("the broker has forgotten who reads") from error
            if found.status in _NOTHING:
                return
            if found.status:
                raise NetworkError(f"the broker lets nobody read: status {found.status}")
            yield found

    async def aclose(self) -> None:
        """Read no more."""
        if self._subscription is not None:
            with suppress(NetworkError):
                await self._subscription.aclose()

    async def _take(self, delivery: Delivery) -> None:
        if delivery.seq:
            self._on_arrival(delivery)
        self._came.put_nowait(delivery)
