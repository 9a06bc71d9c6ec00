"""Commands share pipelines: what comes while one is under way goes out with the next.

One EVALSHA alone through redis-py costs a web process 40 to 55 us of CPU; here it is a few.
Source: docs/decisions/0006-redis.md
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from genonce.adapters.redis.scripts import Script
from genonce.domain.errors import StoreUnavailable

Argument = str | bytes | int
_FULL = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")
# A timer that fires this much too late means that our own loop was busy, not Redis.
_LATE_S = 0.05
_GRACE_S = 0.1
FEW = 32
"""Commands under way with which the next ones still go out at once."""


class ReplyError(Exception):
    """Redis refused a command; a defect of ours."""


class _Line(asyncio.Protocol):
    """One connection: replies come in the order of the commands.

    Attributes:
        on_idle: called when few commands are under way.
        heard: when the last reply came, by the loop's clock.
    """

    def __init__(self, on_idle: Callable[[], None]) -> None:
        self.on_idle = on_idle
        self.heard = 0.0
        self.reader = hiredis.Reader(replyError=ReplyError)
        self.pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not of asyncio's class.
        self.transport = cast("asyncio.WriteTransport", transport)

    def write(self, batch: Sequence[tuple[bytes, asyncio.Future[Any], float]]) -> None:
        """Send commands; each future gets its reply."""
        assert self.transport is not None
        self.pending.extend((future, since) for _, future, since in batch)
        self.transport.write(b"".join([packed for packed, _, _ in batch]))

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future, _ = self.pending.popleft()
            if future.done():
                continue
            if isinstance(reply, ReplyError):
                future.set_exception(_refusal(reply))
            else:
                future.set_result(reply)
        if len(self.pending) <= FEW:
            self.on_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        while self.pending:
            _fail(self.pending.popleft()[0], exc)
        self.on_idle()

    def abort(self) -> None:
        """Close at once; whoever waits is told that Redis is away."""
        transport = self.transport
        self.connection_lost(TimeoutError("no reply in time"))
        if transport is not None:
            transport.abort()


class BatchingRedis:
    """A Redis client for commands that do not block.

    Args:
        url: redis://, rediss:// or unix://.
        timeout_s: from the call to its answer, connecting included.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[Any], float]] = []
        self._connecting: asyncio.Task[None] | None = None
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script and return its reply.

        Raises:
            StoreUnavailable: Redis does not answer in time, is full or read-only.
        """
        try:
            return await self._post("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            # Redis was restarted or flushed; EVAL also teaches it the script.
            return await self._post("EVAL", script.text, len(keys), *keys, *arguments)

    async def send(self, *command: Argument) -> Any:
        """Send one command and return its reply.

        Raises:
            StoreUnavailable: Redis does not answer in time, is full or read-only.
            ReplyError: any other error reply.
        """
        return await self._post(*command)

    def _post(self, *command: Argument) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((_pack(command), future, loop.time()))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """Send what waits, unless a large pipeline is under way: its end flushes again.

        A write costs more than a command: 64 callers make 64 writes, or a few.
        """
        self._is_scheduled = False
        if not self._waiting:
            return
        if self._timer is None:
            self._watch(self._timeout_s)
        if self._line is not None and self._line.transport is not None:
            if len(self._line.pending) <= FEW:
                batch, self._waiting = self._waiting, []
                self._line.write(batch)
        elif self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._line = await _open(self._options, self._flush)
        except (OSError, TimeoutError, StoreUnavailable, ReplyError) as error:
            self._fail_waiting(error)
        finally:
            self._connecting = None
        if self._waiting:
            self._flush()

    def _fail_waiting(self, error: Exception) -> None:
        stranded, self._waiting = self._waiting, []
        for _, future, _ in stranded:
            _fail(future, error)

    def _watch(self, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + after_s, self._check, loop.time() + after_s)

    def _check(self, due: float) -> None:
        """Give up on a line that is silent while a command waits; a busy one is not away."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        line = self._line
        since = [line.pending[0][1]] if line is not None and line.pending else []
        since += [self._waiting[0][2]] if self._waiting else []
        if not since:
            return
        heard = line.heard if line is not None else 0.0
        left_s = max(heard, min(since)) + self._timeout_s - now
        if left_s > 0:
            self._watch(left_s)
        elif now - due > _LATE_S:
            self._watch(_GRACE_S)
        else:
            if line is not None:
                self._line = None
                line.abort()
            self._fail_waiting(TimeoutError("no connection in time"))

    async def aclose(self) -> None:
        """Close the connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._line is not None:
            self._line.abort()
            await asyncio.sleep(0)  # lets the transport close its socket


async def _open(options: dict[str, Any], on_idle: Callable[[], None]) -> _Line:
    """Connect, authenticate, choose the database."""
    loop = asyncio.get_running_loop()

    def protocol() -> _Line:
        return _Line(on_idle)

    if options.get("connection_class") is UnixDomainSocketConnection:
        _, line = await loop.create_unix_connection(protocol, options["path"])
    else:
        host, port = options.get("host", "localhost"), options.get("port", 6379)
        _, line = await loop.create_connection(protocol, host, port, ssl=_tls(options))
    password, database = options.get("password"), int(options.get("db") or 0)
    try:
        if password:
            username = options.get("username") or "default"
            await _ask(line, "AUTH", username, password)
        if database:
            await _ask(line, "SELECT", database)
    except BaseException:
        line.abort()
        raise
    return line


async def _ask(line: _Line, *command: Argument) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    line.write([(_pack(command), future, loop.time())])
    await future


def _pack(command: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # any length
    return packed


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    if options.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refusal(reply: ReplyError) -> Exception:
    return _unavailable(reply) if str(reply).startswith(_FULL) else reply


def _fail(future: asyncio.Future[Any], error: Exception | None) -> None:
    if not future.done():
        future.set_exception(_unavailable(error))
        future.exception()  # whoever gave up waiting does not ask any more; that is no defect


def _unavailable(error: Exception | None) -> StoreUnavailable:
    unavailable = StoreUnavailable(
        "The coordination store (Redis) does not answer or takes no writes; nothing is lost. "
        "Send the same request again shortly."
    )
    unavailable.__cause__ = error
    return unavailable
