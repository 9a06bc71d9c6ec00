"""Commands of one turn of the event loop share one pipeline.

One EVALSHA alone costs a web process 40 to 55 us of CPU; in a shared pipeline it is about 10.
Source: docs/decisions/0006-redis.md
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import Connection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from genonce.adapters.redis.scripts import Script
from genonce.domain.errors import StoreUnavailable

Argument = str | bytes | int
Command = tuple[Argument, ...]
_AWAY = (RedisError, OSError, TimeoutError, EOFError)
_FULL = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")
# A timer that fires this much too late means that our own loop was busy, not Redis.
_LATE_S = 0.05


class BatchingRedis:
    """A Redis client that sends all commands issued in one turn of the loop together.

    Args:
        url: redis://, rediss:// or unix://.
        timeout_s: from the call to its answer, connecting included.
        connections: pipelines under way at once; while all are busy, the next batch grows.
    """

    def __init__(self, url: str, *, timeout_s: float, connections: int = 2) -> None:
        options = {} if url.startswith("unix") else {"socket_keepalive": True}
        pool: Any = ConnectionPool.from_url(url, **options)
        self._timeout_s = timeout_s
        self._idle: deque[Connection] = deque(pool.make_connection() for _ in range(connections))
        self._waiting: list[tuple[Command, asyncio.Future[Any]]] = []
        self._senders: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script and return its reply.

        Raises:
            StoreUnavailable: Redis does not answer in time, is full or read-only.
        """
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.send("EVALSHA", script.sha, *rest)
        except NoScriptError:
            # Redis was restarted or flushed; EVAL also teaches it the script.
            return await self.send("EVAL", script.text, *rest)

    async def send(self, *command: Argument) -> Any:
        """Send one command and return its reply.

        Raises:
            StoreUnavailable: Redis does not answer in time, is full or read-only.
            RedisError: any other error reply; a defect of ours.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        self._scheduled = False
        if not self._waiting or not self._idle:
            return  # whoever frees a connection flushes again
        batch, self._waiting = self._waiting, []
        sender = asyncio.create_task(self._exchange(self._idle.pop(), batch))
        self._senders.add(sender)
        sender.add_done_callback(self._senders.discard)

    async def _exchange(
        self, connection: Connection, batch: list[tuple[Command, asyncio.Future[Any]]]
    ) -> None:
        try:
            async with asyncio.timeout(None) as scope:
                self._arm(scope, self._timeout_s)
                await self._talk(connection, batch)
        except _AWAY as error:
            await self._drop(connection)
            # What waited for this connection would only wait again for a Redis that is away.
            stranded, self._waiting = self._waiting, []
            _fail([*batch, *stranded], error)
        except asyncio.CancelledError:
            await self._drop(connection)
            _fail(batch, RedisConnectionError("closed"))
            raise
        finally:
            self._idle.append(connection)
            self._flush()

    def _arm(self, scope: asyncio.Timeout, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + after_s

        def expire() -> None:
            if scope.expired() or not self._senders:
                return
            late = loop.time() - due > _LATE_S
            try:
                scope.reschedule(loop.time() + (0.1 if late else 0.0))
            except RuntimeError:
                return  # the exchange ended before its timer

        loop.call_at(due, expire)

    async def _talk(
        self, connection: Connection, batch: list[tuple[Command, asyncio.Future[Any]]]
    ) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no type here
        packed = connection.pack_commands([command for command, _ in batch])
        await connection.send_packed_command(packed, check_health=False)
        for _, future in batch:
            try:
                reply = await connection.read_response()
            except ResponseError as error:
                _settle_error(future, error)
            else:
                if not future.done():
                    future.set_result(reply)

    async def _drop(self, connection: Connection) -> None:
        """Close a connection whose replies can no longer be told apart."""
        with contextlib.suppress(*_AWAY):  # it is gone either way
            await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Close every connection."""
        for sender in list(self._senders):
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        for connection in self._idle:
            with contextlib.suppress(*_AWAY):  # it is gone either way
                await connection.disconnect()


def _settle_error(future: asyncio.Future[Any], error: ResponseError) -> None:
    if future.done():
        return
    if isinstance(error, ReadOnlyError) or str(error).startswith(_FULL):
        future.set_exception(_unavailable(error))
    else:
        future.set_exception(error)


def _fail(batch: list[tuple[Command, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(_unavailable(error))


def _unavailable(error: Exception) -> StoreUnavailable:
    unavailable = StoreUnavailable(
        "The coordination store (Redis) does not answer or takes no writes; nothing was charged. "
        "Try again shortly."
    )
    unavailable.__cause__ = error
    return unavailable
