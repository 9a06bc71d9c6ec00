"""What the tests of providers share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from genonce.adapters.providers.together import Together
from tests.adapters.providers.together_calls import closing_provider
from tests.standins.process import StandIn, start_standin


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with start_standin("together") as standin:
        yield standin


@pytest.fixture
def service(running: StandIn) -> StandIn:
    running.reset()
    return running


@pytest.fixture
async def together(service: StandIn) -> AsyncIterator[Together]:
    async with closing_provider(service.url) as provider:
        yield provider
