"""Follows the event stream of a task over as many connections as it takes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import aiohttp
import httpx
import msgspec
from httpx_sse import EventSource, ServerSentEvent, SSEError

from genonce.client_answers import Event, Task, read
from genonce.client_calls import Call, Caller
from genonce.client_errors import UNREADABLE, ServiceError, backoff_s

SILENCE_S = 15.0
"""The service writes to a stream at least this often."""


async def follow(
    caller: Caller, url: str, *, after: int | None, read_task: Callable[[], Awaitable[Task]]
) -> AsyncGenerator[Event, None]:
    """Yield every event after a number once, until the task has ended.

    Args:
        caller: sends the calls.
        url: of the task.
        after: see `GenonceClient.events`.
        read_task: reads the task without the stream.

    Raises:
        ServiceError: a final refusal.
    """
    last, silent, over = after, 0, False
    while True:
        heard = False
        async with contextlib.aclosing(_connection(caller, url, last=last)) as connection:
            async for event in connection:
                heard, last = True, event.number
                yield event
                if event.task.is_terminal:
                    return
        # Nothing more comes although the task was over before we asked: all was told.
        if over and not heard:
            return
        silent = 0 if heard else silent + 1
        over = not heard and (await read_task()).is_terminal
        await asyncio.sleep(backoff_s(silent))


async def _connection(caller: Caller, url: str, *, last: int | None) -> AsyncGenerator[Event, None]:
    """Yield the new events of one connection, until it ends or breaks."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    call = Call(method="GET", url=f"{url}/events", headers=headers, wait_s=SILENCE_S, stream=True)
    response = (await caller.answer(call)).response
    async with contextlib.aclosing(response):
        try:
            async with contextlib.aclosing(EventSource(response).aiter_sse()) as stream:
                async for sent in stream:
                    event = _event(sent, task_id=url.rpartition("/")[2])
                    if event is not None and (last is None or event.number > last):
                        yield event
        except (httpx.TransportError, aiohttp.ClientError):
            return
        except SSEError as error:
            raise ServiceError(str(error), code=UNREADABLE) from error


def _event(sent: ServerSentEvent, *, task_id: str) -> Event | None:
    """Read an event; None for one without data or number, such as a comment makes."""
    if not sent.data or not sent.id.isdecimal():
        return None
    task = msgspec.structs.replace(read(sent.data.encode(), Task), task_id=task_id)
    return Event(number=int(sent.id), task=task)
