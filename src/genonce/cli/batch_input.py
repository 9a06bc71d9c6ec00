"""Reads the file of a batch as a stream: plain prompts, JSON lines, or TSV with a Prompt column.

The first line that is not blank decides. A row of tab-separated names with ``Prompt`` among them
makes the file TSV, and only that column counts. Else a line that starts with ``{`` is a JSON
object of request fields and any other a prompt; but a file that starts with JSON goes on so: a
broken line in it is refused, not bought as a prompt. Blank lines are skipped, no others.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable

import msgspec

# The service takes bodies up to 1 MiB, and a prompt of 4,000 characters.
LINE_MAX = 1 << 20
CHUNK = 1 << 16
STDIN = "-"
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")

Fields = dict[str, object]


class Asked(msgspec.Struct, frozen=True):
    """A line that asks for pictures."""

    number: int
    """In the file, from 1."""
    fields: Fields


class Unreadable(msgspec.Struct, frozen=True):
    """A line that is no request."""

    number: int
    text: str
    reason: str


Line = Asked | Unreadable
Parser = Callable[[str], Fields]


class InputError(Exception):
    """The file as a whole cannot be used; says why."""


async def read_lines(path: str) -> AsyncGenerator[Line, None]:
    """Yield the lines of a file that are not blank.

    Args:
        path: of the file; "-" for standard input.

    Raises:
        InputError: the file is in a form that we do not read.
        OSError: it cannot be opened or read.
    """
    descriptor = os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY | _BINARY)
    try:
        parse: Parser | None = None
        number = 0
        async for raw in _raw_lines(descriptor):
            number += 1
            if number == 1:
                raw = _without_mark(raw)
            if not raw.strip():
                continue
            text = _text(raw)
            if text is None:
                reason = "too long" if len(raw) >= LINE_MAX else "not UTF-8 text"
                yield Unreadable(number, "", f"The line is {reason}.")
                continue
            if parse is None:
                parse, is_header = _format(text, is_tsv=path.lower().endswith(".tsv"))
                if is_header:
                    continue
            yield _line(number, text, parse)
    finally:
        os.close(descriptor)


_BINARY = getattr(os, "O_BINARY", 0)


async def _raw_lines(descriptor: int) -> AsyncGenerator[bytes, None]:
    """Yield lines without their ends; of one too long only the first LINE_MAX bytes."""
    rest = b""
    while chunk := await _chunk(descriptor):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:LINE_MAX]
        for line in lines:
            yield line
    yield rest


async def _chunk(descriptor: int) -> bytes:
    """Read what is there; waiting for a pipe or terminal does not stop the loop."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except (PermissionError, NotImplementedError):  # an ordinary file: always ready
        return os.read(descriptor, CHUNK)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, CHUNK)


def _without_mark(first: bytes) -> bytes:
    if first.startswith(UTF16):
        raise InputError("The file is UTF-16; save it as UTF-8.")
    return first.removeprefix(BOM)


def _text(raw: bytes) -> str | None:
    if len(raw) >= LINE_MAX:
        return None
    try:
        return raw.decode().removesuffix("\r")
    except UnicodeDecodeError:
        return None


def _format(first: str, *, is_tsv: bool) -> tuple[Parser, bool]:
    """How to read the lines, and whether the first is only a header."""
    names = [name.strip().casefold() for name in first.split("\t")]
    if "prompt" in names and (is_tsv or len(names) > 1):
        column = names.index("prompt")
        return lambda row: _cell(row, column), True
    if is_tsv or len(names) > 1:
        raise InputError("The first line has columns, but none of them is named Prompt.")
    return (_object if first.lstrip().startswith("{") else _prompt), False


def _line(number: int, text: str, parse: Parser) -> Line:
    try:
        return Asked(number, parse(text))
    except ValueError as error:
        return Unreadable(number, text.strip(), str(error))


def _prompt(line: str) -> Fields:
    prompt = line.strip()
    return _object(line) if prompt.startswith("{") else {"prompt": prompt}


def _object(line: str) -> Fields:
    if not line.lstrip().startswith("{"):
        raise ValueError("Not a JSON object of request fields, as the lines before.")
    try:
        return msgspec.json.decode(line, type=Fields)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(
            f"A line that starts with {{ has to be a JSON object of request fields ({error})."
        ) from error


def _cell(row: str, column: int) -> Fields:
    cells = row.split("\t")
    prompt = cells[column].strip() if column < len(cells) else ""
    if not prompt:
        raise ValueError("The row has nothing in its Prompt column.")
    return {"prompt": prompt}
