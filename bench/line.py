"""Requests as bytes, and a blocking client that adds as little time as possible to an answer."""

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

GENERATE = "/api/images/generate"
_TIMEOUT_S = 60.0


class Answer(NamedTuple):
    """An answer as it came; header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        """The decoded body."""
        return msgspec.json.decode(self.body)


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A GET."""
    return _head("GET", path, headers or {}) + b"\r\n"


def post(path: str, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST of JSON."""
    content = msgspec.json.encode(body)
    own = {"content-type": "application/json", "content-length": str(len(content))}
    return _head("POST", path, {**own, **(headers or {})}) + b"\r\n" + content


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n{lines}".encode()


class Line:
    """One kept-alive connection to a loopback port."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""

    def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer, which has a Content-Length.

        Raises:
            OSError: the line was cut or is silent.
        """
        self._socket.sendall(request)
        head = self._read_head()
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (h.partition(": ") for h in lines)]
        body = self._read(int(dict(headers).get("content-length", "0")))
        return Answer(int(first.split(" ")[1]), headers, body)

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._unread:
            self._more()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    def _read(self, length: int) -> bytes:
        while len(self._unread) < length:
            self._more()
        body, self._unread = self._unread[:length], self._unread[length:]
        return body

    def _more(self) -> None:
        piece = self._socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("The line was cut.")
        self._unread += piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
