"""Receipts to store, and an S3 server to store them in."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from genonce.domain.identity import SeriesId
from genonce.domain.series import Image, Receipt

STANDIN = Path(__file__).parents[1] / "standins" / "s3.py"
BUCKET = "pictures"
SERIES = SeriesId("ab" * 16)
FOLDER = f"ab/{SERIES}"


def receipt_of(data: bytes, *, index: int = 0, image_format: str = "png") -> Receipt:
    image = Image(
        series=SERIES,
        index=index,
        sha256=hashlib.sha256(data).hexdigest(),
        format=image_format,
        width=512,
        height=384,
        seed=7,
    )
    return Receipt(
        image=image,
        request=msgspec.Raw(b'{"model":"small","prompt":"a red fox"}'),
        provider="builtin",
        model="small",
        purchase=1,
        bytes=len(data),
        asked_at="2026-11-20T10:00:00Z",
        stored_at="2026-11-20T10:00:01Z",
    )


def path_of(receipt: Receipt) -> str:
    return f"{FOLDER}/{receipt.image.key.partition('-')[2]}"


def aws(endpoint: str) -> dict[str, str]:
    return {
        "access_key_id": "an-id",
        "secret_access_key": "a-secret",
        "region": "us-east-1",
        "endpoint": endpoint,
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server with one bucket, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(STANDIN), BUCKET], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        word, _, address = server.stdout.readline().decode().strip().partition(" ")
        assert word == "ready"
        yield address
        server.stdin.close()
        server.wait(10)
