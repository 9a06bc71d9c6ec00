"""A stand-in for Together, as cheap as can be: `python -m bench.provider` prints its port.

POST /v1/images/generations gives distinct 1 x 1 PNGs after a set time, and is counted.
POST /_latency/MS sets the time, POST /_hold keeps every answer back, POST /_reset forgets counts,
GET /_stats tells them.
"""

import asyncio
import binascii
import itertools
import struct
import sys
import threading
import time
import zlib
from typing import cast

import msgspec
import uvloop

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)  # 1 x 1, 8 bit, RGB


class _Ask(msgspec.Struct):
    n: int = 1


class Stats(msgspec.Struct):
    """What was asked of the stand-in.

    Attributes:
        arrivals_ns: `time.time_ns` when each call was there in full.
    """

    calls: int = 0
    pictures: int = 0
    arrivals_ns: list[int] = []


class Provider:
    """State of the stand-in."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.latency_s: float | None = 0.0
        """None: calls are held."""
        self._numbers = itertools.count()
        self._decode = msgspec.json.Decoder(_Ask).decode

    def take(self, body: bytes) -> bytes:
        """Count a call; returns its answer."""
        n = self._decode(body).n
        self.stats.arrivals_ns.append(time.time_ns())
        self.stats.calls += 1
        self.stats.pictures += n
        data = [{"index": i, "b64_json": _picture(next(self._numbers))} for i in range(n)]
        answer = {"id": f"bench-{self.stats.calls}", "object": "list", "data": data}
        return msgspec.json.encode(answer)

    def control(self, path: str) -> bytes:
        """Change what calls meet; returns what was counted."""
        if path.startswith("/_latency/"):
            self.latency_s = int(path.rpartition("/")[2]) / 1000
        elif path == "/_hold":
            self.latency_s = None
        elif path == "/_reset":
            self.stats = Stats()
        return msgspec.json.encode(self.stats)


def _picture(number: int) -> str:
    """A PNG of one pixel in a colour of its own, in base64."""
    pixel = zlib.compress(b"\0" + (number & 0xFFFFFF).to_bytes(3, "big"), 1)
    chunks = _chunk(b"IHDR", _HEAD) + _chunk(b"IDAT", pixel) + _chunk(b"IEND", b"")
    return binascii.b2a_base64(_SIGNATURE + chunks, newline=False).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Call(asyncio.Protocol):
    """One kept-alive connection; its requests come one after another."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._unread = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not one by name

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            return
        length = _content_length(head)
        if len(rest) < length:
            return
        self._unread = rest[length:]
        self._asked(head.split(b" ", 2)[1].decode(), rest[:length])

    def _asked(self, path: str, body: bytes) -> None:
        provider = self._provider
        if path.startswith("/_"):
            self._send(provider.control(path))
            return
        answer = provider.take(body)
        if provider.latency_s is not None:
            asyncio.get_running_loop().call_later(provider.latency_s, self._send, answer)

    def _send(self, body: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    provider = Provider()
    server = await loop.create_server(lambda: Call(provider), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve())
