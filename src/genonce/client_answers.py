"""What the native surface answers, as values; unknown fields are passed over."""

from typing import Any, TypeVar

import msgspec

from genonce.client_errors import UNREADABLE, ServiceError

TERMINAL = frozenset({"completed", "failed", "cancelled"})


class Picture(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A finished picture."""

    url: str
    index: int = 0
    """Its slot in the series, from 0."""
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    sha256: str = ""
    """Of its bytes; 64 hex digits."""


class Task(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A task as it stands."""

    status: str
    """pending, processing, completed, failed or cancelled."""
    task_id: str = ""
    progress: float = 0
    """0 to 100."""
    data: tuple[Picture, ...] = ()
    """The finished pictures; some may be there although the task failed."""
    message: str = ""
    code: str | None = None
    """Why it failed."""
    attempt: int = 1
    n: int = 0
    purchases: int | None = msgspec.field(default=None, name="bought")
    """Slots bought in this attempt, as the service counts."""
    queue_position: int | None = None
    estimated_seconds: float | None = None

    @property
    def is_terminal(self) -> bool:
        """Nothing more will happen in this attempt."""
        return self.status in TERMINAL


class Answer(Task, frozen=True, kw_only=True, rename="camel"):
    """A task, and what asking for it started."""

    cached: bool = False
    outcome: str = ""
    """hit, join, extended, new or replay."""
    to_buy: int = 0
    """Slots that asking queued for purchase."""
    resent: bool = False
    """An earlier sending of this request may have been taken and its answer lost; then what
    it started is not in ``to_buy``."""

    @property
    def bought(self) -> int:
        """Pictures bought for this request so far; 0 where all was there or being made."""
        if self.to_buy and self.purchases is not None:
            return self.purchases
        return max(0, len(self.data) - (self.n - self.to_buy)) if self.to_buy else 0


class Health(msgspec.Struct, frozen=True):
    """The service says that it is well."""

    success: bool


class Slots(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The slots of a request: there, being made, to be bought."""

    have: int = 0
    making: int = 0
    to_buy: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a picture costs; None where the service does not know."""

    per_image: float | None = None
    total: float | None = None
    currency: str = "USD"


class Allowance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the caller's limit of generation leaves, in units a window."""

    limit: int
    remaining: int
    window_seconds: float


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What asking would start."""

    outcome: str
    task_id: str
    series_id: str
    slots: Slots = msgspec.field(default_factory=Slots)
    price: Price = msgspec.field(default_factory=Price)
    allowance: Allowance | None = None
    request: dict[str, Any] = msgspec.field(default_factory=dict)
    """The canonical request."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a task: its number, and the task as it stood then."""

    number: int
    task: Task


Kind = TypeVar("Kind", bound=msgspec.Struct)


def read(content: bytes, kind: type[Kind]) -> Kind:
    """Read an answer, or raise ServiceError: whoever answered, it is not genonce."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServiceError(
            f"The answer is not genonce's ({error}); is the address right?", code=UNREADABLE
        ) from error
