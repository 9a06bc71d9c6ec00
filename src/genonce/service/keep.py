"""Keep a paid picture: check it, store it with its receipt, fill its slot."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from genonce.domain.catalogue import Model
from genonce.domain.errors import ImagesUnavailable
from genonce.domain.identity import SeriesId
from genonce.domain.ports import ImageStore, Inspected, Inspector, Rendered, SlotStore
from genonce.domain.series import Image, Lease, Receipt
from genonce.service.run import Backoff, Run

STORE_PATIENCE_S = 60.0
"""How long a paid picture waits for an image store that is away."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps pictures."""

    slots: SlotStore
    images: ImageStore
    inspector: Inspector
    backoff: Backoff = field(default_factory=Backoff)

    async def keep(
        self, run: Run, model: Model, lease: Lease, rendered: Rendered, *, asked_at: str
    ) -> None:
        """Bring one picture from the provider's answer into its slot.

        Args:
            lease: of the slot, as it was when the provider was called.
            asked_at: UTC, ISO 8601: when the provider was called.

        Raises:
            ProviderFailed: the bytes are no picture.
            ImagesUnavailable: the image store stayed away.
        """
        found = await self.inspector.inspect(rendered.data)
        receipt = Receipt(
            image=image_of(run.series, rendered, found),
            request=msgspec.Raw(run.request.canonical()),
            provider=model.provider,
            model=model.id,
            provider_request_id=rendered.provider_request_id,
            cost_usd=model.price_usd if rendered.cost_usd is None else rendered.cost_usd,
            purchase=lease.purchases + 1,
            unknown_before=lease.unknowns,
            bytes=len(rendered.data),
            asked_at=asked_at,
            stored_at=utc_now(),
        )
        stands = await self._store(rendered.data, receipt)
        await self.fill(run, lease, stands)

    async def fill(self, run: Run, lease: Lease, receipt: Receipt) -> None:
        """Fill a slot with a stored picture; a lease that was lost meanwhile stays lost."""
        if await self.slots.fill(run.job, lease, receipt.image):
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


def image_of(series: SeriesId, rendered: Rendered, found: Inspected) -> Image:
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


def utc_now() -> str:
    """Now, as receipts have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
