"""Runs `genonce batch` and `genonce plan` on files of a folder, for their tests."""

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.testing import CliRunner, Result

from genonce.cli.batch import batch, plan
from tests.standins.native import NativeService

# A shell's background jobs ignore SIGINT, and so would what they start; at a terminal it counts.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from genonce.cli.batch import batch; batch()"
)


class Bench:
    """Runs the commands on files of a folder, through a service."""

    def __init__(self, service: NativeService, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.out = folder / "out"

    def file(self, content: str | bytes, name: str = "prompts.txt") -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    async def batch(self, file: str, *options: str) -> Result:
        # One line at a time, unless a test says otherwise: outcomes depend on the order.
        given = [file, "--out", str(self.out), "--url", self.service.url, "--concurrency", "1"]
        return await invoke(batch, *given, *options)

    async def plan(self, file: str, *options: str) -> Result:
        return await invoke(plan, file, "--url", self.service.url, *options)

    async def start(self, file: str, *options: str, **streams: Any) -> asyncio.subprocess.Process:
        given = [file, "--out", str(self.out), "--url", self.service.url, *options]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams
        return await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *given, **pipes)

    def has_fetched(self, count: int) -> bool:
        return len(self.service.downloads) >= count

    def opened(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def pictures(self) -> dict[str, str]:
        """The SHA-256 of every picture in the folder."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.out.glob("*.png")
        }

    def manifest(self) -> list[dict[str, Any]]:
        lines = (self.out / "manifest.jsonl").read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    def made(self) -> dict[str, str]:
        """The SHA-256 of every picture of the service, by name."""
        entries = [
            self.service.entry(series, index, content)
            for series, slots in self.service.slots.items()
            for index, content in slots.items()
        ]
        return {entry["url"].rpartition("/")[2]: entry["sha256"] for entry in entries}


async def invoke(command: click.Command, *given: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, command, given)


def verdicts(result: Result) -> list[tuple[int, str]]:
    """Line numbers and verdicts, as printed."""
    words = [line.split() for line in result.stdout.splitlines() if line.startswith(" ")]
    return [(int(word[0]), word[1]) for word in words]


def jsonl(*lines: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)
