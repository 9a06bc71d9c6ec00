"""The ImageStore contract: in memory, in a directory and on an S3 server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from genonce.adapters.image_store import PROBES, ObjectImageStore, open_image_store
from genonce.domain.series import ImageKey
from tests.adapters.pictures import BUCKET, FOLDER, SERIES, aws, path_of, receipt_of, s3_server

RACERS = 20
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectImageStore:
    if request.param == "memory":
        return open_image_store("memory://", aws={})
    if request.param == "file":
        return open_image_store((tmp_path / "data" / "images").as_uri(), aws={})
    address = request.getfixturevalue("s3")
    return open_image_store(f"s3://{BUCKET}{tmp_path}", aws=aws(address))


async def test_a_picture_is_found_and_read_after_it_was_put(store: ObjectImageStore) -> None:
    receipt = receipt_of(b"fox")
    assert await store.find(SERIES, 0) is None
    assert await store.read(receipt.image.key) is None
    assert await store.put(b"fox", receipt) == receipt
    assert await store.find(SERIES, 0) == receipt
    assert await store.find(SERIES, 1) is None
    stored = await store.read(receipt.image.key)
    assert stored is not None
    assert (stored.data, stored.start, stored.total) == (b"fox", 0, 3)


async def test_the_first_receipt_stands_and_later_bytes_go(store: ObjectImageStore) -> None:
    first, second = receipt_of(b"fox"), receipt_of(b"another fox")
    await store.put(b"fox", first)
    assert await store.put(b"another fox", second) == first
    assert await store.read(second.image.key) is None
    assert await store.find(SERIES, 0) == first


async def test_the_same_picture_put_again_stays(store: ObjectImageStore) -> None:
    first = receipt_of(b"fox")
    again = msgspec.structs.replace(first, purchase=2)
    await store.put(b"fox", first)
    assert await store.put(b"fox", again) == first
    assert await store.read(first.image.key) is not None


async def race(store: ObjectImageStore) -> None:
    """Twenty workers, ten different pictures: one stands, all say so, nothing else is left."""
    pictures = [f"fox {n // 2}".encode() for n in range(RACERS)]
    standing = await asyncio.gather(*(store.put(data, receipt_of(data)) for data in pictures))
    assert all(receipt == standing[0] for receipt in standing)
    assert await store.find(SERIES, 0) == standing[0]
    assert sorted(store.objects.paths(FOLDER)) == [path_of(standing[0]), f"{FOLDER}/0.json"]


async def test_of_twenty_racers_one_receipt_stands(store: ObjectImageStore) -> None:
    await race(store)


async def test_of_twenty_racers_over_a_dead_receipt_one_stands(store: ObjectImageStore) -> None:
    lost = receipt_of(b"lost")
    await store.put(b"lost", lost)
    store.objects.remove(path_of(lost))
    await race(store)


async def test_a_crash_before_the_receipt_leaves_the_slot_empty(store: ObjectImageStore) -> None:
    receipt = receipt_of(b"fox")
    store.objects.put(path_of(receipt), b"fox", media_type="image/png")
    assert await store.find(SERIES, 0) is None
    assert await store.put(b"fox", receipt) == receipt
    assert await store.find(SERIES, 0) == receipt


@pytest.mark.parametrize("left", [None, b"", b"fo"], ids=["gone", "emptied", "cut"])
async def test_a_receipt_without_its_bytes_proves_nothing_and_blocks_nothing(
    store: ObjectImageStore, left: bytes | None
) -> None:
    lost, bought_again = receipt_of(b"fox"), receipt_of(b"another fox")
    await store.put(b"fox", lost)
    if left is None:
        store.objects.remove(path_of(lost))
    else:
        store.objects.put(path_of(lost), left, media_type="image/png")
    assert await store.find(SERIES, 0) is None
    assert await store.put(b"another fox", bought_again) == bought_again
    assert await store.find(SERIES, 0) == bought_again


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b'{"version":1,"image"',
        msgspec.json.encode(receipt_of(b"fox")).replace(b"builtin", b"\xff"),
        msgspec.json.encode(receipt_of(b"fox", index=1)),
        msgspec.json.encode(receipt_of(b"fox")).replace(b'"png"', b'"../../x"'),
    ],
    ids=["empty", "cut", "noise", "of another slot", "of no key"],
)
async def test_a_damaged_receipt_is_absent_and_is_replaced(
    store: ObjectImageStore, damaged: bytes
) -> None:
    receipt = receipt_of(b"fox")
    store.objects.put(f"{FOLDER}/0.json", damaged, media_type="application/json")
    assert await store.find(SERIES, 0) is None
    assert await store.put(b"fox", receipt) == receipt
    assert await store.find(SERIES, 0) == receipt


@pytest.mark.parametrize(
    ("start", "end", "data"),
    [
        (0, None, b"0123456789"),
        (0, 4, b"0123"),
        (3, None, b"3456789"),
        (3, 7, b"3456"),
        (9, 10, b"9"),
        (8, 999, b"89"),
        (0, 0, b""),
        (5, 5, b""),
        (5, 3, b""),
        (10, None, b""),
        (50, 60, b""),
    ],
)
async def test_a_range_is_read_alone_and_tells_the_total(
    store: ObjectImageStore, start: int, end: int | None, data: bytes
) -> None:
    receipt = receipt_of(b"0123456789")
    await store.put(b"0123456789", receipt)
    stored = await store.read(receipt.image.key, start=start, end=end)
    assert stored is not None
    assert (stored.data, stored.start, stored.total) == (data, start, 10)


async def test_a_range_of_nothing_stored_is_none(store: ObjectImageStore) -> None:
    key = receipt_of(b"fox").image.key
    assert await store.read(key, start=1) is None
    assert await store.read(key, end=0) is None
    with pytest.raises(ValueError, match="negative"):
        await store.read(key, start=-1)


async def test_a_check_passes_and_leaves_nothing(store: ObjectImageStore) -> None:
    await asyncio.gather(*(store.check() for _ in range(RACERS)))
    assert store.objects.paths(PROBES) == []
    await store.check()


@pytest.mark.parametrize(
    "written",
    [
        "",
        "store-id",
        "{series}-0.json",
        "{series}-0-{sha}.png/../../../../store-id",
        "../{series}-0-{sha}.png",
        "{series}-0-{sha}.png\n",
        "{series}-00-{sha}.png",
        "{series}-\u0660-{sha}.png",
        "{series}--0-{sha}.png",
        "{series}-0-{upper}.png",
        "{series}-0-{sha}0.png",
        "{series}-0-{sha}.webp",
        "{series}-0-{sha}.gif",
        "0{series}-0-{sha}.png",
    ],
)
async def test_what_is_not_exactly_its_key_is_not_found(written: str) -> None:
    store = open_image_store("memory://", aws={})
    receipt = receipt_of(b"fox")
    sha = receipt.image.sha256[:32]
    await store.store_id()
    await store.put(b"fox", receipt)
    key = written.format(series=SERIES, sha=sha, upper=sha.upper())
    assert await store.read(ImageKey(key)) is None


async def test_only_what_was_read_is_replaced(store: ObjectImageStore) -> None:
    objects, path = store.objects, f"{FOLDER}/0.json"
    objects.put(path, b"old", media_type="text/plain")
    read = objects.get(path)
    assert read is not None
    assert objects.replace(path, b"new", stale=read, media_type="text/plain") is True
    assert objects.replace(path, b"late", stale=read, media_type="text/plain") is False
    now = objects.get(path)
    assert now is not None
    assert now.data == b"new"
    objects.remove(path)
    assert objects.replace(path, b"late", stale=now, media_type="text/plain") is False
    assert objects.get(path) is None


async def test_a_receipt_of_other_bytes_is_refused(store: ObjectImageStore) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        await store.put(b"foxes", receipt_of(b"fox"))
    assert await store.find(SERIES, 0) is None


async def test_delete_takes_the_receipt_and_every_byte_of_its_slot_only(
    store: ObjectImageStore,
) -> None:
    receipts = {index: receipt_of(b"fox", index=index) for index in (0, 1, 10)}
    for receipt in receipts.values():
        await store.put(b"fox", receipt)
    orphan = receipt_of(b"never got its receipt", index=1)
    store.objects.put(path_of(orphan), b"never got its receipt", media_type="image/png")

    assert await store.delete(SERIES, 1) is True
    assert await store.find(SERIES, 1) is None
    assert await store.read(receipts[1].image.key) is None
    assert await store.read(orphan.image.key) is None
    assert await store.delete(SERIES, 1) is False
    assert await store.find(SERIES, 0) == receipts[0]
    assert await store.find(SERIES, 10) == receipts[10]
    assert await store.put(b"fox", receipts[1]) == receipts[1]


async def test_a_delete_cut_short_is_finished_by_the_next(store: ObjectImageStore) -> None:
    receipt = receipt_of(b"fox")
    await store.put(b"fox", receipt)
    store.objects.remove(path_of(receipt))
    assert await store.find(SERIES, 0) is None
    assert await store.delete(SERIES, 0) is True
    assert store.objects.paths(FOLDER) == []
    assert await store.delete(SERIES, 0) is False


async def test_all_first_readers_agree_on_the_store_id(store: ObjectImageStore) -> None:
    ids = await asyncio.gather(*(store.store_id() for _ in range(RACERS)))
    assert len(set(ids)) == 1
    assert await store.store_id() == ids[0]
    assert ids[0] != await open_image_store("memory://", aws={}).store_id()
