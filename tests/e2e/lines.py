"""A TCP line between two parts that holds what is said at a chosen word, or its answer."""

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import Literal

TAIL = 64
"""Bytes of the last piece that are looked at again: a word may come in two pieces."""


@dataclass(eq=False)
class Hold:
    """Stops a connection once, at the first word that fits.

    Attributes:
        when: before the word is passed on; or after, when its answer is there but not delivered.
    """

    word: re.Pattern[bytes]
    when: Literal["before", "after"]
    is_reached: bool = False
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let go what is held; nothing more is held."""
        self._released.set()

    @property
    def is_armed(self) -> bool:
        return not self.is_reached and not self._released.is_set()

    async def keep(self) -> None:
        self.is_reached = True
        await self._released.wait()


class Line:
    """A proxy to a loopback port; an async context manager that closes what it opened."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._holds: list[Hold] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Line":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def hold(self, word: bytes, when: Literal["before", "after"]) -> Hold:
        """Hold at the next piece with this word (a regular expression)."""
        hold = Hold(re.compile(word), when)
        self._holds.append(hold)
        return hold

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pumps.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        answers: list[Hold] = []
        ways = [
            asyncio.create_task(self._ask(reader, to, answers)),
            asyncio.create_task(self._answer(there, writer, answers)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*ways, return_exceptions=True)
            to.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, answers: list[Hold]
    ) -> None:
        tail = b""
        while piece := await reader.read(65536):
            for hold in [h for h in self._holds if h.is_armed and h.word.search(tail + piece)]:
                if hold.when == "before":
                    await hold.keep()
                else:
                    answers.append(hold)
            to.write(piece)
            await to.drain()
            tail = piece[-TAIL:]

    async def _answer(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[Hold]
    ) -> None:
        while piece := await there.read(65536):
            while answers:
                await answers.pop(0).keep()
            writer.write(piece)
            await writer.drain()
