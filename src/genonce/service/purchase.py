"""Buy the pictures of leased slots: intent, call, keep.

By the class of a failure it decides what the money did and whether to buy again
(docs/decisions/0007-purchases.md).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genonce.domain.catalogue import Catalogue, Model
from genonce.domain.errors import (
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    ProviderFailed,
    ProviderLimited,
    ProviderMisconfigured,
)
from genonce.domain.identity import image_seed
from genonce.domain.ports import Call, ImageStore, Outcome, Pace, Provider, SlotStore
from genonce.domain.series import Lease
from genonce.service.groups import Group, all_or_none_further
from genonce.service.keep import Keeper, utc_now
from genonce.service.run import Backoff, LeaseLost, Run

MAX_FAILURES = 3
"""Purchases of a slot that gave no picture, in one attempt."""
MAX_UNKNOWNS = 1
"""Unknown outcomes of a slot after which it is bought once more, in one attempt."""
MIN_REST_S = 0.1
FROZEN_S = 2.0
"""Between the intent and its call; a lease lives longer."""
PASSING = NotAccepted | OutcomeUnknown | ProviderFailed
"""Failures after which another call may bring the picture."""


@dataclass(frozen=True, slots=True)
class Purchaser:
    """Buys slots."""

    slots: SlotStore
    images: ImageStore
    keeper: Keeper
    pace: Pace
    catalogue: Catalogue
    providers: Mapping[str, Provider]
    backoff: Backoff = field(default_factory=Backoff)

    async def buy(self, run: Run, leases: Sequence[Lease]) -> None:
        """Fill leased slots, in as few calls as the provider allows.

        Every call under way is brought to its end before a failure is raised: a picture that is
        paid is kept. No call is begun after a failure.

        Raises:
            LeaseLost: the attempt is over or a lease is lost.
            ProviderError, ImagesUnavailable: final for this attempt.
            StoreUnavailable: Redis is away; the job is to run again.
        """
        model = self.catalogue.models[run.request.model]
        provider = self.providers.get(model.provider)
        if provider is None:
            raise ProviderMisconfigured(f"This worker has no key for provider {model.provider}.")
        await self._judge_earlier(run, provider, leases)
        await self.images.check()
        indexes, size = [lease.index for lease in leases], model.images_per_call
        groups = [Group(indexes[at : at + size]) for at in range(0, len(indexes), size)]
        await all_or_none_further(
            {
                asyncio.create_task(self._buy_group(run, model, provider, group)): group
                for group in groups
            }
        )

    async def _judge_earlier(self, run: Run, provider: Provider, leases: Sequence[Lease]) -> None:
        """A former holder wrote its intent and was never heard of again."""
        sent = [lease for lease in leases if lease.sent]
        if not sent:
            return
        if provider.is_free:
            await self._close(run, sent, Outcome.REFUSED)
            return
        await self._close(run, sent, Outcome.UNKNOWN)
        failure = OutcomeUnknown("A provider call's outcome was never learnt.")
        if _is_final(run, sent, failure):
            raise failure

    async def _buy_group(self, run: Run, model: Model, provider: Provider, group: Group) -> None:
        while group.missing and not group.is_last:
            try:
                group.missing = await self._call(run, model, provider, group)
            except NotAccepted as error:
                run.refusal = error
                group.missing = [index for index in group.missing if index in run.leases]
                if not isinstance(error, ProviderLimited):  # then everybody rests, see `_call`
                    await asyncio.sleep(self._delay_s(error, group))
            finally:
                group.is_calling = False
            group.tries += 1

    def _delay_s(self, error: NotAccepted, group: Group) -> float:
        """Seconds before the next try: as long as the provider asks, and some jitter."""
        return self.backoff.delay_s(group.tries) + (error.retry_after_s or 0.0)

    async def _call(self, run: Run, model: Model, provider: Provider, group: Group) -> list[int]:
        """Call once; returns the slots that may be bought again.

        Raises:
            NotAccepted: nothing was bought, all may be tried again.
        """
        keepers: dict[int, asyncio.Task[None]] = {}
        try:
            failure = await self._ask(run, model, provider, group, keepers)
        except asyncio.CancelledError:
            if keepers:  # the pictures in hand are paid
                await asyncio.wait(keepers.values())
            raise
        return await self._take_stock(run, provider, group, keepers, failure)

    async def _ask(
        self,
        run: Run,
        model: Model,
        provider: Provider,
        group: Group,
        keepers: dict[int, asyncio.Task[None]],
    ) -> ProviderError:
        """Make the call in the provider's turn; each picture is handed to a keeper.

        Returns:
            What slots without a picture are to be told.
        """
        failure = ProviderError("")
        async with self.pace.turn(provider.name):
            if run.is_doomed:
                raise LeaseLost
            group.is_calling = True
            clock = asyncio.get_running_loop().time
            began = clock()
            await self._open(run, group.missing)
            if clock() - began > FROZEN_S:
                # This process stood still: others may have bought these slots meanwhile.
                await self._close(run, run.held(group.missing), Outcome.REFUSED)
                raise LeaseLost
            asked_at = utc_now()
            try:
                async for rendered in provider.make(
                    _call_of(run, model, group.missing), run.progress.set
                ):
                    lease = run.leases.get(rendered.index)
                    if lease is not None and rendered.index not in keepers:
                        keepers[rendered.index] = asyncio.create_task(
                            self.keeper.keep(run, model, lease, rendered, asked_at=asked_at)
                        )
                failure = ProviderFailed("The provider made fewer pictures than asked.")
            except ProviderError as error:
                failure = error
                run.is_doomed |= not isinstance(error, PASSING)
            if isinstance(failure, ProviderLimited):
                # Before the turn is given back: who is next in line has to rest too.
                rest_s = max(MIN_REST_S, self._delay_s(failure, group))
                await self.pace.rest(provider.name, rest_s)
        return failure

    async def _open(self, run: Run, indexes: Sequence[int]) -> None:
        """Write the intent to buy."""
        leases = run.held(indexes)
        if len(leases) < len(indexes) or not await self.slots.open_purchase(
            run.job, run.series, leases
        ):
            raise LeaseLost

    async def _take_stock(
        self,
        run: Run,
        provider: Provider,
        group: Group,
        keepers: Mapping[int, asyncio.Task[None]],
        failure: ProviderError,
    ) -> list[int]:
        """Write down what became of every slot of a call, then raise what is final."""
        kept = await asyncio.gather(*keepers.values(), return_exceptions=True)
        broken = {i: e for i, e in zip(keepers, kept, strict=True) if e is not None}
        absent = [index for index in group.missing if index not in keepers]
        ends = [
            await self._settle(run, provider, list(broken), ProviderFailed("A broken picture.")),
            await self._settle(run, provider, absent, failure),
        ]
        unkept = [e for e in broken.values() if not isinstance(e, ProviderFailed)]
        for end in (*unkept, *ends):
            if end is not None:
                raise end
        if not broken and not absent and not provider.is_free:
            await self.pace.fault(provider.name, None)
        return [*broken, *absent]

    async def _settle(
        self, run: Run, provider: Provider, indexes: Sequence[int], failure: ProviderError
    ) -> ProviderError | None:
        """Write down what became of slots without a picture; returns a failure that ends a try."""
        leases = run.held(indexes)
        if not leases:
            return None
        match failure:
            case OutcomeUnknown():
                await self._close(run, leases, Outcome.UNKNOWN)
            case ProviderFailed():
                await self._close(run, leases, Outcome.FAILED)
            case _:
                await self._close(run, leases, Outcome.REFUSED)
        if isinstance(failure, ProviderMisconfigured):
            await self.pace.fault(provider.name, str(failure))
        return failure if _is_final(run, leases, failure) else None

    async def _close(self, run: Run, leases: Sequence[Lease], outcome: Outcome) -> None:
        run.hold(await self.slots.close_purchase(run.job, run.series, leases, outcome=outcome))


def _is_final(run: Run, leases: Sequence[Lease], failure: ProviderError) -> bool:
    """Whether a slot had its share of purchases without a picture, or the failure is an answer."""
    if not isinstance(failure, OutcomeUnknown | ProviderFailed):
        return True
    return any(
        lease.failures >= MAX_FAILURES or lease.unknowns > MAX_UNKNOWNS
        for lease in run.held([lease.index for lease in leases])
    )


def _call_of(run: Run, model: Model, indexes: Sequence[int]) -> Call:
    asked = run.request.seed
    return Call(
        request=run.request,
        model=model,
        series=run.series,
        indexes=tuple(indexes),
        seeds=tuple(
            image_seed(run.series, index, asked=asked) if model.seed else None for index in indexes
        ),
    )
