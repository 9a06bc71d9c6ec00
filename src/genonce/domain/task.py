"""The caller-visible unit: its states, its progress, and what a claim can answer."""

from enum import StrEnum

import msgspec

from genonce.domain.identity import Identity, TaskId
from genonce.domain.quota import Allowance, Limit, Meter
from genonce.domain.series import Image


class TaskState(StrEnum):
    """queued -> running -> succeeded | failed | cancelled."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Nothing more will happen in this attempt."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it stands at one event."""

    id: TaskId
    state: TaskState
    attempt: int
    """From 1; a POST after failed or cancelled starts the next."""
    n: int
    progress: float
    """0.0 to 1.0; never goes back within an attempt."""
    event: int
    """Number of the latest event; grows over all attempts."""
    images: tuple[Image, ...] = ()
    """The filled slots among the first ``n``, by index."""
    code: str = ""
    message: str = ""
    """Why it failed."""
    bought: int = 0
    """Slots bought in this attempt; a slot counts again when it was bought again."""
    position: int | None = None
    """Place in the queue, from 1, while queued."""
    estimate_s: float | None = None
    """Seconds until done, from recent tasks of the same model; None where nothing is known."""

    @property
    def done(self) -> int:
        """Filled slots."""
        return len(self.images)


class Job(msgspec.Struct, frozen=True):
    """One attempt of a task, as the queue hands it out."""

    task: TaskId
    attempt: int


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one claim needs; see claim.lua."""

    identity: Identity
    model: str
    owner: str
    """The caller where pictures are not shared, else ""."""
    generate: Meter
    read: Meter
    cost_per_image: bool
    idempotency_key: str | None
    covered: bool = False
    """The image store already has every slot: nothing will be bought, so nothing is charged."""


class Hit(msgspec.Struct, frozen=True):
    """All slots are filled."""

    task: Task
    allowance: Allowance | None


class Join(msgspec.Struct, frozen=True):
    """Somebody is at work on every missing slot."""

    task: Task
    allowance: Allowance | None


class New(msgspec.Struct, frozen=True):
    """Work was queued for ``missing`` slots; the others exist or are being made."""

    task: Task
    allowance: Allowance | None
    missing: int


class Replayed(msgspec.Struct, frozen=True):
    """The Idempotency-Key came before with the same request; nothing was started."""

    task: Task
    allowance: Allowance | None


class Refused(msgspec.Struct, frozen=True):
    """A limit is used up; nothing was charged. ``retry_after_s`` is exact.

    A cost above the limit itself can never be admitted: then ``retry_after_s`` is None.
    """

    meter: str
    limit: Limit
    cost: int
    retry_after_s: float | None


class KeyReused(msgspec.Struct, frozen=True):
    """The Idempotency-Key came before with another request."""


class Collision(msgspec.Struct, frozen=True):
    """Another request has the same MD5."""


ClaimOutcome = Hit | Join | New | Replayed | Refused | KeyReused | Collision


class Event(msgspec.Struct, frozen=True):
    """One entry of a task's log: its number and the task as it stood then."""

    number: int
    task: Task
