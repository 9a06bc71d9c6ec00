"""The load: a process of its own, raw sockets on uvloop, requests prepared before the start.

`python -m bench.load` reads a `Plan` as JSON, one line; prints a line when every connection stands;
starts at the next line; prints an `Outcome` as JSON.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Self, cast

import msgspec
import uvloop

from bench.children import plain_environment, read_line, running
from bench.machine import cpu_s

_OPEN_AT_ONCE = 100
_STUCK_S = 120.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and where.

    Attributes:
        requests: whole requests, sent in this order.
        seconds: send no more after this time.
        is_repeated: after the last request comes the first again.
    """

    port: int
    connections: int
    requests: list[str]
    seconds: float | None = None
    is_repeated: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        seconds: from the first request to the last answer.
        statuses: answers by status.
        bodies: distinct first bodies, of the first few answers.
        cpu_s: that the measured process used meanwhile; None if the system does not tell.
    """

    seconds: float
    statuses: dict[int, int]
    bodies: list[str]
    cpu_s: float | None = None

    @property
    def answers(self) -> int:
        """Answers of any status."""
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def cpu_us(self) -> float | None:
        """CPU of the measured process, microseconds a request."""
        return None if self.cpu_s is None else self.cpu_s / self.answers * 1e6

    def expect(self, statuses: set[int]) -> Self:
        """This outcome, if it has no other statuses.

        Raises:
            RuntimeError: it has.
        """
        if not self.statuses.keys() <= statuses:
            raise RuntimeError(f"Unexpected answers: {self.statuses}, such as {self.bodies}")
        return self


def run_load(plan: Plan, *, pid: int) -> Outcome:
    """Run a plan in a process of its own and measure the CPU that process ``pid`` uses meanwhile.

    Raises:
        RuntimeError: a connection was cut.
    """
    with running("bench.load", environ=plain_environment({})) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(plan) + b"\n")
        process.stdin.flush()
        read_line(process)
        before = cpu_s(pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        outcome = msgspec.json.decode(read_line(process), type=Outcome)
        after = cpu_s(pid)
    used = None if before is None or after is None else after - before
    return msgspec.structs.replace(outcome, cpu_s=used)


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.statuses: Counter[int] = Counter()
        self.bodies: list[str] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        ready = [request.encode() for request in plan.requests]
        self._requests: Iterator[bytes] = iter(cycle(ready) if plan.is_repeated else ready)
        self._until = 0.0
        self._in_flight = 0
        self.started_at = self.ended_at = 0.0

    def start(self, connections: "list[Connection]") -> None:
        """Send the first request on each connection."""
        self.started_at = time.perf_counter()
        self._until = self.started_at + (self._plan.seconds or _STUCK_S)
        for connection in connections:
            self._in_flight += 1
            self.next(connection)

    def next(self, connection: "Connection") -> None:
        """Send the next request, or be done with a connection."""
        now = time.perf_counter()
        request = next(self._requests, None) if now < self._until else None
        if request is not None:
            connection.send(request)
            return
        self._in_flight -= 1
        if not self._in_flight and not self.ended.done():
            self.ended_at = now
            self.ended.set_result(None)

    def lost(self) -> None:
        """A connection was cut."""
        if not self.ended.done():
            self.ended.set_exception(ConnectionError("The service cut a connection."))


class Connection(asyncio.Protocol):
    """Sends a request at a time and looks at as little of the answer as it can."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._unread = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not one by name

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        end = data.find(b"\r\n\r\n")
        place = data.find(b"content-length: ", 0, end)
        if end < 0 or len(data) < end + 4 + int(data[place + 16 : data.find(b"\r", place)]):
            self._unread = data
            return
        self._unread = b""
        load = self._load
        load.statuses[int(data[9:12])] += 1
        if len(load.bodies) < 5:
            load.bodies.append(data[end + 4 :].decode())
        load.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()


async def _connect(load: Load, plan: Plan) -> list[Connection]:
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    while len(connections) < plan.connections:
        wanted = min(_OPEN_AT_ONCE, plan.connections - len(connections))
        opened = await asyncio.gather(
            *(
                loop.create_connection(lambda: Connection(load), "127.0.0.1", plan.port)
                for _ in range(wanted)
            )
        )
        connections += [connection for _, connection in opened]
    return connections


async def main() -> None:
    """Run one plan."""
    stdin = sys.stdin.buffer
    plan = msgspec.json.decode(stdin.readline(), type=Plan)
    load = Load(plan)
    connections = await _connect(load, plan)
    print("ready", flush=True)
    stdin.readline()  # nothing else goes on here yet, so blocking is fine
    load.start(connections)
    async with asyncio.timeout(_STUCK_S):
        await load.ended
    outcome = Outcome(
        seconds=load.ended_at - load.started_at,
        statuses=dict(load.statuses),
        bodies=sorted(set(load.bodies)),
    )
    print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
