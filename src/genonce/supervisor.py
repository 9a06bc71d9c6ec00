"""`serve`: an embedded Valkey, web and workers as child processes; stopped in reverse."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from genonce.adapters.redis.embedded import (
    lock_folder,
    socket_path,
    start_server,
    wait_ready,
)
from genonce.domain.errors import ConfigError
from genonce.settings import Settings

READY_S = 30.0
RESTART_S = (0.2, 1.0, 5.0)
"""Waits before a part that ended is started again."""
STEADY_S = 30.0
"""A part that ran so long is started again at once."""
KILL_S = 5.0


@dataclass(slots=True)
class Part:
    """A child process that is kept running."""

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    falls: int = 0
    due_at: float = 0.0

    def start(self) -> None:
        """Start the process; its standard input is its lifeline.

        Its own session keeps a Ctrl-C at the terminal from reaching it before its turn.
        """
        self.process = subprocess.Popen(
            [sys.executable, "-m", "genonce", *self.arguments, "--child"],
            env=dict(self.environ),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.started_at = time.monotonic()

    def stop(self, *, patience_s: float) -> None:
        """Ask the process to end; by force if it does not."""
        if self.process is not None:
            end(self.process, patience_s=patience_s)

    def mend(self, now: float) -> None:
        """Start the process again if it ended, not too often."""
        if self.process is None or self.process.poll() is None:
            return
        if not self.due_at:
            self.falls = 0 if now - self.started_at > STEADY_S else self.falls + 1
            delay_s = RESTART_S[min(self.falls, len(RESTART_S)) - 1] if self.falls else 0.0
            self.due_at = now + delay_s
            status = self.process.returncode
            say(f"{self.name} ended (status {status}); starting it again in {delay_s:g} s")
        if now >= self.due_at:
            self.due_at = 0.0
            self.start()


class Stopped(Exception):
    """The operator asked for the end."""


@dataclass(slots=True)
class Supervisor:
    """Everything that one `serve` runs.

    Attributes:
        on_ready: called once, when the service answers.
    """

    settings: Settings
    workers: int
    on_ready: Callable[[], None]
    parts: list[Part] = field(default_factory=list)

    def run(self) -> None:
        """Run until a signal.

        Raises:
            ConfigError: something cannot start; says what to do.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        with contextlib.ExitStack() as stack, contextlib.suppress(Stopped):
            environ = dict(os.environ)
            check_port(self.settings.HOST, self.settings.PORT)
            folder = Path(self.settings.DATA_DIR).absolute()
            lock = stack.enter_context(lock_folder(folder))
            if not self.settings.REDIS_URL:
                environ["REDIS_URL"] = stack.enter_context(embedded(folder, lock=lock))
            environ |= {
                name: str(getattr(self.settings, name)) for name in ("HOST", "PORT", "DATA_DIR")
            }
            stack.callback(self._stop_parts)
            self._start_parts(environ)
            self._watch()

    def _start_parts(self, environ: Mapping[str, str]) -> None:
        self.parts.append(Part("web", ("web",), environ))
        for number in range(self.workers):
            name = "worker" if self.workers == 1 else f"worker {number + 1}"
            self.parts.append(Part(name, ("worker",), environ))
        for part in self.parts:
            part.start()
        self._wait_ready()

    def _wait_ready(self) -> None:
        """Return when the web process answers and a worker listens."""
        host = self.settings.HOST.replace("0.0.0.0", "127.0.0.1").replace("::", "::1")
        host = f"[{host}]" if ":" in host else host
        url = f"http://{host}:{self.settings.PORT}/api/health"
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            for part in self.parts:
                if part.process is not None and part.process.poll() is not None:
                    raise ConfigError(f"{part.name} did not start; see the lines above.")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
                if b'"workers":0' not in answer.read():
                    self.on_ready()
                    return
            time.sleep(0.02)
        raise ConfigError(f"The service did not answer within {READY_S:g} s; see the lines above.")

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            for part in self.parts:
                part.mend(now)
            time.sleep(0.2)

    def _stop_parts(self) -> None:
        """Web first, so that nothing new comes; then workers, which finish calls in flight."""
        for part in self.parts:
            patience_s = self.settings.WORKER_DRAIN + KILL_S if "worker" in part.name else KILL_S
            part.stop(patience_s=patience_s)


def check_port(host: str, port: int) -> None:
    """Make sure that nobody listens there: another service's answer would look like ours.

    Raises:
        ConfigError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"PORT: cannot listen on {host}, port {port} ({error.strerror}). "
                "Choose another one with --port or --host."
            ) from error


@contextlib.contextmanager
def embedded(folder: Path, *, lock: int) -> Iterator[str]:
    """Run an embedded Valkey on a locked folder; yields its URL."""
    path = socket_path(folder)
    server = start_server(folder, path=path, lock=lock)
    try:
        wait_ready(server, path)
        yield f"unix://{path}"
    finally:
        end(server, patience_s=KILL_S)
        path.unlink(missing_ok=True)


def end(process: subprocess.Popen[bytes], *, patience_s: float) -> None:
    """Ask a process to end; by force if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(text: str) -> None:
    """Tell the operator."""
    print(f"genonce: {text}", file=sys.stderr, flush=True)


def _stop(number: int, frame: object) -> None:
    # A second signal, while stopping, must not leave parts behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped
