"""Buy the pictures of leased slots: intent, call, check, store, fill; by the class of a failure
decide what the money did and whether to buy again.
"""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from genonce.domain.catalogue import Catalogue, Model
from genonce.domain.errors import (
    ImagesUnavailable,
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    ProviderFailed,
    ProviderLimited,
    ProviderMisconfigured,
)
from genonce.domain.identity import SeriesId, image_seed
from genonce.domain.ports import (
    Call,
    ImageStore,
    Inspected,
    Inspector,
    Outcome,
    Pace,
    Provider,
    Rendered,
    SlotStore,
)
from genonce.domain.request import ImageRequest
from genonce.domain.series import Image, Lease, Receipt
from genonce.domain.task import Job

MAX_FAILURES = 3
"""Purchases of a slot that gave no picture, in one attempt."""
MAX_UNKNOWNS = 1
"""Unknown outcomes of a slot after which it is bought once more, in one attempt."""
STORE_PATIENCE_S = 60.0
"""How long a paid picture waits for an image store that is away."""


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
    """One job at work: what it makes, what it holds, what it bought."""

    job: Job
    series: SeriesId
    request: ImageRequest
    progress: Progress
    leases: dict[int, Lease] = field(default_factory=dict)
    bought: int = 0
    """Slots for which a provider took a call, in this attempt."""

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


@dataclass(frozen=True, slots=True)
class Purchaser:
    """Buys slots."""

    slots: SlotStore
    images: ImageStore
    inspector: Inspector
    pace: Pace
    catalogue: Catalogue
    providers: Mapping[str, Provider]
    backoff: Backoff = Backoff()

    async def buy(self, run: Run, leases: Sequence[Lease]) -> None:
        """Fill leased slots, in as few calls as the provider allows.

        Every call under way is brought to its end before a failure is raised: a picture that is
        paid is kept.

        Raises:
            LeaseLost: the attempt is over or a lease is lost.
            ProviderError, ImagesUnavailable: final for this attempt.
            StoreUnavailable: Redis is away; the job is to run again.
        """
        model = self.catalogue.models[run.request.model]
        provider = self._provider(model)
        await self._judge_earlier(run, provider, leases)
        await self.images.check()
        indexes = [lease.index for lease in leases]
        size = model.images_per_call
        groups = [indexes[start : start + size] for start in range(0, len(indexes), size)]
        results = await asyncio.gather(
            *(self._buy_group(run, model, provider, group) for group in groups),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _provider(self, model: Model) -> Provider:
        provider = self.providers.get(model.provider)
        if provider is None:
            raise ProviderMisconfigured(f"This worker has no key for provider {model.provider}.")
        return provider

    async def _judge_earlier(self, run: Run, provider: Provider, leases: Sequence[Lease]) -> None:
        """A former holder wrote its intent and was never heard of again."""
        sent = [lease for lease in leases if lease.sent]
        if sent:
            outcome = Outcome.REFUSED if provider.is_free else Outcome.UNKNOWN
            await self._close(run, sent, outcome)
            if not provider.is_free:
                run.bought += len(sent)
                _bear(run, sent, OutcomeUnknown("A provider call's outcome was never learnt."))

    async def _buy_group(
        self, run: Run, model: Model, provider: Provider, indexes: list[int]
    ) -> None:
        missing, tries = indexes, 0
        while missing:
            try:
                missing = await self._call(run, model, provider, missing)
            except NotAccepted as error:
                await self._stand_back(provider, error, tries)
                missing = [index for index in missing if index in run.leases]
            tries += 1

    async def _stand_back(self, provider: Provider, error: NotAccepted, tries: int) -> None:
        """Wait before the next try; after a 429 every worker does."""
        delay_s = self.backoff.delay_s(tries)
        if error.retry_after_s is not None:
            delay_s += error.retry_after_s
        if isinstance(error, ProviderLimited):
            await self.pace.rest(provider.name, max(delay_s, 0.1))
        else:
            await asyncio.sleep(delay_s)

    async def _call(
        self, run: Run, model: Model, provider: Provider, indexes: list[int]
    ) -> list[int]:
        """Call once; returns the slots that may be bought again.

        Raises:
            NotAccepted: nothing was bought, all may be tried again.
        """
        keepers: dict[int, asyncio.Task[None]] = {}
        failure: ProviderError | None = None
        async with self.pace.turn(provider.name):
            await self._open(run, indexes)
            asked_at = _now()
            call = _call_of(run, model, indexes)
            try:
                async for rendered in provider.make(call, run.progress.set):
                    lease = run.leases.get(rendered.index)
                    if lease is not None and rendered.index not in keepers:
                        keepers[rendered.index] = asyncio.create_task(
                            self._keep(run, model, lease, rendered, asked_at)
                        )
            except ProviderError as error:
                failure = error
        failures = dict(
            zip(
                keepers,
                await asyncio.gather(*keepers.values(), return_exceptions=True),
                strict=True,
            )
        )
        for outcome in failures.values():
            if isinstance(outcome, BaseException) and not isinstance(outcome, ProviderFailed):
                raise outcome
        unfit = [index for index, outcome in failures.items() if outcome is not None]
        absent = [index for index in indexes if index not in keepers]
        await self._settle(
            run, provider, unfit, ProviderFailed("The provider's picture is broken.")
        )
        await self._settle(
            run,
            provider,
            absent,
            failure or ProviderFailed("The provider made fewer pictures than asked."),
        )
        if not absent and not unfit:
            await self._praise(provider)
        return [*unfit, *absent]

    async def _open(self, run: Run, indexes: list[int]) -> None:
        leases = run.held(indexes)
        if len(leases) < len(indexes) or not await self.slots.open_purchase(
            run.job, run.series, leases
        ):
            raise LeaseLost
        run.bought += len(indexes)

    async def _settle(
        self, run: Run, provider: Provider, indexes: list[int], failure: ProviderError
    ) -> None:
        """Write down what became of slots without a picture; raise if that is final."""
        leases = run.held(indexes)
        if not leases:
            return
        match failure:
            case NotAccepted():
                run.bought -= len(leases)
                await self._close(run, leases, Outcome.REFUSED)
                raise failure
            case OutcomeUnknown():
                await self._close(run, leases, Outcome.UNKNOWN)
                _bear(run, leases, failure)
            case ProviderFailed():
                await self._close(run, leases, Outcome.FAILED)
                _bear(run, leases, failure)
            case _:
                if isinstance(failure, ProviderMisconfigured):
                    run.bought -= len(leases)
                    await self.pace.fault(provider.name, str(failure))
                await self._close(run, leases, Outcome.REFUSED)
                raise failure

    async def _close(self, run: Run, leases: Sequence[Lease], outcome: Outcome) -> None:
        run.hold(await self.slots.close_purchase(run.series, leases, outcome=outcome))

    async def _praise(self, provider: Provider) -> None:
        """A success ends what /health says about the provider."""
        if not provider.is_free:
            await self.pace.fault(provider.name, None)

    async def _keep(
        self, run: Run, model: Model, lease: Lease, rendered: Rendered, asked_at: str
    ) -> None:
        """Check a picture, store it with its receipt, fill its slot."""
        found = await self.inspector.inspect(rendered.data)
        image = fingerprint(run.series, rendered, found)
        receipt = Receipt(
            image=image,
            request=msgspec.Raw(run.request.canonical()),
            provider=model.provider,
            model=model.id,
            provider_request_id=rendered.provider_request_id,
            cost_usd=model.price_usd if rendered.cost_usd is None else rendered.cost_usd,
            purchase=lease.purchases + 1,
            unknown_before=lease.unknowns,
            bytes=len(rendered.data),
            asked_at=asked_at,
            stored_at=_now(),
        )
        stands = await self._store(rendered.data, receipt)
        if await self.slots.fill(run.job, lease, stands.image):
            run.leases.pop(lease.index, None)
            run.progress.set(lease.index, 1.0)

    async def _store(self, data: bytes, receipt: Receipt) -> Receipt:
        """Store a paid picture; a store that is away gets some time to come back."""
        clock = asyncio.get_running_loop().time
        end, tries = clock() + STORE_PATIENCE_S, 0
        while True:
            try:
                return await self.images.put(data, receipt)
            except ImagesUnavailable:
                delay_s = self.backoff.delay_s(tries)
                if clock() + delay_s >= end:
                    raise
                await asyncio.sleep(delay_s)
                tries += 1


def fingerprint(series: SeriesId, rendered: Rendered, found: Inspected) -> Image:
    """The image that checked bytes are."""
    return Image(
        series=series,
        index=rendered.index,
        sha256=hashlib.sha256(rendered.data).hexdigest(),
        format=found.format,
        width=found.width,
        height=found.height,
        seed=rendered.seed,
    )


def _bear(run: Run, leases: Sequence[Lease], failure: ProviderError) -> None:
    """Go on after a purchase without a picture, unless a slot had its share of them."""
    for lease in run.held([lease.index for lease in leases]):
        if lease.failures >= MAX_FAILURES or lease.unknowns > MAX_UNKNOWNS:
            raise failure


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
