"""Calls of one task side by side: after a failure no further one is begun, none is cut short."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from genonce.service.run import LeaseLost


@dataclass(slots=True)
class Group:
    """Slots that one call asks for."""

    missing: list[int]
    tries: int = 0
    is_calling: bool = False
    """From the intent until what came of it is written down: not to be cut short."""
    is_last: bool = False
    """No further call: the attempt has failed elsewhere."""


async def all_or_none_further(makers: Mapping[asyncio.Task[None], Group]) -> None:
    """Wait for all; after a failure, only for those whose call is under way.

    Raises:
        Exception: the failure; that of a provider before a lost lease.
    """
    stopped = set()
    try:
        _, going = await asyncio.wait(makers, return_when=asyncio.FIRST_EXCEPTION)
        for maker in going:
            makers[maker].is_last = True
            if not makers[maker].is_calling:
                stopped.add(maker)
                maker.cancel()
        await asyncio.wait(makers)
    finally:
        for maker in makers:
            maker.cancel()
        await asyncio.gather(*makers, return_exceptions=True)
    if any(maker.cancelled() for maker in makers.keys() - stopped):
        raise asyncio.CancelledError
    failures = [e for maker in makers if not maker.cancelled() and (e := maker.exception())]
    for failure in sorted(failures, key=lambda each: isinstance(each, LeaseLost)):
        raise failure
