"""Starts stand-ins as real processes on free loopback ports, and always ends them."""

import atexit
import json
import select
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOLDER = Path(__file__).parent
READY_S = 20.0


class StandIn:
    """A running stand-in; also a context manager that ends it.

    Attributes:
        url: its address, without a path.
        port, pid: of the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{port}"
        atexit.register(self.stop)

    def stats(self) -> dict[str, Any]:
        """What it counted since the start or the last reset."""
        facts: dict[str, Any] = self._ask("/_stats")
        return facts

    def control(self, **changes: object) -> None:
        """Change its behaviour for all calls: latency_ms, jitter_ms, fail, gate."""
        self._ask("/_control", changes)

    def release(self) -> None:
        """Let go the calls that its gate holds, and hold no more."""
        self._ask("/_release", {})

    def reset(self) -> None:
        """Forget counts and controls."""
        self._ask("/_reset", {})

    def stop(self) -> None:
        """End the process; more than once does no harm."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)
        # Not urlopen: a proxy of the environment has no business here.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_standin(name: str, *arguments: str) -> StandIn:
    """Start a stand-in and wait until it serves.

    Args:
        name: of its file here, without ".py".
        arguments: further ones for its command line.

    Raises:
        RuntimeError: it is not ready within 20 s.
    """
    # Its stdin is a lifeline: when this process is gone, even by kill -9, the pipe ends.
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / f"{name}.py"), "--port", "0", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        process.communicate()
        raise RuntimeError(f"The stand-in {name} did not start.")
    return StandIn(process, int(json.loads(line)["port"]))
