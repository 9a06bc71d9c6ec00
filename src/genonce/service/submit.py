"""Find a task, or claim it."""

from dataclasses import dataclass

import msgspec

from genonce.domain.catalogue import Catalogue
from genonce.domain.errors import (
    IdentityConflict,
    ImagesUnavailable,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
)
from genonce.domain.identity import Identity, identify
from genonce.domain.ports import ImageStore, Limits, TaskStore
from genonce.domain.quota import Limit, Meter, limit_exceeded
from genonce.domain.request import Draft, GenerationRequest, canonicalise
from genonce.domain.task import (
    Claim,
    Collision,
    Hit,
    Join,
    KeyReused,
    New,
    Refused,
    Replayed,
)

Claimed = Hit | Join | New | Replayed


class Caller(msgspec.Struct, frozen=True):
    """Whom a limit counts: an API key's digest, or an address."""

    id: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Claims tasks.

    Attributes:
        is_shared: pictures are shared by all callers; else the caller is part of the identity.
        cost_per_image: a unit of the generate meter is an image, not a task.
    """

    tasks: TaskStore
    images: ImageStore
    limits: Limits
    catalogue: Catalogue
    max_n: int
    generate_limits: tuple[Limit, ...]
    read_limits: tuple[Limit, ...]
    cost_per_image: bool
    is_shared: bool

    def identify(self, draft: Draft, caller: Caller) -> tuple[GenerationRequest, Identity]:
        """Make a draft canonical and name it.

        Raises:
            RequestError: the draft is wrong.
            ProviderMisconfigured: the model's provider has no key.
        """
        scope = "" if self.is_shared else caller.id
        request = canonicalise(draft, self.catalogue, max_n=self.max_n, caller=scope)
        return request, identify(request.image.canonical(), n=request.n)

    async def submit(
        self, draft: Draft, caller: Caller, *, idempotency_key: str | None = None
    ) -> Claimed:
        """Find the task of a draft, or make it and queue its work.

        Raises:
            RequestError: the draft is wrong, or its Idempotency-Key was used for another.
            LimitExceeded: says when to come back; nothing was charged.
            StoreUnavailable: Redis is away; the same draft, sent again, finds what was done.
        """
        request, identity = self.identify(draft, caller)
        claim = Claim(
            identity=identity,
            model=request.model.id,
            owner=request.image.caller,
            generate=Meter("generate", caller.id, self.generate_limits),
            read=Meter("read", caller.id, self.read_limits),
            cost_per_image=self.cost_per_image,
            idempotency_key=idempotency_key,
        )
        outcome = await self.tasks.claim(claim)
        if isinstance(outcome, Refused) and outcome.meter == "generate":
            if await self._is_stored(claim):
                # Nothing would be bought: a limit on purchases does not stand in the way.
                outcome = await self.tasks.claim(msgspec.structs.replace(claim, covered=True))
        match outcome:
            case Hit() | Join() | New() | Replayed():
                return outcome
            case Refused():
                raise refusal(outcome)
            case KeyReused():
                raise KeyConflict(
                    "This Idempotency-Key was used for another request; use a new key."
                )
            case Collision():
                raise IdentityConflict(
                    "Another request has the same fingerprint; change the prompt slightly."
                )

    async def _is_stored(self, claim: Claim) -> bool:
        """Whether the image store has every slot; a look costs one unit of the read meter."""
        try:
            await self.limits.take(claim.read)
            for index in range(claim.identity.n):
                if await self.images.find(claim.identity.series, index) is None:
                    return False
        except (ImagesUnavailable, LimitExceeded):
            return False  # the first refusal is the answer then
        return True


def refusal(refused: Refused) -> LimitExceeded | InvalidRequest:
    """The condition that a refused claim is."""
    limit = refused.limit
    if refused.retry_after_s is None:
        return InvalidRequest(
            f"n costs {refused.cost} units, more than the limit of {limit.amount} in "
            f"{limit.window_s} s ever admits; ask for fewer images.",
            field="n",
        )
    return limit_exceeded(refused.meter, limit, retry_after_s=refused.retry_after_s)
