"""Pictures and their receipts: the layout in the store, and what makes a picture stored.

Of series ab12..., `ab/ab12.../3-<sha32>.png` holds the bytes of slot 3, `ab/ab12.../3.json` their
receipt; `store-id` tells stores apart. A picture is stored when its receipt is there and its bytes
have the size that the receipt says.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from genonce.adapters.objects import Objects, Store
from genonce.domain.errors import ConfigError, StoreUnavailable
from genonce.domain.identity import SeriesId
from genonce.domain.ports import StoredBytes
from genonce.domain.series import MEDIA_TYPES, ImageKey, Receipt

if TYPE_CHECKING:
    # obstore has these names for type checkers only.
    from obstore.store import ClientConfig, RetryConfig, S3Config

KEY = re.compile(r"([0-9a-f]{32})-((?:0|[1-9][0-9]{0,8})-[0-9a-f]{32}\.(?:png|jpeg|webp))")
STORE_ID = "store-id"
ATTEMPTS = 5
"""Rounds of create, read, replace for one name; a round is lost only to a change made meanwhile."""
# One request ends within 30 s, one with all its retries within a minute.
_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=30),
}
_RETRIES: "RetryConfig" = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"max_backoff": timedelta(seconds=1)},
}


@dataclass(frozen=True, slots=True)
class ObjectImageStore:
    """ImageStore on objects; made by `open_image_store`."""

    objects: Objects

    async def find(self, series: SeriesId, index: int) -> Receipt | None:
        """Return a slot's receipt; None too if it is damaged or its bytes are gone.

        Raises:
            StoreUnavailable: the store does not answer, or refuses.
        """
        found = await self.objects.get(_receipt_path(series, index))
        return None if found is None else await self._proven(found.data, series, index)

    async def put(self, data: bytes, receipt: Receipt) -> Receipt:
        """Store bytes, then the receipt, unless the slot has one; returns the one that stands.

        A crash between the two leaves bytes that nobody finds: the slot is still empty.

        Raises:
            ValueError: the receipt is not one of these bytes.
            StoreUnavailable: nothing is stored, or the answer was lost; safe to try again.
        """
        path = _bytes_path(receipt.image.key)
        if path is None or len(data) != receipt.bytes:
            raise ValueError("the receipt does not describe these bytes")
        await self.objects.put(path, data, media_type=MEDIA_TYPES[receipt.image.format])
        standing = await self._settle(receipt)
        if standing.image.key != receipt.image.key:
            # The slot has its picture: bytes of ours that stay behind must not look like a failure.
            with suppress(StoreUnavailable):
                await self.objects.remove(path)
        return standing

    async def read(
        self, key: ImageKey, *, start: int = 0, end: int | None = None
    ) -> StoredBytes | None:
        """Bytes ``start`` to ``end`` (exclusive) of a picture; None if there is none.

        Only the range is fetched. A range with nothing in it gives no bytes and the true total;
        ``end=0`` thus asks for the size alone.

        Raises:
            ValueError: ``start`` is negative.
            StoreUnavailable: the store does not answer, or refuses.
        """
        if start < 0:
            raise ValueError("start is negative")
        path = _bytes_path(key)
        if path is None:
            return None
        # A store reports a range with nothing in it like any other failure, so none is asked for.
        if start > 0 or end == 0:
            total = await self.objects.size(path)
            if total is None:
                return None
            if start >= min(total, total if end is None else end):
                return StoredBytes(data=b"", start=start, total=total)
        return await self.objects.read(path, start=start, end=end)

    async def delete(self, series: SeriesId, index: int) -> bool:
        """Remove a slot's receipt and all bytes ever put for it; False if there was no receipt.

        Bytes go first. After a crash half-way nothing that was to vanish is still served, the
        receipt left behind proves nothing, and the same call made again finds it and finishes.
        The other way round the bytes would stay readable by their key, and no receipt names them.

        Raises:
            StoreUnavailable: the store does not answer, or refuses; perhaps half done.
        """
        receipt = _receipt_path(series, index)
        folder = _folder(series)
        paths = await self.objects.paths(folder)
        for path in paths:
            if path.startswith(f"{folder}/{index}-"):
                await self.objects.remove(path)
        if receipt not in paths:
            return False
        await self.objects.remove(receipt)
        return True

    async def store_id(self) -> str:
        """Return the id written at the store's first use; all readers agree on it.

        Raises:
            StoreUnavailable: the store does not answer, or refuses its first write.
        """
        for _ in range(ATTEMPTS):
            found = await self.objects.get(STORE_ID)
            if found is not None:
                return found.data.decode("ascii", "replace")
            fresh = uuid4().hex
            if await self.objects.create(STORE_ID, fresh.encode(), media_type="text/plain"):
                return fresh
        raise StoreUnavailable("The image store gives changing answers: check IMAGE_STORE_URL.")

    async def _settle(self, receipt: Receipt) -> Receipt:
        """Write the receipt if none stands; a damaged one, or one without bytes, gives way."""
        series, index = receipt.image.series, receipt.image.index
        path, data = _receipt_path(series, index), msgspec.json.encode(receipt)
        for _ in range(ATTEMPTS):
            if await self.objects.create(path, data, media_type="application/json"):
                return receipt
            found = await self.objects.get(path)
            if found is None:
                continue
            standing = await self._proven(found.data, series, index)
            if standing is not None:
                return standing
            if await self.objects.replace(path, data, stale=found, media_type="application/json"):
                return receipt
        raise StoreUnavailable("The image store gives changing answers: check IMAGE_STORE_URL.")

    async def _proven(self, data: bytes, series: SeriesId, index: int) -> Receipt | None:
        """The receipt, if it is this slot's and its bytes are there in full."""
        try:
            receipt = msgspec.json.decode(data, type=Receipt)
        except msgspec.DecodeError:
            return None
        image = receipt.image
        path = _bytes_path(image.key)
        if path is None or (image.series, image.index) != (series, index):
            return None
        return receipt if await self.objects.size(path) == receipt.bytes else None


def open_image_store(url: str, *, aws: Mapping[str, str]) -> ObjectImageStore:
    """Open the image store at a URL; a local directory is made, nothing else is touched.

    Args:
        url: file:///directory, s3://bucket/prefix, gs://, az:// or memory://.
        aws: for s3, any of access_key_id, secret_access_key, region and endpoint; "" counts as
            absent, and what is absent comes from the AWS environment. An endpoint is addressed
            by path, and may be http.

    Raises:
        ConfigError: names IMAGE_STORE_URL.
    """
    try:
        match url.partition("://")[0]:
            case "file":
                return _on(LocalStore(_directory(url), automatic_cleanup=True, mkdir=True))
            case "memory":
                return _on(MemoryStore())
            case "s3":
                return _on(_open_s3(url, {name: value for name, value in aws.items() if value}))
            case "gs":
                return _on(GCSStore.from_url(url, client_options=_CLIENT, retry_config=_RETRIES))
            case "az":
                return _on(AzureStore.from_url(url, client_options=_CLIENT, retry_config=_RETRIES))
            case _:
                raise ValueError("it must start with file://, s3://, gs://, az:// or memory://")
    except (BaseError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"IMAGE_STORE_URL cannot be used: {reason}") from error


def _on(store: Store) -> ObjectImageStore:
    return ObjectImageStore(Objects(store))


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or path == Path("/"):
        raise ValueError("a directory is written file:///path, with %23 for # and %3F for ?")
    return path


def _open_s3(url: str, aws: Mapping[str, str]) -> S3Store:
    given: dict[str, object] = {**aws, "virtual_hosted_style_request": False}
    # Not every S3-compatible server knows how to delete many objects at once.
    given["disable_bulk_delete"] = True
    return S3Store.from_url(
        url,
        config=cast("S3Config", given),
        client_options={**_CLIENT, "allow_http": aws.get("endpoint", "").startswith("http://")},
        retry_config=_RETRIES,
    )


def _folder(series: SeriesId) -> str:
    return f"{series[:2]}/{series}"


def _receipt_path(series: SeriesId, index: int) -> str:
    return f"{_folder(series)}/{index}.json"


def _bytes_path(key: ImageKey) -> str | None:
    """Where the bytes of a key are; None if it is no key."""
    parts = KEY.fullmatch(key)
    return None if parts is None else f"{_folder(SeriesId(parts[1]))}/{parts[2]}"
