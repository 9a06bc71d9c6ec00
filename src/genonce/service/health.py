"""Is every part there?"""

from dataclasses import dataclass

import msgspec

from genonce.domain.catalogue import Catalogue
from genonce.domain.errors import StoreUnavailable
from genonce.domain.ports import Presence


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the parts.

    Attributes:
        redis: answers.
        workers: processes that listen for jobs.
        queued: jobs that wait or run.
        faults: provider -> what its operator has to mend.
    """

    redis: bool
    workers: int
    queued: int
    faults: dict[str, str]

    @property
    def complaint(self) -> str:
        """Why a prompt sent now would not become a picture; "" if it would."""
        if not self.redis:
            return "Redis does not answer"
        if self.workers == 0:
            return "no worker is running"
        return "; ".join(f"{provider}: {fault}" for provider, fault in self.faults.items())


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """Asks the parts."""

    presence: Presence
    catalogue: Catalogue

    async def check(self) -> Health:
        """The state of the parts, within the time that Redis is given."""
        providers = {model.provider for model in self.catalogue.usable()}
        try:
            vitals = await self.presence.vitals(sorted(providers))
        except StoreUnavailable:
            return Health(redis=False, workers=0, queued=0, faults={})
        return Health(
            redis=True, workers=vitals.workers, queued=vitals.queued, faults=vitals.faults
        )
