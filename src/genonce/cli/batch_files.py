"""The folder of a batch: its pictures, and the manifest that says which line each belongs to."""

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import msgspec

from genonce.client_answers import Picture

MANIFEST = "manifest.jsonl"
NEW_MANIFEST = ".manifest.new"
PART = ".part"
# A second batch in the same folder may sweep a half-written file of ours away, but not for ever.
TRIES = 5
HASH_DIGITS = 32
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,150}")


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one line, as the manifest keeps it."""

    source: str
    """Name of the file that the line is of."""
    line: int
    verdict: str
    prompt: str
    task_id: str = ""
    files: tuple[str, ...] = ()
    message: str = ""


class _Place(msgspec.Struct):
    """What the order of the manifest is made of."""

    source: str
    line: int


class Folder:
    """Keeps one file a picture; no file under a picture's name is ever half written.

    Lines, tasks and batches that share a picture share its file, for the name is the picture's.

    Args:
        root: made if it is not there; what killed batches left half written is removed.

    Raises:
        OSError: it cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for half in root.glob(f".*{PART}"):
            half.unlink(missing_ok=True)
        self.root = root
        self._names = (f".{os.getpid()}-{count}{PART}" for count in itertools.count())
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def keep(
        self, picture: Picture, fetch: Callable[[Picture], Awaitable[bytes]]
    ) -> tuple[str, bool]:
        """Make sure that a picture's file is there.

        Args:
            picture: of the service.
            fetch: gets its checked bytes.

        Returns:
            The file's name, and whether it had to be fetched.

        Raises:
            OSError: the folder cannot be written.
        """
        name = picture_name(picture)
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            if await asyncio.to_thread(self._holds, name, picture.sha256):
                return name, False
            content = await fetch(picture)
            await asyncio.to_thread(self._write, name, content)
            return name, True

    def _holds(self, name: str, sha256: str) -> bool:
        try:
            with (self.root / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def _write(self, name: str, content: bytes) -> None:
        """Write a whole file at once, in place of an older one of its name."""
        for _ in range(TRIES):
            half = self.root / next(self._names)
            half.write_bytes(content)
            with contextlib.suppress(FileNotFoundError):
                half.replace(self.root / name)
                return
        raise FileNotFoundError(f"{self.root}: somebody removes the files that we write")


class Manifest:
    """One JSON object a line of the batch; appended as lines end, put in order at the end.

    Args:
        folder: where it lies.
        source: name of the file of this batch; entries of other files stay.
    """

    def __init__(self, folder: Folder, *, source: str) -> None:
        self._folder = folder
        self.source = source
        path = folder.root / MANIFEST
        is_torn = _is_torn(path)
        # Unbuffered: a line is one write, so a killed batch leaves whole lines.
        self._file = path.open("ab", buffering=0)
        if is_torn:
            self._file.write(b"\n")

    def add(self, entry: Entry) -> None:
        """Append what became of a line."""
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def finish(self, *, lines: int | None) -> None:
        """Leave the latest entry of each line, in the order of the lines.

        Args:
            lines: number of the last line where the whole file was read: entries of later ones
                are of an older, longer file.
        """
        self._file.close()
        path, new = self._folder.root / MANIFEST, self._folder.root / NEW_MANIFEST
        with path.open("rb") as old, new.open("wb") as file:
            for (source, line), offset in sorted(_latest(old).items()):
                if lines is None or source != self.source or line <= lines:
                    old.seek(offset)
                    file.write(old.readline())
        new.replace(path)


def _is_torn(manifest: Path) -> bool:
    """The last line is not whole, as after a loss of power."""
    try:
        with manifest.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError:  # absent or empty
        return False


def _latest(manifest: BinaryIO) -> dict[tuple[str, int], int]:
    """Where the latest entry of each line of each file starts."""
    places: dict[tuple[str, int], int] = {}
    offset = 0
    for raw in manifest:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            entry = msgspec.json.decode(raw, type=_Place)
            places[sys.intern(entry.source), entry.line] = offset
        offset += len(raw)
    return places


def picture_name(picture: Picture) -> str:
    """The picture's name in its URL where that is a safe one, with the hash of its bytes in it."""
    name = urlsplit(picture.url).path.rpartition("/")[2]
    if not _SAFE.fullmatch(name) or name == MANIFEST:
        name = "picture.png"
    if picture.sha256[:HASH_DIGITS] in name:
        return name
    stem, _, ending = name.rpartition(".")
    return f"{stem or ending}-{picture.sha256[:HASH_DIGITS]}.{ending if stem else 'png'}"
