"""Real Redis servers for tests: the embedded Valkey always, Redis in Docker where Docker is."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from genonce.adapters.redis.embedded import start_server, wait_ready
from genonce.supervisor import end


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """The embedded Valkey, as `genonce serve` starts it; yields its URL."""
    # Short: a unix socket's path has to stay under 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="gn-", dir="/tmp"))
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    path = folder / "v.sock"
    server = start_server(folder, path=path, lock=lock)
    try:
        wait_ready(server, path)
        yield f"unix://{path}"
    finally:
        end(server, patience_s=5)
        if server.stdin is not None:
            server.stdin.close()
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def docker_redis() -> Iterator[str]:
    """Redis 7.2 in a container; skips where Docker is not."""
    # The engine is asked by its own program: docker's Python client leaks its socket on failure.
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "info"], capture_output=True).returncode
    ):
        pytest.skip("Docker does not answer: Redis through testcontainers was not tested")
    container = DockerContainer("redis:7.2-alpine").with_exposed_ports(6379)
    container.waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    with container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
