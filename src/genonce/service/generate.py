"""Work of a job: lease, look up, buy, store, fill; safe to run twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from genonce.domain.errors import (
    DeadlineExceeded,
    GenonceError,
    ImagesUnavailable,
    StoreUnavailable,
)
from genonce.domain.ports import Changes, ImageStore, SlotStore, Work
from genonce.domain.series import Held, Image, Lease
from genonce.domain.task import Job, TaskState
from genonce.service.keep import Keeper
from genonce.service.purchase import Purchaser
from genonce.service.run import LeaseLost, Progress, Run

MIN_NEWS_S = 0.05
"""Progress is told at most this often."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Generate:
    """Brings one attempt of a task to its end.

    Attributes:
        heartbeat_s: how often leases are renewed; a third of their life.
        deadline_s: from the attempt's first start to its end, over all workers.
    """

    slots: SlotStore
    images: ImageStore
    changes: Changes
    keeper: Keeper
    purchaser: Purchaser
    heartbeat_s: float
    deadline_s: float

    async def generate(self, job: Job) -> None:
        """Make the missing slots of a task and end its attempt.

        Raises:
            StoreUnavailable: Redis is away; run the job again.
            asyncio.CancelledError: this worker stops; another one goes on.
        """
        work = await self.slots.lease(job)
        if work is None:
            return
        run = Run(job, work.series, work.request, Progress(work.n))
        try:
            async with self._heartbeat(run):
                await self._end(run, work)
        except (asyncio.CancelledError, StoreUnavailable):
            with contextlib.suppress(StoreUnavailable):  # then the leases end by themselves
                await asyncio.shield(self.slots.release(run.series, list(run.leases.values())))
            raise

    async def give_up(self, job: Job) -> None:
        """End an attempt that a defect of ours broke."""
        work = await self.slots.lease(job)
        if work is not None:
            run = Run(job, work.series, work.request, Progress(work.n))
            self._take_stock(run, work)
            await self._fail(run, GenonceError("Something broke in the service; see its log."))

    async def _end(self, run: Run, work: Work) -> None:
        try:
            async with asyncio.timeout(max(0.0, self.deadline_s - work.started_s_ago)):
                await self._complete(run, work)
        except TimeoutError:
            late = DeadlineExceeded("The pictures were not ready in time.")
            await self._fail(run, run.refusal or late)
        except ImagesUnavailable as error:
            await self._fail(run, error)
        except StoreUnavailable:
            raise
        except GenonceError as error:
            await self._fail(run, error)

    async def _complete(self, run: Run, work: Work | None) -> None:
        while work is not None:
            leases = self._take_stock(run, work)
            if leases:
                try:
                    await self._make(run, leases)
                except LeaseLost:
                    # What is still ours would look like somebody else's: all is leased anew.
                    await self.slots.release(run.series, list(run.leases.values()))
                    run.leases.clear()
            if len(leases) + _filled(work) == work.n and await self._finish(
                run, TaskState.SUCCEEDED
            ):
                return
            work = await self._look_again(run, work)
        # Cancelled meanwhile, or another worker ended it: leases and allowance go back.
        await self._finish(run, TaskState.CANCELLED)

    def _take_stock(self, run: Run, work: Work) -> list[Lease]:
        leases = [slot for slot in work.slots if isinstance(slot, Lease)]
        run.leases.clear()
        run.hold(leases)
        for slot in work.slots:
            if isinstance(slot, Image):
                run.progress.set(slot.index, 1.0)
        return leases

    async def _make(self, run: Run, leases: Sequence[Lease]) -> None:
        """Fill leased slots: from the image store where it has them, else by purchase."""
        found = await asyncio.gather(*(self._restore(run, lease) for lease in leases))
        missing = [lease for lease, is_there in zip(leases, found, strict=True) if not is_there]
        if missing:
            await self.purchaser.buy(run, missing)

    async def _restore(self, run: Run, lease: Lease) -> bool:
        receipt = await self.images.find(run.series, lease.index)
        if receipt is None:
            return False
        await self.keeper.fill(run, lease, receipt)
        return True

    async def _look_again(self, run: Run, work: Work) -> Work | None:
        """Lease what is free; if others hold all that is missing, wait for them."""
        again = await self.slots.lease(run.job)
        if again is None or not _only_held(again):
            return again
        async with self.changes.series(work.series) as watch:
            while (again := await self.slots.lease(run.job)) and _only_held(again):
                ends_s = min(slot.for_s for slot in again.slots if isinstance(slot, Held))
                await watch.changed(ends_s)
            return again

    async def _finish(self, run: Run, state: TaskState, *, code: str = "", why: str = "") -> bool:
        bought = await self.slots.finish(
            run.job,
            run.series,
            list(run.leases.values()),
            state=state,
            code=code,
            message=why,
        )
        if bought is not None:
            log.info(
                "task_ended",
                task=run.job.task,
                attempt=run.job.attempt,
                state=state.value,
                bought=bought,
                code=code,
            )
        return bought is not None

    async def _fail(self, run: Run, error: GenonceError) -> None:
        await self._finish(run, TaskState.FAILED, code=error.code, why=str(error))

    @contextlib.asynccontextmanager
    async def _heartbeat(self, run: Run) -> AsyncIterator[None]:
        beat = asyncio.create_task(self._beat(run))
        try:
            yield
        finally:
            beat.cancel()

    async def _beat(self, run: Run) -> None:
        """Renew the leases in time, and sooner when there is progress to tell."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.heartbeat_s):
                    await run.progress.news.wait()
            run.progress.news.clear()
            # A beat that does not get through is made up for by the next.
            with contextlib.suppress(StoreUnavailable):
                await self.slots.renew(
                    run.job, run.series, list(run.leases.values()), progress=run.progress.total
                )
            await asyncio.sleep(MIN_NEWS_S)


def _filled(work: Work) -> int:
    return sum(isinstance(slot, Image) for slot in work.slots)


def _only_held(work: Work) -> bool:
    """Nothing to do for us, and not all done."""
    kinds = {type(slot) for slot in work.slots}
    return Held in kinds and Lease not in kinds
