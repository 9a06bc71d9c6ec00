"""Pictures and their receipts: the layout in the store, and what makes a picture stored.

Of series ab12..., `ab/ab12.../3-<sha32>.png` holds the bytes of slot 3, `ab/ab12.../3.json` their
receipt; `store-id` tells stores apart. A picture is stored when its receipt is there and its bytes
have the size that the receipt says.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import uuid4

import msgspec

from genonce.adapters.object_stores import open_objects
from genonce.adapters.objects import Objects
from genonce.domain.errors import ImagesUnavailable
from genonce.domain.identity import SeriesId
from genonce.domain.ports import StoredBytes
from genonce.domain.series import MEDIA_TYPES, ImageKey, Receipt, read_image_key

STORE_ID = "store-id"
ATTEMPTS = 5
"""Rounds of create, read, replace for one name; a round is lost only to a change made meanwhile."""
PROBES = "probes"
PROBE_BYTES = 65_536
PROOF_S = 10.0
"""Seconds for which a write that worked proves that the next one would."""
ROOM_BYTES = 64 * 1024 * 1024
"""The largest picture that is accepted."""
THREADS = 8
WAITING_THREADS = 64
"""They do nothing but wait for a bucket: as many as requests that may be under way."""

T = TypeVar("T")


@dataclass(slots=True)
class _Proof:
    """Until when the last probe counts, by the monotonic clock."""

    until_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class ObjectImageStore:
    """ImageStore on objects; made by `open_image_store`.

    Each call is one task of one thread. Cancelled, it still comes to its end there; a process that
    ends waits for it, 30 s at most where a server is silent.
    """

    objects: Objects
    threads: Executor
    _proof: _Proof = field(default_factory=_Proof, repr=False)

    async def check(self) -> None:
        """Prove that a picture could be stored now, before one is bought.

        Looks for room each time, and writes at most every ten seconds, unless a `put` failed.

        Raises:
            ImagesUnavailable: not writable, less room than a picture may need, or away.
        """
        await self._run(self._check)

    async def find(self, series: SeriesId, index: int) -> Receipt | None:
        """Return a slot's receipt; None too if it is damaged or its bytes are gone.

        Raises:
            ImagesUnavailable: the store does not answer, or refuses.
        """
        return await self._run(partial(self._find, series, index))

    async def put(self, data: bytes, receipt: Receipt) -> Receipt:
        """Store bytes, then the receipt, unless the slot has one; returns the one that stands.

        A crash between the two leaves bytes that nobody finds: the slot is still empty.

        Raises:
            ValueError: the receipt is not one of these bytes.
            ImagesUnavailable: nothing is stored, or the answer was lost; safe to try again.
        """
        path = _bytes_path(receipt.image.key)
        if path is None or len(data) != receipt.bytes:
            raise ValueError("the receipt does not describe these bytes")
        try:
            return await self._run(partial(self._put, path, data, receipt))
        except ImagesUnavailable:
            self._proof.until_s = float("-inf")
            raise

    async def read(
        self, key: ImageKey, *, start: int = 0, end: int | None = None
    ) -> StoredBytes | None:
        """Bytes ``start`` to ``end`` (exclusive) of a picture; None if there is none.

        Only the range is fetched. A range with nothing in it gives no bytes and the true total;
        ``end=0`` thus asks for the size alone.

        Raises:
            ValueError: ``start`` is negative.
            ImagesUnavailable: the store does not answer, or refuses.
        """
        if start < 0:
            raise ValueError("start is negative")
        path = _bytes_path(key)
        return None if path is None else await self._run(partial(self._read, path, start, end))

    async def delete(self, series: SeriesId, index: int) -> bool:
        """Remove a slot's receipt and all bytes ever put for it; False if there was no receipt.

        Bytes go first. After a crash half-way nothing that was to vanish is still served, the
        receipt left behind proves nothing, and the same call made again finds it and finishes.
        The other way round the bytes would stay readable by their key, and no receipt names them.

        Raises:
            ImagesUnavailable: the store does not answer, or refuses; perhaps half done.
        """
        return await self._run(partial(self._delete, series, index))

    async def store_id(self) -> str:
        """Return the id written at the store's first use; all readers agree on it.

        Raises:
            ImagesUnavailable: the store does not answer, or refuses its first write.
        """
        return await self._run(self._store_id)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    def _check(self) -> None:
        self.objects.check_room(ROOM_BYTES)
        now_s = time.monotonic()
        if now_s < self._proof.until_s:
            return
        # Created, as a receipt is: some mounts and servers can overwrite but not do that.
        path = f"{PROBES}/{uuid4().hex}"
        self.objects.create(path, bytes(PROBE_BYTES), media_type="application/octet-stream")
        self.objects.remove(path)
        self._proof.until_s = now_s + PROOF_S

    def _find(self, series: SeriesId, index: int) -> Receipt | None:
        found = self.objects.get(_receipt_path(series, index))
        return None if found is None else self._proven(found.data, series, index)

    def _put(self, path: str, data: bytes, receipt: Receipt) -> Receipt:
        self.objects.put(path, data, media_type=MEDIA_TYPES[receipt.image.format])
        standing = self._settle(receipt)
        if standing.image.key != receipt.image.key:
            # The slot has its picture: bytes of ours that stay behind must not look like a failure.
            with suppress(ImagesUnavailable):
                self.objects.remove(path)
        return standing

    def _settle(self, receipt: Receipt) -> Receipt:
        """Write the receipt if none stands; a damaged one, or one without bytes, gives way."""
        series, index = receipt.image.series, receipt.image.index
        path, data = _receipt_path(series, index), msgspec.json.encode(receipt)
        for _ in range(ATTEMPTS):
            if self.objects.create(path, data, media_type="application/json"):
                return receipt
            found = self.objects.get(path)
            if found is None:
                continue
            standing = self._proven(found.data, series, index)
            if standing is not None:
                return standing
            if self.objects.replace(path, data, stale=found, media_type="application/json"):
                return receipt
        raise ImagesUnavailable("The image store gives changing answers: check IMAGE_STORE_URL.")

    def _proven(self, data: bytes, series: SeriesId, index: int) -> Receipt | None:
        """The receipt, if it is this slot's and its bytes are there in full."""
        try:
            receipt = msgspec.json.decode(data, type=Receipt)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        image = receipt.image
        path = _bytes_path(image.key)
        if path is None or (image.series, image.index) != (series, index):
            return None
        return receipt if self.objects.size(path) == receipt.bytes else None

    def _read(self, path: str, start: int, end: int | None) -> StoredBytes | None:
        if end is None or start < end:
            return self.objects.read(path, start=start, end=end)
        total = self.objects.size(path)
        return None if total is None else StoredBytes(data=b"", start=start, total=total)

    def _delete(self, series: SeriesId, index: int) -> bool:
        folder, receipt = _folder(series), _receipt_path(series, index)
        paths = self.objects.paths(folder)
        for path in paths:
            if path.startswith(f"{folder}/{index}-"):
                self.objects.remove(path)
        if receipt not in paths:
            return False
        self.objects.remove(receipt)
        return True

    def _store_id(self) -> str:
        for _ in range(ATTEMPTS):
            found = self.objects.get(STORE_ID)
            if found is not None:
                return found.data.decode("ascii", "replace")
            fresh = uuid4().hex
            if self.objects.create(STORE_ID, fresh.encode(), media_type="text/plain"):
                return fresh
        raise ImagesUnavailable("The image store gives changing answers: check IMAGE_STORE_URL.")


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
    threads = THREADS if url.startswith(("file:", "memory:")) else WAITING_THREADS
    pool = ThreadPoolExecutor(threads, thread_name_prefix="image-store")
    return ObjectImageStore(open_objects(url, aws=aws), pool)


def _folder(series: SeriesId) -> str:
    return f"{series[:2]}/{series}"


def _receipt_path(series: SeriesId, index: int) -> str:
    return f"{_folder(series)}/{index}.json"


def _bytes_path(key: str) -> str | None:
    """Where the bytes of a key are; None if it is no key, or not the only way to write it."""
    parts = read_image_key(key)
    if parts is None:
        return None
    name = f"{parts.index}-{parts.sha256}.{parts.format}"
    return f"{_folder(parts.series)}/{name}" if key == f"{parts.series}-{name}" else None
