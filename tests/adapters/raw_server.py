"""A server that says, byte for byte, what a test wants; names that lead where it wants."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext

from aiohttp.abc import AbstractResolver, ResolveResult

CUT = object()
"""Abort the connection."""
HANG = object()
"""Say nothing more, and see whether the peer hangs up."""

Step = bytes | object


def http(body: bytes = b"", *, status: str = "200 OK", head: str = "") -> bytes:
    """An answer; ``head`` holds further lines."""
    lines = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n"
    return lines.encode() + body


class RawServer:
    """Answers the first request with the first script, and so on; the last one stays.

    Attributes:
        url, place: its address, and "host:port" of it.
        requests: what came, heads and bodies.
        connections: how many were opened.
        asked: set when a request came.
        cut: set when a connection was aborted.
        hung_up: set when a peer closed a connection on which a script hangs.
    """

    def __init__(self, scripts: Sequence[Step | Sequence[Step]], scheme: str) -> None:
        self._scripts = [one if isinstance(one, list) else [one] for one in scripts]
        self._scheme = scheme
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.cut = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.port = 0

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.place}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._request(reader):
                self.requests.append(request)
                self.asked.set()
                script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
                for step in script:
                    await self._take(step, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await reader.readexactly(length)

    async def _take(
        self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if step is CUT:
            writer.transport.abort()
            self.cut.set()
            raise ConnectionAbortedError
        if step is HANG:
            await reader.read()
            self.hung_up.set()
            raise ConnectionAbortedError
        assert isinstance(step, bytes)
        writer.write(step)
        await writer.drain()


class Names(AbstractResolver):
    """Names as a test wants them; each look-up takes the next addresses, the last ones stay."""

    def __init__(self, **addresses: Sequence[Sequence[str]]) -> None:
        self.addresses = {name.replace("_", "."): list(rows) for name, rows in addresses.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        rows = self.addresses.get(host)
        if not rows:
            raise OSError("no such name")
        found = rows.pop(0) if len(rows) > 1 else rows[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0)
            for one in found
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def raw_server(
    *scripts: Step | Sequence[Step], tls: SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve on a free loopback port."""
    server = RawServer(scripts, "https" if tls else "http")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
