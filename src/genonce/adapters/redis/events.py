"""`Changes` on Redis pub/sub: one connection a process, shared by all who wait."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from genonce.adapters.redis import keys
from genonce.domain.errors import StoreUnavailable
from genonce.domain.identity import SeriesId, TaskId

_CONFIRM_S = 2.0
_RECONNECT_S = (0.05, 0.2, 1.0)
_LOST = (RedisError, OSError)


class Signal:
    """One waiter's end of a subscription."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something came."""
        self._event.set()

    async def changed(self, timeout_s: float | None) -> bool:
        """See `Watch.changed`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class RedisChanges:
    """Signals from other processes.

    A message only says that there is something to read: after a lost connection every waiter is
    told to read again, so none misses what happened meanwhile.
    """

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url)
        self._pubsub: Any = self._redis.pubsub()
        self._waiters: defaultdict[bytes, set[Signal]] = defaultdict(set)
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._reader: asyncio.Task[None] | None = None
        # redis-py would open a connection for each of several first subscriptions at once.
        self._sending = asyncio.Lock()

    def task(self, task: TaskId) -> contextlib.AbstractAsyncContextManager[Signal]:
        """See `Changes.task`."""
        return self.channel(keys.task_channel(task))

    def series(self, series: SeriesId) -> contextlib.AbstractAsyncContextManager[Signal]:
        """See `Changes.series`."""
        return self.channel(keys.series_channel(series))

    @contextlib.asynccontextmanager
    async def channel(self, name: str) -> AsyncIterator[Signal]:
        """Wait for messages of one channel; entered when Redis has confirmed the subscription.

        Raises:
            StoreUnavailable: Redis does not confirm in time.
        """
        key, signal = name.encode(), Signal()
        self._waiters[key].add(signal)
        try:
            await self._subscribe(key)
            yield signal
        finally:
            await self._leave(key, signal)

    async def _subscribe(self, key: bytes) -> None:
        if key not in self._confirmed:
            self._confirmed[key] = asyncio.Event()
        try:
            async with asyncio.timeout(_CONFIRM_S):
                confirmed = self._confirmed[key]
                if not confirmed.is_set():
                    async with self._sending:
                        await self._pubsub.subscribe(key)
                    self._read_on()
                    await confirmed.wait()
        except (*_LOST, TimeoutError) as error:
            raise StoreUnavailable(
                "The coordination store (Redis) does not answer; try again shortly."
            ) from error

    async def _leave(self, key: bytes, signal: Signal) -> None:
        self._waiters[key].discard(signal)
        if self._waiters[key]:
            return
        del self._waiters[key]
        self._confirmed.pop(key, None)
        with contextlib.suppress(*_LOST):  # a lost connection has no subscriptions to end
            async with self._sending:
                if key not in self._waiters:  # somebody may have come meanwhile
                    await self._pubsub.unsubscribe(key)

    def _read_on(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Hand out messages while anybody waits; the subscriptions are re-made after a loss."""
        failures = 0
        while self._waiters:
            try:
                message = await self._pubsub.get_message(timeout=None)
            except _LOST:
                await asyncio.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                failures += 1
                self._notify_all()
                continue
            failures = 0
            if message is not None:
                self._dispatch(message)

    def _dispatch(self, message: dict[str, Any]) -> None:
        key = message["channel"]
        if message["type"] == "subscribe":
            confirmed = self._confirmed.get(key)
            if confirmed is None:
                return
            again = confirmed.is_set()
            confirmed.set()
            if not again:
                return
        elif message["type"] != "message":
            return
        for signal in self._waiters.get(key, ()):
            signal.notify()

    def _notify_all(self) -> None:
        for signals in self._waiters.values():
            for signal in signals:
                signal.notify()

    async def aclose(self) -> None:
        """End the subscriptions; waiters read once more and then time out."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._notify_all()
        with contextlib.suppress(*_LOST):
            await self._pubsub.aclose()
            await self._redis.aclose()
