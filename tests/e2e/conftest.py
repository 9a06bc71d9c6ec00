"""Fixtures of the fault suite: parts are shared by the tests of one pytest process."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.e2e.site import Site
from tests.harness import Parts, Valkey, Web, Worker
from tests.standins.process import StandIn, start_standin


@dataclass
class Shared:
    """What the tests of one pytest process share."""

    parts: Parts
    valkey: Valkey
    standin: StandIn
    folder: Path
    webs: list[Web] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    parts, folder = Parts(), tmp_path_factory.mktemp("e2e")
    try:
        with start_standin("together") as standin:
            yield Shared(parts, parts.valkey(folder / "valkey"), standin, folder)
    finally:
        parts.stop()


@pytest.fixture
async def site(shared: Shared, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A clean service; at the end nothing may be left in it."""
    shared.standin.reset()
    shared.valkey.client.flushall()
    for worker in shared.workers:
        worker.freeze()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as http:
        site = Site(
            parts=shared.parts,
            valkey=shared.valkey,
            standin=shared.standin,
            store=f"file://{shared.folder}/images",
            http=http,
            shared_webs=shared.webs,
            shared_workers=shared.workers,
            name=request.node.name,
        )
        try:
            yield site
            await site.nothing_is_left()
        finally:
            # Whoever waits at the stand-in is let go before the parts end.
            shared.standin.release()
            for part in site.own:
                shared.parts.end(part)
