"""What the use cases need from outside, as Protocols; the adapters make them real."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

import msgspec

from genonce.domain.catalogue import Model
from genonce.domain.identity import Identity, SeriesId, TaskId
from genonce.domain.quota import Allowance, Meter
from genonce.domain.request import ImageRequest
from genonce.domain.series import Held, Image, ImageKey, KeyParts, Lease, Receipt, Slot
from genonce.domain.task import Claim, ClaimOutcome, Event, Job, Task, TaskState


class Reader(msgspec.Struct, frozen=True):
    """Who reads: the meter that pays for it, and the owner that a task must have ("" = any)."""

    meter: Meter | None
    owner: str


class Limits(Protocol):
    """Meters outside a claim."""

    async def take(self, meter: Meter) -> Allowance | None:
        """Take one unit.

        Raises:
            LimitExceeded: says when one unit is free again; nothing was taken.
            StoreUnavailable: Redis does not answer.
        """
        ...

    async def peek(self, meter: Meter) -> Allowance | None:
        """What is left, without taking anything."""
        ...


class TaskStore(Protocol):
    """Tasks as callers see them. Every method raises StoreUnavailable if Redis is away."""

    async def claim(self, claim: Claim) -> ClaimOutcome:
        """Find the task or make it, charge the limit and queue the job: all or nothing."""
        ...

    async def read(self, task: TaskId, reader: Reader) -> tuple[Task | None, Allowance | None]:
        """The task as it stands, or None if there is none for this reader.

        Raises:
            LimitExceeded: the reader's meter is used up.
        """
        ...

    async def events(self, task: TaskId, *, after: int) -> list[Event]:
        """The present attempt's events with numbers above ``after``, oldest first."""
        ...

    async def cancel(self, task: TaskId) -> tuple[Task, bool] | None:
        """End an unfinished task; no further call is made for it.

        Returns:
            The task and whether it was unfinished until now; None if there is no such task.
        """
        ...

    async def forget(self, task: TaskId) -> SeriesId | None:
        """Remove a finished task's record; its slots stay filled."""
        ...

    async def slots(self, identity: Identity) -> tuple[Task | None, Sequence[Image | Held | None]]:
        """What a claim would find: the task, and its first ``n`` slots (None = empty)."""
        ...

    async def lose(self, lost: KeyParts) -> None:
        """Empty a filled slot whose bytes are gone; another picture's slot stays."""
        ...


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a job has to do; one answer of `SlotStore.lease`."""

    series: SeriesId
    request: ImageRequest
    n: int
    started_s_ago: float
    """Seconds since the attempt first ran, over all workers."""
    slots: tuple[Slot, ...]


class Outcome(StrEnum):
    """How a purchase without a picture ended."""

    REFUSED = "refused"
    """Nothing was bought."""
    FAILED = "failed"
    UNKNOWN = "unknown"


class SlotStore(Protocol):
    """Slots as workers see them. Every method raises StoreUnavailable if Redis is away."""

    async def lease(self, job: Job) -> Work | None:
        """Mark the task running and lease its empty slots; None if the attempt is over."""
        ...

    async def renew(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, progress: float
    ) -> bool:
        """Keep the leases alive and report progress; False if the attempt is over."""
        ...

    async def open_purchase(self, job: Job, series: SeriesId, leases: Sequence[Lease]) -> bool:
        """Write the intent to buy these slots; False if the attempt is over or a lease is lost."""
        ...

    async def close_purchase(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, outcome: Outcome
    ) -> list[Lease]:
        """Record how a purchase without pictures ended; returns the leases with new counts."""
        ...

    async def fill(self, job: Job, lease: Lease, image: Image) -> bool:
        """Fill a slot; False if the lease was lost to another holder."""
        ...

    async def finish(
        self,
        job: Job,
        series: SeriesId,
        leases: Sequence[Lease],
        *,
        state: TaskState,
        code: str = "",
        message: str = "",
    ) -> int | None:
        """End the attempt; give back its leases, and the allowance that bought nothing.

        Returns:
            Slots bought in this attempt, by all workers; None if it is over already, or slots
            are missing for success.
        """
        ...

    async def release(self, series: SeriesId, leases: Sequence[Lease]) -> None:
        """Give leases back without a result, for another worker to go on at once."""
        ...


class Watch(Protocol):
    """A subscription; `changed` returns at once if something came since the last call."""

    async def changed(self, timeout_s: float | None) -> bool:
        """Wait for a change; False after ``timeout_s`` seconds without one (None: no end)."""
        ...


class Changes(Protocol):
    """Signals of what happens elsewhere: subscribe first, read second."""

    def task(self, task: TaskId) -> AbstractAsyncContextManager[Watch]:
        """Changes of one task; entered when the subscription stands."""
        ...

    def series(self, series: SeriesId) -> AbstractAsyncContextManager[Watch]:
        """Fills and releases of one series."""
        ...


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a provider for one or more slots."""

    request: ImageRequest
    model: Model
    series: SeriesId
    indexes: tuple[int, ...]
    seeds: tuple[int | None, ...]
    """One a slot; None where the model takes no seed. A call for several slots sends the first."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """One picture as a provider gave it, unchecked."""

    index: int
    """The slot that it is for."""
    data: bytes
    seed: int | None = None
    provider_request_id: str | None = None
    cost_usd: float | None = None


class Provider(Protocol):
    """Who makes images.

    Attributes:
        name: as in the catalogue.
        is_free: a call repeated after a crash costs nothing and gives the same picture.
    """

    name: str
    is_free: bool

    def make(
        self, call: Call, on_progress: Callable[[int, float], None]
    ) -> AsyncIterator[Rendered]:
        """Make the pictures, each yielded when it is there.

        Args:
            on_progress: takes a slot's index and its ratio, 0.0 to 1.0, where it is known.

        Raises:
            ProviderError: by its class it says what happened to the money.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and threads."""
        ...


class Pace(Protocol):
    """A provider's pace and concurrency, shared by all workers."""

    def turn(self, provider: str) -> AbstractAsyncContextManager[None]:
        """Wait for the provider's turn; entered when a call may be made."""
        ...

    async def rest(self, provider: str, seconds: float) -> None:
        """Let every worker leave the provider alone for so long."""
        ...

    async def fault(self, provider: str, message: str | None) -> None:
        """Tell /health that the operator has to act for this provider (None: mended)."""
        ...


class Inspected(msgspec.Struct, frozen=True):
    """What checked bytes turned out to be."""

    format: str
    width: int
    height: int


class Inspector(Protocol):
    """Tells pictures from other bytes."""

    async def inspect(self, data: bytes) -> Inspected:
        """Decode the picture in full.

        Raises:
            ProviderFailed: empty, not a known format, or not decodable.
        """
        ...


class StoredBytes(msgspec.Struct, frozen=True):
    """A range of a stored picture.

    Attributes:
        start: first byte of the range in the whole.
        total: size of the whole, in bytes.
    """

    data: bytes
    start: int
    total: int


class ImageStore(Protocol):
    """Bytes and receipts: the truth for pictures. Raises ImagesUnavailable if it is away."""

    async def check(self) -> None:
        """Prove that a picture could be stored now, before one is bought.

        Raises:
            ImagesUnavailable: not writable, full, or away.
        """
        ...

    async def find(self, series: SeriesId, index: int) -> Receipt | None:
        """The receipt of a slot, if its picture is stored."""
        ...

    async def put(self, data: bytes, receipt: Receipt) -> Receipt:
        """Store bytes, then the receipt, unless the slot has one; returns the one that stands."""
        ...

    async def read(
        self, key: ImageKey, *, start: int = 0, end: int | None = None
    ) -> StoredBytes | None:
        """Bytes ``start`` to ``end`` (exclusive) of a picture; None if there is none."""
        ...

    async def delete(self, series: SeriesId, index: int) -> bool:
        """Remove a slot's receipt and bytes; False if there was no receipt."""
        ...

    async def store_id(self) -> str:
        """The id written into the store at its first use: tells two stores apart."""
        ...


class Vitals(msgspec.Struct, frozen=True):
    """What /health tells of the parts behind Redis.

    Attributes:
        workers: processes that listen for jobs.
        queued: jobs that wait or run.
        faults: provider -> what its operator has to mend.
    """

    workers: int
    queued: int
    faults: dict[str, str]


class Presence(Protocol):
    """What the processes of a deployment know of one another."""

    async def vitals(self, providers: Iterable[str]) -> Vitals:
        """Who is alive and what is broken.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ...
