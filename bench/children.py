"""Processes of a run; each ends when this one does, however it goes."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from genonce.settings import Settings
from genonce.supervisor import end

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 10.0


def plain_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: of the service's settings it has only the given ones."""
    inherited = {k: v for k, v in os.environ.items() if k not in Settings.__struct_fields__}
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), str(ROOT)) if part)
    return {**inherited, "PYTHONPATH": path, **settings}


def start(module: str, *arguments: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a Python module; its standard input is its lifeline."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@contextlib.contextmanager
def running(
    module: str, *arguments: str, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module until the end of the block."""
    process = start(module, *arguments, environ=environ)
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and close its pipes."""
    end(process, patience_s=_PATIENCE_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def read_line(process: subprocess.Popen[bytes]) -> str:
    """The next line that a process prints.

    Raises:
        RuntimeError: it ended instead.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"A process of the benchmark ended too early: {process.args!r}")
    return line.decode()


def free_port() -> int:
    """A loopback port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
