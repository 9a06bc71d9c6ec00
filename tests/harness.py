"""Real parts for tests: Valkey, web and worker processes, stopped in order whatever happens.

Every pytest process (xdist's too) has its own Valkey, stand-in, ports and folders. A guard process
ends the parts when pytest itself is killed; frozen ones too, by the ids that it was told.
"""

import atexit
import contextlib
import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import redis

from genonce.adapters.redis.embedded import find_server
from genonce.adapters.redis.keys import wake_channel
from genonce.adapters.redis.scripts import load_scripts

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
READY_S = 40.0
KEY = "tgp-of-the-tests"
SCRIPTS = load_scripts()

T = TypeVar("T")
Answer = Callable[[], T | Awaitable[T]]

_GUARD = """
import os, signal, sys
pids = set()
for line in sys.stdin:
    word, pid = line.split()
    (pids.add if word == "add" else pids.discard)(int(pid))
for pid in pids:
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
"""


class Guard:
    """Kills what it was told of when this process is gone."""

    def __init__(self) -> None:
        # Its own session: a Ctrl-C at the terminal is for pytest.
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _GUARD], stdin=subprocess.PIPE, start_new_session=True
        )

    def tell(self, word: str, pid: int) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{word} {pid}\n".encode())
            self._process.stdin.flush()

    def stop(self) -> None:
        self._process.communicate()


async def until(
    condition: Answer[T], *, timeout_s: float = 20.0, what: str = "", every_s: float = 0.02
) -> T:
    """Ask again until the answer is true, and return it; an AssertionError counts as "not yet".

    Raises:
        AssertionError: not within ``timeout_s``; tells the last answer.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            answer = condition()
            found = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            found, last = None, str(error) or repr(error)
        else:
            last = repr(found)
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what or 'it'} did not come within {timeout_s} s; last: {last}")
        await anyio.sleep(every_s)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


class Part:
    """A child process of the tests."""

    def __init__(self, guard: Guard, command: list[str], environ: dict[str, str]) -> None:
        self._guard = guard
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.is_frozen = False
        guard.tell("add", self.process.pid)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    def kill(self) -> None:
        """SIGKILL, frozen or not; more than once does no harm."""
        self.process.kill()
        self.process.wait()
        self._guard.tell("drop", self.process.pid)

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.terminate()


class Valkey:
    """A Valkey of the tests' own, on a loopback port.

    Attributes:
        client: speaks to it, past everything under test.
    """

    def __init__(self, guard: Guard, folder: Path, *, durable: bool = False) -> None:
        """``durable``: every write is on disk before it is answered, so a kill loses none."""
        folder.mkdir(parents=True, exist_ok=True)
        self._guard, self._folder, self._durable = guard, folder, durable
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=10)
        self.start()

    def start(self) -> None:
        """Start it, also again after a kill, with the scripts in its memory."""
        aof = ("yes", "always") if self._durable else ("no", "no")
        command = [
            find_server(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--appendonly", aof[0], "--appendfsync", aof[1], "--save", ""),
            *("--maxmemory-policy", "noeviction", "--logfile", str(self._folder / "valkey.log")),
        ]
        self.part = Part(self._guard, command, dict(os.environ))
        end = time.monotonic() + READY_S
        while True:
            try:
                # A script is known by its digest from the start: one call, one step to hold.
                for name in SCRIPTS.__struct_fields__:
                    self.client.script_load(getattr(SCRIPTS, name).text)
                return
            except redis.RedisError:
                if time.monotonic() > end or not self.part.is_alive:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        self.client.close()
        self.part.kill()

    def listeners(self) -> int:
        """Workers that listen for jobs."""
        return int(self.client.pubsub_numsub(wake_channel())[0][1])

    def jobs(self) -> int:
        """Jobs that wait or run."""
        return int(self.client.zcard("arq:queue"))


class Web(Part):
    """`genonce web`.

    Attributes:
        url: its address, without a path.
    """

    def __init__(self, guard: Guard, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "genonce", "web", "--port", str(self.port)]
        super().__init__(guard, command, environ)


class Worker(Part):
    """`arq worker.WorkerSettings`, the documented front door."""

    def __init__(self, guard: Guard, environ: dict[str, str]) -> None:
        super().__init__(guard, [str(BIN / "arq"), "worker.WorkerSettings"], environ)


class Parts:
    """Every part that a pytest process has running; ends them all."""

    def __init__(self) -> None:
        self.guard = Guard()
        self._all: list[Part] = []
        self._valkeys: list[Valkey] = []
        atexit.register(self.stop)

    def valkey(self, folder: Path, *, durable: bool = False) -> Valkey:
        """Start a Valkey."""
        self._valkeys.append(Valkey(self.guard, folder, durable=durable))
        return self._valkeys[-1]

    async def web(self, environ: dict[str, str]) -> Web:
        """Start a web process; returns when it answers."""
        web = self._note(Web(self.guard, environ))
        await until(lambda: _answers(web), timeout_s=READY_S, what="the web process")
        return web

    async def worker(self, environ: dict[str, str], valkey: Valkey) -> Worker:
        """Start a worker; returns when it listens for jobs."""
        before = valkey.listeners()
        worker = self._note(Worker(self.guard, environ))
        await until(
            lambda: _lives(worker) and valkey.listeners() > before,
            timeout_s=READY_S,
            what="the worker",
        )
        return worker

    def _note(self, part: Any) -> Any:
        self._all.append(part)
        return part

    def end(self, part: Part) -> None:
        """End one part for good."""
        part.kill()
        self._all.remove(part)

    def stop(self) -> None:
        """End everything."""
        atexit.unregister(self.stop)
        for part in self._all:
            part.kill()
        for valkey in self._valkeys:
            valkey.stop()
        self.guard.stop()


def _lives(part: Part) -> bool:
    if not part.is_alive:
        raise RuntimeError(f"{type(part).__name__} ended with status {part.process.returncode}")
    return True


def _answers(web: Web) -> bool:
    _lives(web)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", web.port), 1) as line:
        line.settimeout(5)
        line.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b" 200 " in line.recv(64)
    return False


def environ_of(
    *, valkey_url: str, store: str, together_url: str, settings: dict[str, object]
) -> dict[str, str]:
    """A part's whole environment: nothing of the developer's own settings gets in."""
    mine = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    given = {
        "REDIS_URL": valkey_url,
        "IMAGE_STORE_URL": store,
        "TOGETHER_API_KEY": KEY,
        "TOGETHER_API_URL": together_url,
        "RATE_LIMIT_GENERATE": "none",
        "RATE_LIMIT_GENERAL": "none",
        "RATE_LIMIT_READ": "none",
        "LOG_LEVEL": "warning",
    }
    return mine | given | {name: str(value) for name, value in settings.items()}
