"""`genonce serve` and its sisters: ready, one per folder, nothing left behind, said plainly."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import free_port

ROOT = Path(__file__).resolve().parents[1]
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
pytestmark = pytest.mark.xdist_group("serve")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder with a short path (a unix socket lies in it)."""
    made = Path(tempfile.mkdtemp(prefix="gn-serve-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


AWAY = {"REDIS_URL": "redis://127.0.0.1:1"}


def environ(**settings: str) -> dict[str, str]:
    """The environment of a machine that has nothing set."""
    return {n: os.environ[n] for n in PASSED_ON if n in os.environ} | settings


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "genonce", *arguments],
        cwd=ROOT, env=environ(**settings), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


class Served:
    """A running `genonce serve`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, free_port()
        self.log = (folder / "serve.log").open("w+")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "genonce", "serve"),
                *("--port", str(self.port), "--data-dir", str(folder)),
            ],
            cwd=ROOT, env=environ(**settings), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        until(lambda: "is ready" in self.said() or self.process.poll() is not None)

    def said(self) -> str:
        return (self.folder / "serve.log").read_text()

    def ask(self, path: str, body: object = None, **headers: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def parts(self) -> dict[int, str]:
        """Processes of this serve, by id: everything that names its folder or descends from it."""
        table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True)
        rows = [line.split(None, 2) for line in table.stdout.splitlines()]
        known = {self.process.pid}
        for _ in range(4):
            known |= {int(pid) for pid, parent, _ in rows if int(parent) in known}
        named = {int(pid) for pid, _, args in rows if str(self.folder) in args}
        return {int(pid): args for pid, _, args in rows if int(pid) in known | named}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.log.close()


@contextlib.contextmanager
def served(folder: Path, **settings: str) -> Iterator[Served]:
    """A serve that is ended whatever happens."""
    service = Served(folder, **settings)
    try:
        yield service
    finally:
        service.end()


def until(condition: Any, timeout_s: float = 40.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """The process has ended (an unreaped one has, too)."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() in ("", "Z", "Zs")


def test_one_command_makes_a_picture_and_ctrl_c_leaves_nothing(folder: Path) -> None:
    with served(folder) as service:
        assert f"http://127.0.0.1:{service.port}" in service.said()
        assert "curl -s" in service.said()
        body = {"prompt": "a fox", "width": 64, "height": 64}
        made = service.ask("/api/images/generate", body, prefer="wait=30")
        assert made["status"] == "completed"
        with urllib.request.urlopen(made["data"][0]["url"], timeout=10) as answer:
            assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
        assert service.ask("/api/images/generate", body)["cached"] is True
        assert service.ask("/api/health")["workers"] == 1
        parts = service.parts()
        assert len(parts) >= 5  # supervisor, guardian, Valkey, web, worker
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(60) == 0
        until(lambda: all(is_gone(pid) for pid in parts))
        assert not (folder / "valkey.sock").exists()
    with served(folder) as again:  # no lock is left, and the pictures are
        assert again.ask("/api/images/generate", body)["cached"] is True


def test_a_killed_parent_leaves_no_part_and_no_lock(folder: Path) -> None:
    with served(folder) as service:
        parts = service.parts()
        service.process.kill()
        until(lambda: all(is_gone(pid) for pid in parts))
    with served(folder) as again:
        assert again.ask("/api/health")["status"] == "ok"


def test_a_second_serve_on_a_folder_is_refused(folder: Path) -> None:
    with served(folder) as service:
        second = run("serve", "--port", str(free_port()), "--data-dir", str(folder))
        assert second.returncode == 1
        assert "another `genonce serve` uses the data folder" in second.stderr
        assert str(folder.parent) + "/" not in second.stderr.replace("--data-dir", "")
        assert service.ask("/api/health")["status"] == "ok"


def test_a_taken_port_is_named_and_nothing_is_left(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run("serve", "--port", port, "--data-dir", str(folder))
    assert refused.returncode == 1
    assert f"PORT: cannot listen on 127.0.0.1, port {port}" in refused.stderr
    assert not (folder / "valkey.log").exists()


def test_a_killed_worker_is_started_again_and_its_task_ends(folder: Path) -> None:
    with served(folder) as service:
        worker = next(pid for pid, args in service.parts().items() if "genonce worker" in args)
        body = {"prompt": "slow", "width": 2048, "height": 2048, "steps": 50, "n": 3}
        task = service.ask("/api/images/generate", body)["taskId"]
        until(lambda: service.ask(f"/api/images/{task}")["status"] == "processing")
        os.kill(worker, signal.SIGKILL)
        ended = service.ask(f"/api/images/{task}?wait=60")
        assert (ended["status"], ended["attempt"], len(ended["data"])) == ("completed", 1, 3)
        assert "worker ended (status -9)" in service.said()


def test_the_network_needs_keys_or_a_clear_no(folder: Path) -> None:
    refused = run("web", "--host", "0.0.0.0", REDIS_URL="redis://127.0.0.1:1")
    assert refused.returncode == 1
    assert "API_KEYS" in refused.stderr
    assert "AUTH=none" in refused.stderr
    with served(folder, HOST="0.0.0.0", API_KEYS="one, two") as service:
        with pytest.raises(urllib.error.HTTPError) as caught:
            service.ask("/api/images/generate", {"prompt": "x"})
        assert caught.value.code == 401
        caught.value.close()
        body = {"prompt": "x", "width": 64, "height": 64}
        assert service.ask("/api/images/generate", body, authorization="Bearer two")["success"]


@pytest.mark.parametrize(
    ("command", "settings", "words"),
    [
        ("web", {}, "REDIS_URL is not set"),
        ("worker", {}, "REDIS_URL is not set"),
        ("serve", {"PORT": "many"}, "PORT"),
        ("settings", {"MAX_N": "0"}, "MAX_N"),
        (
            "web",
            {**AWAY, "RATE_LIMIT_READ": "often"},
            "RATE_LIMIT_READ",
        ),
        ("web", {**AWAY, "TRUSTED_PROXIES": "me"}, "TRUSTED_PROXIES"),
        ("web", {**AWAY, "IMAGE_STORE_URL": "ftp://x"}, "IMAGE_STORE"),
        (
            "web",
            {**AWAY, "DEFAULT_MODEL": "none/such"},
            "DEFAULT_MODEL",
        ),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(
    command: str, settings: dict[str, str], words: str
) -> None:
    refused = run(command, **settings)
    assert refused.returncode == 1, refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_settings_are_shown_and_secrets_are_not() -> None:
    shown = run("settings", API_KEYS="hush-1,hush-2", TOGETHER_API_KEY="hush-3", MAX_N="7")
    assert shown.returncode == 0
    assert re.search(r"MAX_N\s+7", shown.stdout)
    assert re.search(r"API_KEYS\s+\*+", shown.stdout)
    assert "hush" not in shown.stdout + shown.stderr


def test_web_and_worker_that_see_two_stores_say_so(folder: Path) -> None:
    with served(folder) as service:
        redis_url = f"unix://{folder}/valkey.sock"
        for command in ("web", "worker"):
            other = run(
                command, REDIS_URL=redis_url, PORT=str(free_port()), DATA_DIR=str(folder / command)
            )
            assert other.returncode != 0
            assert "sees another image store" in other.stdout + other.stderr
        assert service.ask("/api/health")["status"] == "ok"
