"""Every port in memory: the same promises as the real ones, small, and open to be looked at.

`FakeRedis` is what the stores share. Fakes of what lies outside (provider, image store) can be told
to fail; none of them waits for anything but what a test lets go.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from genonce.domain.errors import (
    ImagesUnavailable,
    NotAccepted,
    ProviderError,
    ProviderFailed,
    ProviderMisconfigured,
    ProviderRejected,
    StoreUnavailable,
)
from genonce.domain.identity import Identity, SeriesId, TaskId
from genonce.domain.ports import (
    Call,
    Inspected,
    Outcome,
    Reader,
    Rendered,
    StoredBytes,
    Vitals,
    Work,
)
from genonce.domain.quota import Allowance, Limit, Meter, limit_exceeded
from genonce.domain.request import read_canonical
from genonce.domain.series import (
    Held,
    Image,
    ImageKey,
    KeyParts,
    Lease,
    Receipt,
    Slot,
    read_image_key,
)
from genonce.domain.task import (
    Claim,
    ClaimOutcome,
    Collision,
    Event,
    Hit,
    Job,
    Join,
    KeyReused,
    New,
    Refused,
    Replayed,
    Task,
    TaskState,
)

RETRY_S = 12.5
"""When a used-up meter of the fakes says to come back."""


def now_s() -> float:
    """The loop's clock."""
    return asyncio.get_running_loop().time()


# --- signals --------------------------------------------------------------------------------


class FakeWatch:
    """One waiter's end of a subscription."""

    def __init__(self, changes: "FakeChanges") -> None:
        self.changes = changes
        self.event = asyncio.Event()

    async def changed(self, timeout_s: float | None) -> bool:
        """See `Watch.changed`."""
        if self.changes.silences and not self.event.is_set():
            self.changes.silences -= 1
            await asyncio.sleep(0)
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self.event.wait()
        except TimeoutError:
            return False
        self.event.clear()
        return True


class FakeChanges:
    """Signals between the fakes.

    Attributes:
        watches: who waits now, by name.
        silences: waits that still end at once, as if their time were up.
        subscribed: set whenever somebody begins to wait.
    """

    def __init__(self) -> None:
        self.watches: defaultdict[str, set[FakeWatch]] = defaultdict(set)
        self.silences = 0
        self.subscribed = asyncio.Event()

    def notify(self, name: str) -> None:
        """Something changed."""
        for watch in self.watches[name]:
            watch.event.set()

    @contextlib.asynccontextmanager
    async def _watch(self, name: str) -> AsyncIterator[FakeWatch]:
        watch = FakeWatch(self)
        self.watches[name].add(watch)
        self.subscribed.set()
        try:
            yield watch
        finally:
            self.watches[name].discard(watch)

    def task(self, task: TaskId) -> contextlib.AbstractAsyncContextManager[FakeWatch]:
        """See `Changes.task`."""
        return self._watch(task)

    def series(self, series: SeriesId) -> contextlib.AbstractAsyncContextManager[FakeWatch]:
        """See `Changes.series`."""
        return self._watch(series)


# --- Redis ----------------------------------------------------------------------------------


@dataclass
class FakeSlot:
    """A slot as the scripts keep it."""

    image: Image | None = None
    fence: int = 0
    until_s: float = 0.0
    sent: bool = False
    purchases: int = 0
    failures: int = 0
    unknowns: int = 0

    def lease(self, index: int) -> Lease:
        """The lease of whoever holds it."""
        return Lease(
            index=index,
            fence=self.fence,
            sent=self.sent,
            purchases=self.purchases,
            failures=self.failures,
            unknowns=self.unknowns,
        )


@dataclass
class FakeRecord:
    """A task's record.

    Attributes:
        charge: meter, caller and units that its attempt was charged, until it ends.
        log: events of the present attempt.
        bought: slots bought in the present attempt.
    """

    identity: Identity
    owner: str
    state: TaskState
    attempt: int = 1
    event: int = 0
    progress: float = 0.0
    code: str = ""
    message: str = ""
    started_s: float | None = None
    charge: tuple[tuple[str, str], int] | None = None
    log: list[Event] = field(default_factory=list)
    bought: int = 0


class FakeRedis:
    """What the stores share.

    Attributes:
        is_away: every call raises StoreUnavailable.
        lease_s: how long a lease lives without a heartbeat.
        used: units taken, by meter and caller.
    """

    def __init__(self, *, lease_s: float = 60.0) -> None:
        self.is_away = False
        self.lease_s = lease_s
        self.tasks: dict[TaskId, FakeRecord] = {}
        self.series: defaultdict[SeriesId, defaultdict[int, FakeSlot]] = defaultdict(
            lambda: defaultdict(FakeSlot)
        )
        self.queue: list[Job] = []
        self.used: Counter[tuple[str, str]] = Counter()
        self.idempotency: dict[tuple[str, str], str] = {}
        self.changes = FakeChanges()

    def answer(self) -> None:
        """Answer a call, or be away."""
        if self.is_away:
            raise StoreUnavailable("Redis is away; nothing was charged.")

    def end_leases(self) -> None:
        """Let every lease run out, as when its holder died some time ago."""
        for slots in self.series.values():
            for slot in slots.values():
                slot.until_s = 0.0

    def held(self, series: SeriesId, lease: Lease) -> FakeSlot | None:
        """The open slot of a lease that still holds."""
        slot = self.series[series][lease.index]
        return slot if slot.image is None and slot.fence == lease.fence else None

    def give_back(self, series: SeriesId, leases: Sequence[Lease]) -> None:
        """End leases."""
        for lease in leases:
            slot = self.held(series, lease)
            if slot is not None:
                slot.until_s = 0.0
        self.changes.notify(series)

    def images(self, series: SeriesId, n: int) -> tuple[Image, ...]:
        """Pictures of the filled slots."""
        slots = (self.series[series][index] for index in range(n))
        return tuple(slot.image for slot in slots if slot.image is not None)

    def task(self, record: FakeRecord) -> Task:
        """A record as callers see it."""
        identity = record.identity
        job = Job(identity.task, record.attempt)
        is_queued = record.state is TaskState.QUEUED and job in self.queue
        return Task(
            id=identity.task,
            state=record.state,
            attempt=record.attempt,
            n=identity.n,
            progress=record.progress,
            event=record.event,
            images=self.images(identity.series, identity.n),
            code=record.code,
            message=record.message,
            position=self.queue.index(job) + 1 if is_queued else None,
        )

    def emit(self, record: FakeRecord, state: TaskState, progress: float) -> None:
        """Append an event."""
        record.state, record.progress = state, progress
        record.event += 1
        record.log.append(Event(record.event, self.task(record)))
        self.changes.notify(record.identity.task)

    def take(self, meter: Meter, cost: int) -> Allowance | Refused | None:
        """Take units; the windows of the fakes never move."""
        if not meter.limits or cost == 0:
            return None
        used = self.used[meter.name, meter.caller]
        limit = min(meter.limits, key=lambda limit: limit.amount)
        if used + cost > limit.amount:
            retry = None if cost > limit.amount else RETRY_S
            return Refused(meter.name, limit, cost, retry)
        self.used[meter.name, meter.caller] += cost
        return Allowance(meter.name, limit, limit.amount - used - cost, RETRY_S)

    def refund(self, record: FakeRecord, *, kept: int) -> None:
        """Give back what an attempt was charged beyond ``kept`` units."""
        if record.charge is not None:
            name, cost = record.charge
            self.used[name] -= max(0, cost - kept)
            record.charge = None


class FakeLimits:
    """Meters outside a claim."""

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis

    async def take(self, meter: Meter) -> Allowance | None:
        """See `Limits.take`."""
        self.redis.answer()
        found = self.redis.take(meter, 1)
        if isinstance(found, Refused):
            raise limit_exceeded(meter.name, found.limit, retry_after_s=found.retry_after_s or 0)
        return found

    async def peek(self, meter: Meter) -> Allowance | None:
        """See `Limits.peek`."""
        self.redis.answer()
        if not meter.limits:
            return None
        limit: Limit = min(meter.limits, key=lambda limit: limit.amount)
        return Allowance(
            meter.name, limit, limit.amount - self.redis.used[meter.name, meter.caller], 0.0
        )


class FakeTaskStore:
    """Tasks as callers see them.

    Attributes:
        claims: every claim that came.
        next: outcomes to answer instead, once each.
    """

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.claims: list[Claim] = []
        self.next: list[ClaimOutcome] = []

    async def claim(self, claim: Claim) -> ClaimOutcome:
        """See `TaskStore.claim`."""
        self.redis.answer()
        self.claims.append(claim)
        if self.next:
            return self.next.pop(0)
        ids = claim.identity
        record = self.redis.tasks.get(ids.task)
        if record is not None and record.identity.digest != ids.digest:
            return Collision()
        name = (claim.generate.caller, claim.idempotency_key or "")
        used_for = self.redis.idempotency.get(name) if claim.idempotency_key else None
        if used_for not in (None, ids.digest):
            return KeyReused()
        if record is not None and used_for is not None:
            paid = self.redis.take(claim.read, 1)
            return paid if isinstance(paid, Refused) else Replayed(self.redis.task(record), paid)
        outcome = self._find_or_make(claim, record)
        if claim.idempotency_key and not isinstance(outcome, Refused):
            self.redis.idempotency[name] = ids.digest
        return outcome

    def _find_or_make(self, claim: Claim, record: FakeRecord | None) -> ClaimOutcome:
        ids = claim.identity
        slots = [self.redis.series[ids.series][index] for index in range(ids.n)]
        free = [slot for slot in slots if slot.image is None and slot.until_s <= now_s()]
        is_active = record is not None and not record.state.is_terminal
        is_new = bool(free) and not is_active
        cost = (0 if claim.covered else len(free) if claim.cost_per_image else 1) if is_new else 1
        paid = self.redis.take(claim.generate if is_new else claim.read, cost)
        if isinstance(paid, Refused):
            return paid
        if record is None:
            record = FakeRecord(ids, claim.owner, TaskState.QUEUED, attempt=0)
            self.redis.tasks[ids.task] = record
        if all(slot.image for slot in slots):
            if record.state is not TaskState.SUCCEEDED and not is_active:
                self._begin(record, TaskState.SUCCEEDED, 1.0)
            return Hit(self.redis.task(record), paid)
        if not is_active:
            self.redis.queue.append(Job(ids.task, record.attempt + 1))
            self._begin(record, TaskState.QUEUED, 0.0)
        if not is_new:
            return Join(self.redis.task(record), paid)
        if paid is not None:
            record.charge = ((paid.meter, claim.generate.caller), cost)
        for slot in free:
            slot.failures = slot.unknowns = 0
        return New(self.redis.task(record), paid, len(free))

    def _begin(self, record: FakeRecord, state: TaskState, progress: float) -> None:
        record.attempt += 1
        record.code = record.message = ""
        record.started_s, record.charge, record.log = None, None, []
        self.redis.emit(record, state, progress)

    async def read(self, task: TaskId, reader: Reader) -> tuple[Task | None, Allowance | None]:
        """See `TaskStore.read`."""
        self.redis.answer()
        paid = None if reader.meter is None else self.redis.take(reader.meter, 1)
        if isinstance(paid, Refused):
            raise limit_exceeded(paid.meter, paid.limit, retry_after_s=paid.retry_after_s or 0)
        record = self.redis.tasks.get(task)
        if record is None or (reader.owner and record.owner != reader.owner):
            return None, paid
        found = self.redis.task(record)
        if found.state is TaskState.SUCCEEDED and found.done < found.n:
            return None, paid
        return found, paid

    async def events(self, task: TaskId, *, after: int) -> list[Event]:
        """See `TaskStore.events`."""
        self.redis.answer()
        record = self.redis.tasks.get(task)
        if record is None:
            return []
        if after > record.event:
            return list(record.log)
        return [event for event in record.log if event.number > after]

    async def cancel(self, task: TaskId) -> tuple[Task, bool] | None:
        """See `TaskStore.cancel`."""
        self.redis.answer()
        record = self.redis.tasks.get(task)
        if record is None:
            return None
        was_active = not record.state.is_terminal
        if was_active:
            if record.state is TaskState.QUEUED:
                self.redis.queue.remove(Job(task, record.attempt))
                self.redis.refund(record, kept=0)
            self.redis.emit(record, TaskState.CANCELLED, record.progress)
        return self.redis.task(record), was_active

    async def forget(self, task: TaskId) -> SeriesId | None:
        """See `TaskStore.forget`."""
        self.redis.answer()
        record = self.redis.tasks.get(task)
        if record is None or not record.state.is_terminal:
            return None
        del self.redis.tasks[task]
        return record.identity.series

    async def slots(self, identity: Identity) -> tuple[Task | None, Sequence[Image | Held | None]]:
        """See `TaskStore.slots`."""
        self.redis.answer()
        record = self.redis.tasks.get(identity.task)
        found: list[Image | Held | None] = []
        for index in range(identity.n):
            slot = self.redis.series[identity.series][index]
            left_s = slot.until_s - now_s()
            held = Held(index=index, for_s=left_s) if left_s > 0 else None
            found.append(slot.image or held)
        return (None if record is None else self.redis.task(record)), found

    async def lose(self, lost: KeyParts) -> None:
        """See `TaskStore.lose`."""
        self.redis.answer()
        image = self.redis.series[lost.series][lost.index].image
        if image is not None and image.parts == lost:
            del self.redis.series[lost.series][lost.index]


class FakeSlotStore:
    """Slots as workers see them.

    Attributes:
        progress: what heartbeats reported, in order.
        on_call: called with a method's name before it does its work.
    """

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.progress: list[float] = []
        self.on_call: Callable[[str], None] = lambda _: None

    def _enter(self, name: str) -> None:
        self.on_call(name)
        self.redis.answer()

    def _running(self, job: Job) -> FakeRecord | None:
        record = self.redis.tasks.get(job.task)
        if record is None or record.attempt != job.attempt or record.state.is_terminal:
            return None
        return record

    async def lease(self, job: Job) -> Work | None:
        """See `SlotStore.lease`."""
        self._enter("lease")
        record = self._running(job)
        if record is None:
            return None
        if record.started_s is None:
            record.started_s = now_s()
        ids = record.identity
        slots = tuple(self._lease(ids.series, index) for index in range(ids.n))
        if record.state is TaskState.QUEUED:
            self.redis.emit(record, TaskState.RUNNING, record.progress)
        return Work(
            series=ids.series,
            request=read_canonical(ids.canonical),
            n=ids.n,
            started_s_ago=now_s() - record.started_s,
            slots=slots,
        )

    def _lease(self, series: SeriesId, index: int) -> Slot:
        slot, now = self.redis.series[series][index], now_s()
        if slot.image is not None:
            return slot.image
        if slot.until_s > now:
            return Held(index=index, for_s=slot.until_s - now)
        slot.fence += 1
        slot.until_s = now + self.redis.lease_s
        return slot.lease(index)

    async def renew(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, progress: float
    ) -> bool:
        """See `SlotStore.renew`."""
        self._enter("renew")
        for lease in leases:
            slot = self.redis.held(series, lease)
            if slot is not None:
                slot.until_s = now_s() + self.redis.lease_s
        record = self._running(job)
        if record is None:
            return False
        self.progress.append(progress)
        if progress > record.progress:
            self.redis.emit(record, TaskState.RUNNING, min(0.999, progress))
        return True

    async def open_purchase(self, job: Job, series: SeriesId, leases: Sequence[Lease]) -> bool:
        """See `SlotStore.open_purchase`."""
        self._enter("open_purchase")
        slots = [self.redis.held(series, lease) for lease in leases]
        record = self._running(job)
        if record is None or None in slots:
            return False
        for slot in slots:
            if slot is not None:
                record.bought += 1
                slot.sent = True
                slot.purchases += 1
                slot.until_s = now_s() + self.redis.lease_s
        return True

    async def close_purchase(
        self, job: Job, series: SeriesId, leases: Sequence[Lease], *, outcome: Outcome
    ) -> list[Lease]:
        """See `SlotStore.close_purchase`."""
        self._enter("close_purchase")
        left, record = [], self.redis.tasks.get(job.task)
        for lease in leases:
            slot = self.redis.held(series, lease)
            if slot is not None:
                slot.sent = False
                if outcome is Outcome.REFUSED:
                    slot.purchases = max(0, slot.purchases - 1)
                    if record is not None and record.attempt == job.attempt:
                        record.bought = max(0, record.bought - 1)
                slot.failures += outcome is Outcome.FAILED
                slot.unknowns += outcome is Outcome.UNKNOWN
                left.append(slot.lease(lease.index))
        return left

    async def fill(self, job: Job, lease: Lease, image: Image) -> bool:
        """See `SlotStore.fill`."""
        self._enter("fill")
        slot = self.redis.held(image.series, lease)
        if slot is None:
            return self.redis.series[image.series][lease.index].image == image
        self.redis.series[image.series][lease.index] = FakeSlot(image)
        self.redis.changes.notify(image.series)
        record = self._running(job)
        if record is not None:
            n = record.identity.n
            done = len(self.redis.images(image.series, n))
            if done < n:
                self.redis.emit(record, TaskState.RUNNING, max(record.progress, done / n))
        return True

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
        """See `SlotStore.finish`."""
        self._enter("finish")
        self.redis.give_back(series, leases)
        record = self.redis.tasks.get(job.task)
        if record is None or record.attempt != job.attempt:
            return None
        is_over, n = record.state.is_terminal, record.identity.n
        is_short = len(self.redis.images(series, n)) < n
        if state is TaskState.SUCCEEDED and is_short and not is_over:
            return None
        self.redis.refund(record, kept=record.bought)
        if is_over:
            return None
        record.code, record.message = code, message
        is_done = state is TaskState.SUCCEEDED
        self.redis.emit(record, state, 1.0 if is_done else record.progress)
        return record.bought

    async def release(self, series: SeriesId, leases: Sequence[Lease]) -> None:
        """See `SlotStore.release`."""
        self._enter("release")
        self.redis.give_back(series, leases)


class FakePresence:
    """What the processes know of one another."""

    def __init__(self, redis: FakeRedis, *, workers: int = 1) -> None:
        self.redis = redis
        self.workers = workers
        self.faults: dict[str, str] = {}
        self.asked: list[str] = []

    async def vitals(self, providers: Iterable[str]) -> Vitals:
        """See `Presence.vitals`."""
        self.redis.answer()
        self.asked = list(providers)
        return Vitals(self.workers, len(self.redis.queue), self.faults)


# --- images ---------------------------------------------------------------------------------


class FakeImageStore:
    """Bytes and receipts.

    Attributes:
        failures: method -> calls of it that still fail; -1: all of them.
        found: slots that were looked for.
        puts: slots that were stored, or were tried to.
    """

    def __init__(self) -> None:
        self.receipts: dict[tuple[SeriesId, int], Receipt] = {}
        self.bytes: dict[ImageKey, bytes] = {}
        self.failures: Counter[str] = Counter()
        self.found: list[int] = []
        self.puts: list[int] = []

    def _answer(self, name: str) -> None:
        if self.failures[name]:
            self.failures[name] -= self.failures[name] > 0
            raise ImagesUnavailable("The image store is away.")

    async def check(self) -> None:
        """See `ImageStore.check`."""
        self._answer("check")

    async def find(self, series: SeriesId, index: int) -> Receipt | None:
        """See `ImageStore.find`."""
        self._answer("find")
        self.found.append(index)
        return self.receipts.get((series, index))

    async def put(self, data: bytes, receipt: Receipt) -> Receipt:
        """See `ImageStore.put`."""
        self.puts.append(receipt.image.index)
        self._answer("put")
        stands = self.receipts.setdefault((receipt.image.series, receipt.image.index), receipt)
        self.bytes.setdefault(stands.image.key, data)
        return stands

    async def read(
        self, key: ImageKey, *, start: int = 0, end: int | None = None
    ) -> StoredBytes | None:
        """See `ImageStore.read`."""
        self._answer("read")
        data = self.bytes.get(key)
        return None if data is None else StoredBytes(data[start:end], start, len(data))

    async def delete(self, series: SeriesId, index: int) -> bool:
        """See `ImageStore.delete`."""
        self._answer("delete")
        for key in list(self.bytes):
            parts = read_image_key(key)
            if parts is not None and (parts.series, parts.index) == (series, index):
                del self.bytes[key]
        return self.receipts.pop((series, index), None) is not None

    async def store_id(self) -> str:
        """See `ImageStore.store_id`."""
        return "fake"


class FakeInspector:
    """Knows the fake provider's pictures."""

    async def inspect(self, data: bytes) -> Inspected:
        """See `Inspector.inspect`."""
        if not data.startswith(b"picture"):
            raise ProviderFailed("The provider sent bytes that are no picture.")
        return Inspected("png", 512, 384)


# --- providers ------------------------------------------------------------------------------


@dataclass
class Answer:
    """What the fake provider does with one call.

    Attributes:
        error: raised after the pictures; without one all pictures come.
        give: pictures before the end; None: all without an error, none with one.
        broken: slots whose bytes are no picture.
        twice: every picture comes twice.
        stray: a picture for a slot that was not asked for comes first.
        until: pictures wait for this.
        steps: ratios told for every slot before its picture.
    """

    error: ProviderError | None = None
    give: int | None = None
    broken: tuple[int, ...] = ()
    twice: bool = False
    stray: int | None = None
    until: asyncio.Event | None = None
    steps: tuple[float, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """The provider took the call, and would send a bill."""
        free = NotAccepted | ProviderRejected | ProviderMisconfigured
        return not isinstance(self.error, free) or bool(self.give)


class FakeProvider:
    """Does with each call what the next answer says; with none left, makes all pictures.

    Attributes:
        calls: every call that came.
        accepted: pictures that a bill would name, by slot.
        called: set whenever a call comes.
    """

    def __init__(self, *answers: Answer, name: str = "maker", is_free: bool = False) -> None:
        self.name = name
        self.is_free = is_free
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.accepted: Counter[int] = Counter()
        self.called = asyncio.Event()

    async def make(
        self, call: Call, on_progress: Callable[[int, float], None]
    ) -> AsyncIterator[Rendered]:
        """See `Provider.make`."""
        answer = self.answers.pop(0) if self.answers else Answer()
        self.calls.append(call)
        self.called.set()
        if answer.is_accepted:
            self.accepted.update(call.indexes)
        if answer.until is not None:
            await answer.until.wait()
        give = answer.give
        if give is None:
            give = 0 if answer.error else len(call.indexes)
        if answer.stray is not None:
            yield _picture(answer.stray, 0, call)
        for place, index in enumerate(call.indexes[:give]):
            for ratio in answer.steps:
                on_progress(index, ratio)
                await asyncio.sleep(0)
            picture = _picture(index, place, call)
            if index in answer.broken:
                picture = msgspec.structs.replace(picture, data=b"not one")
            yield picture
            if answer.twice:
                yield msgspec.structs.replace(picture, data=picture.data + b" again")
        if answer.error is not None:
            raise answer.error

    async def aclose(self) -> None:
        """See `Provider.aclose`."""


def _picture(index: int, place: int, call: Call) -> Rendered:
    seed = call.seeds[place]
    data = f"picture {index} of {call.request.prompt}, seed {seed}".encode()
    return Rendered(index=index, data=data, seed=seed, provider_request_id=f"request-{index}")


class FakePace:
    """Turns at providers: as many at once as ``places``; rests are noted, not waited for."""

    def __init__(self, *, places: int = 100) -> None:
        self.free = asyncio.Semaphore(places)
        self.rests: list[tuple[str, float]] = []
        self.faults: list[tuple[str, str | None]] = []
        self.turns = 0

    @contextlib.asynccontextmanager
    async def turn(self, provider: str) -> AsyncIterator[None]:
        """See `Pace.turn`."""
        async with self.free:
            self.turns += 1
            try:
                yield
            finally:
                self.turns -= 1

    async def rest(self, provider: str, seconds: float) -> None:
        """See `Pace.rest`."""
        self.rests.append((provider, seconds))

    async def fault(self, provider: str, message: str | None) -> None:
        """See `Pace.fault`."""
        self.faults.append((provider, message))
