"""What is particular to each place of pictures: URLs, full directories, servers that are gone."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import obstore
import pytest

from genonce.adapters.image_store import open_image_store
from genonce.domain.errors import ConfigError, ImagesUnavailable
from tests.adapters.pictures import BUCKET, FOLDER, SERIES, aws, path_of, receipt_of, s3_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


async def test_a_directory_is_made_and_serves_after_a_restart(tmp_path: Path) -> None:
    url = (tmp_path / "not yet" / "50% #1 \u00e4?").as_uri()
    before = open_image_store(url, aws={})
    await before.put(b"fox", receipt_of(b"fox"))
    after = open_image_store(url, aws={})
    assert await after.find(SERIES, 0) == receipt_of(b"fox")
    assert await after.store_id() == await before.store_id()


async def test_a_bucket_serves_pictures_with_their_type_for_ever(s3: str) -> None:
    store = open_image_store(f"s3://{BUCKET}/typed", aws=aws(s3))
    receipt = receipt_of(b"fox", image_format="webp")
    await store.put(b"fox", receipt)
    attributes = obstore.get(store.objects.store, path_of(receipt)).attributes
    assert attributes["Content-Type"] == "image/webp"
    assert "immutable" in attributes["Cache-Control"]


async def test_a_missing_bucket_is_not_an_empty_one(s3: str) -> None:
    """Else every picture would be bought, and then not be stored."""
    store = open_image_store("s3://no-such-bucket/x", aws=aws(s3))
    with pytest.raises(ImagesUnavailable, match="not there: check IMAGE_STORE_URL"):
        await store.find(SERIES, 0)
    with pytest.raises(ImagesUnavailable, match="not there: check IMAGE_STORE_URL"):
        await store.put(b"fox", receipt_of(b"fox"))


async def test_a_server_that_is_gone_is_said_soon() -> None:
    with s3_server() as address:
        store = open_image_store(f"s3://{BUCKET}/x", aws=aws(address))
        await store.store_id()
    receipt = receipt_of(b"fox")
    started = time.monotonic()
    failures = await asyncio.gather(
        store.check(),
        store.find(SERIES, 0),
        store.put(b"fox", receipt),
        store.read(receipt.image.key),
        store.read(receipt.image.key, start=1),
        store.read(receipt.image.key, end=0),
        store.delete(SERIES, 0),
        store.store_id(),
        return_exceptions=True,
    )
    for failure in failures:
        assert isinstance(failure, ImagesUnavailable)
        assert "IMAGE_STORE_URL" in str(failure)
        assert address not in str(failure)
        assert BUCKET not in str(failure)
    assert time.monotonic() - started < 10


async def test_a_server_that_refuses_the_credentials_is_said() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        store = open_image_store(f"s3://{BUCKET}", aws=aws(f"http://127.0.0.1:{port}"))
        with pytest.raises(ImagesUnavailable, match="refuses: check the credentials") as caught:
            await store.find(SERIES, 0)
    assert caught.value.retry_after_s >= 10


async def test_a_file_where_a_folder_should_be_is_said_without_its_path(tmp_path: Path) -> None:
    store = open_image_store(tmp_path.as_uri(), aws={})
    (tmp_path / FOLDER[:2]).write_bytes(b"")
    for call in (store.put(b"fox", receipt_of(b"fox")), store.find(SERIES, 0)):
        with pytest.raises(ImagesUnavailable, match="IMAGE_STORE_URL") as caught:
            await call
        assert str(tmp_path) not in str(caught.value)


async def test_a_disk_without_room_for_a_picture_is_full(tmp_path: Path) -> None:
    objects = open_image_store(tmp_path.as_uri(), aws={}).objects
    objects.check_room(1)
    with pytest.raises(ImagesUnavailable, match="The image store is full"):
        objects.check_room(2**62)


async def test_a_failed_put_ends_the_proof_of_an_earlier_check(tmp_path: Path) -> None:
    images = tmp_path / "images"
    store = open_image_store(images.as_uri(), aws={})
    await store.check()
    images.rmdir()
    images.write_bytes(b"")
    await store.check()  # the write of a moment ago still counts
    with pytest.raises(ImagesUnavailable):
        await store.put(b"fox", receipt_of(b"fox"))
    with pytest.raises(ImagesUnavailable):
        await store.check()


CHILD = """
import asyncio, os, resource, sys
import msgspec
from genonce.adapters.image_store import open_image_store
from genonce.domain.errors import ImagesUnavailable
from genonce.domain.series import Receipt

async def main(trouble, url, receipt):
    store = open_image_store(url, aws={})
    await asyncio.to_thread(int)  # Python loads its threads now: "nobody" may not read its files
    if trouble == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    elif os.geteuid() == 0:
        os.setuid(65534)
    for call in (store.check(), store.put(bytes(5000), msgspec.json.decode(receipt, type=Receipt))):
        try:
            await call
        except ImagesUnavailable as error:
            print(error)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("full", "The image store is full"), ("read-only", "The image store refuses")],
)
async def test_a_directory_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, trouble: str, said: str
) -> None:
    """Full: no file may grow past 1,000 bytes. Read-only: no right to write, not even for root."""
    images = tmp_path / "images"
    images.mkdir(mode=0o755 if trouble == "full" else 0o555)
    receipt = receipt_of(bytes(5000))
    child = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CHILD, trouble, images.as_uri(), msgspec.json.encode(receipt)],
        capture_output=True,
        text=True,
        timeout=20,
    )
    lines = child.stdout.splitlines()
    assert len(lines) == 2, child.stderr
    assert all(line.startswith(said) and "IMAGE_STORE_URL" in line for line in lines)
    assert str(tmp_path) not in child.stdout
    assert [path for path in images.rglob("*") if path.is_file()] == []
    images.chmod(0o755)
    store = open_image_store(images.as_uri(), aws={})
    assert await store.find(SERIES, 0) is None
    assert await store.put(bytes(5000), receipt) == receipt


@pytest.mark.parametrize(
    "url",
    [
        "",
        "images",
        "/var/images",
        "ftp://host/images",
        "http://host/images",
        "file://images",
        "file:///",
        "file:///images#1",
        "s3://",
        "s3:///prefix",
        "az://",
    ],
)
def test_a_bad_url_is_refused_by_the_name_of_its_variable(url: str) -> None:
    with pytest.raises(ConfigError, match="IMAGE_STORE_URL"):
        open_image_store(url, aws={})


def test_a_directory_that_cannot_be_made_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="IMAGE_STORE_URL") as caught:
        open_image_store((tmp_path / "file").as_uri(), aws={})
    assert str(tmp_path) not in str(caught.value)


def test_other_clouds_are_opened_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    for url in ("gs://bucket/prefix", "az://container/prefix", "s3://bucket/prefix"):
        open_image_store(url, aws={"access_key_id": "", "endpoint": ""})


def test_the_web_process_needs_no_pillow() -> None:
    code = "import sys, genonce.adapters.image_store; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
