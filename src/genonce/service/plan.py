"""What a request would do and cost, without doing it."""

from dataclasses import dataclass

import msgspec

from genonce.domain.identity import Identity
from genonce.domain.ports import ImageStore, Limits, TaskStore
from genonce.domain.quota import Allowance, Meter
from genonce.domain.request import Draft, GenerationRequest
from genonce.domain.series import Held, Image
from genonce.service.submit import Caller, Submit


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a submit would find.

    Attributes:
        have: slots that are filled or stored.
        making: slots that somebody is at work on.
        allowance: what is left of the generate meter; None where it has no limits.
    """

    request: GenerationRequest
    identity: Identity
    have: int
    making: int
    allowance: Allowance | None

    @property
    def to_buy(self) -> int:
        """Slots that would be bought."""
        return self.request.n - self.have - self.making

    @property
    def outcome(self) -> str:
        """hit, join, extended or new."""
        if self.have == self.request.n:
            return "hit"
        if self.to_buy == 0:
            return "join"
        return "extended" if self.have or self.making else "new"


@dataclass(frozen=True, slots=True)
class Plan:
    """Forecasts."""

    submit: Submit
    tasks: TaskStore
    images: ImageStore
    limits: Limits

    async def plan(self, draft: Draft, caller: Caller) -> Forecast:
        """Say what a draft would do; costs one unit of the read meter, buys nothing.

        Raises:
            RequestError: the draft is wrong.
        """
        request, identity = self.submit.identify(draft, caller)
        await self.limits.take(Meter("read", caller.id, self.submit.read_limits))
        task, slots = await self.tasks.slots(identity)
        have = making = 0
        for index, slot in enumerate(slots):
            if isinstance(slot, Image) or (
                slot is None and await self.images.find(identity.series, index) is not None
            ):
                have += 1
            elif isinstance(slot, Held) or (task is not None and not task.state.is_terminal):
                making += 1
        return Forecast(
            request=request,
            identity=identity,
            have=have,
            making=making,
            allowance=await self.limits.peek(
                Meter("generate", caller.id, self.submit.generate_limits)
            ),
        )
