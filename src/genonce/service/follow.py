"""Read a task, wait for it, stream its events, end it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from genonce.domain.errors import TaskNotFound
from genonce.domain.identity import TaskId
from genonce.domain.ports import Changes, ImageStore, Limits, Reader, TaskStore
from genonce.domain.quota import Allowance, Limit, Meter
from genonce.domain.task import Event, Task
from genonce.service.submit import Caller

KEEPALIVE_S = 15.0
LOOK_S = 5.0
"""A waiter looks so often even without a signal: a connection can die without a sign."""


@dataclass(frozen=True, slots=True)
class Follow:
    """What callers do with a task after they have its id.

    Attributes:
        is_shared: any caller may read any task; else only its owner.
    """

    tasks: TaskStore
    images: ImageStore
    changes: Changes
    limits: Limits
    read_limits: tuple[Limit, ...]
    general_limits: tuple[Limit, ...]
    is_shared: bool

    def _owner(self, caller: Caller) -> str:
        return "" if self.is_shared else caller.id

    async def read(self, task: TaskId, caller: Caller) -> tuple[Task, Allowance | None]:
        """The task as it stands; costs one unit of the read meter.

        Raises:
            TaskNotFound: no such task for this caller.
            LimitExceeded: the meter is used up.
        """
        meter = Meter("read", caller.id, self.read_limits)
        found, allowance = await self.tasks.read(task, Reader(meter, self._owner(caller)))
        return _there(found), allowance

    async def pay_for_read(self, caller: Caller) -> None:
        """Take one unit of the read meter, for what is not a task."""
        await self.limits.take(Meter("read", caller.id, self.read_limits))

    async def wait(self, task: Task, *, timeout_s: float, seen: int | None = None) -> Task:
        """The task when it has ended, or when time is up.

        Args:
            seen: return at the first event after this one instead.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + timeout_s
        async with self.changes.task(task.id) as watch:
            while True:
                found, _ = await self.tasks.read(task.id, Reader(None, ""))
                task = _there(found)
                is_news = seen is not None and task.event != seen
                left_s = end - clock()
                if task.state.is_terminal or is_news or left_s <= 0:
                    return task
                await watch.changed(min(left_s, LOOK_S))

    async def events(self, task: Task, *, after: int | None) -> AsyncIterator[Event | None]:
        """The task's events until it ends; None where 15 s passed without one.

        Args:
            after: number of the last event seen; 0 for the whole log; None for the present
                snapshot first.
        """
        async with self.changes.task(task.id) as watch:
            if after is None:
                found, _ = await self.tasks.read(task.id, Reader(None, ""))
                task = _there(found)
                yield Event(task.event, task)
                if task.state.is_terminal:
                    return
                after = task.event
            while True:
                events = await self.tasks.events(task.id, after=after)
                for event in events:
                    yield event
                    if event.task.state.is_terminal:
                        return
                    after = event.number
                if not events and not await watch.changed(KEEPALIVE_S):
                    found, _ = await self.tasks.read(task.id, Reader(None, ""))
                    if found is None:
                        return  # forgotten meanwhile
                    yield None

    async def delete(self, task: TaskId, caller: Caller, *, purge: bool) -> tuple[Task, bool]:
        """Cancel an unfinished task, or forget a finished one.

        Args:
            purge: also delete the pictures of its slots, for every task that shares them.

        Returns:
            The task and whether it was unfinished until now.

        Raises:
            TaskNotFound: no such task for this caller.
        """
        await self.limits.take(Meter("general", caller.id, self.general_limits))
        found, _ = await self.tasks.read(task, Reader(None, self._owner(caller)))
        _there(found)
        outcome = await self.tasks.cancel(task)
        if outcome is None:
            raise TaskNotFound(NOT_FOUND)
        found, was_active = outcome
        if not was_active:
            await self.tasks.forget(task)
        if purge:
            await self._purge(found)
        return found, was_active

    async def _purge(self, task: Task) -> None:
        for image in task.images:
            # The slot first: a claim between the two would hand out a dead link.
            await self.tasks.lose(image.parts)
            await self.images.delete(image.series, image.index)


NOT_FOUND = "Task not found or expired."


def _there(task: Task | None) -> Task:
    if task is None:
        raise TaskNotFound(NOT_FOUND)
    return task
