"""Hand out stored bytes; a link whose bytes are gone empties its slot, so a resubmit heals it."""

import contextlib
from dataclasses import dataclass

from genonce.domain.errors import ImageNotFound, StoreUnavailable
from genonce.domain.ports import ImageStore, Limits, TaskStore
from genonce.domain.quota import Limit, Meter
from genonce.domain.series import ImageKey, KeyParts
from genonce.service.submit import Caller


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored picture whose bytes can be read.

    Attributes:
        size: bytes.
    """

    images: ImageStore
    key: ImageKey
    parts: KeyParts
    size: int

    async def read(self, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive).

        Raises:
            ImageNotFound: it was deleted meanwhile.
            ImagesUnavailable: the image store is away.
        """
        stored = await self.images.read(self.key, start=start, end=end)
        if stored is None:
            raise ImageNotFound(GONE)
        return stored.data


@dataclass(frozen=True, slots=True)
class Pictures:
    """Stored pictures by key."""

    images: ImageStore
    tasks: TaskStore
    limits: Limits
    read_limits: tuple[Limit, ...]

    async def open(self, key: ImageKey, parts: KeyParts, caller: Caller) -> Picture:
        """Find a picture; costs one unit of the read meter.

        Raises:
            ImageNotFound: there is none.
            LimitExceeded: the read meter is used up.
            ImagesUnavailable: the image store is away.
        """
        # Finished pictures are served while Redis is away; nobody counts them then.
        with contextlib.suppress(StoreUnavailable):
            await self.limits.take(Meter("read", caller.id, self.read_limits))
        size = await self.images.read(key, start=0, end=0)
        if size is None:
            with contextlib.suppress(StoreUnavailable):
                await self.tasks.lose(parts)
            raise ImageNotFound(GONE)
        return Picture(self.images, key, parts, size.total)


GONE = "No such image; ask for its task again to have it made."
