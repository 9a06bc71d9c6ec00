"""One job at work: what it makes, what it holds, how far it is."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from genonce.domain.errors import NotAccepted
from genonce.domain.identity import SeriesId
from genonce.domain.request import ImageRequest
from genonce.domain.series import Lease
from genonce.domain.task import Job


class LeaseLost(Exception):
    """The attempt is over, or another holder has a slot: look again before anything is bought."""


@dataclass(slots=True)
class Progress:
    """How far the slots of one task are."""

    n: int
    ratios: dict[int, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, index: int, ratio: float) -> None:
        """Note a slot's ratio, 0.0 to 1.0; it never goes back."""
        if ratio > self.ratios.get(index, 0.0):
            self.ratios[index] = ratio
            self.news.set()

    @property
    def total(self) -> float:
        """The task's ratio."""
        return sum(self.ratios.values()) / self.n


@dataclass(slots=True)
class Run:
    """One attempt of a task in this process."""

    job: Job
    series: SeriesId
    request: ImageRequest
    progress: Progress
    leases: dict[int, Lease] = field(default_factory=dict)
    is_doomed: bool = False
    """A provider gave a final no: no call is begun any more."""
    refusal: NotAccepted | None = None
    """Why the provider took no call the last time; what a deadline is then told with."""

    def hold(self, leases: Sequence[Lease]) -> None:
        """Note leases, new or with new counts."""
        self.leases.update({lease.index: lease for lease in leases})

    def held(self, indexes: Sequence[int]) -> list[Lease]:
        """Our leases of these slots."""
        return [self.leases[index] for index in indexes if index in self.leases]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: a random wait up to a bound that doubles."""

    base_s: float = 0.5
    cap_s: float = 20.0

    def delay_s(self, tries: int) -> float:
        """Seconds before try ``tries`` + 1."""
        return random.uniform(0, min(self.cap_s, self.base_s * 2 ** min(tries, 16)))
