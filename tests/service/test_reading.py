"""Plans, pictures and health: they tell what is, and buy nothing."""

import pytest

from genonce.domain.errors import (
    ImageNotFound,
    ImagesUnavailable,
    InvalidRequest,
    LimitExceeded,
    ProviderRejected,
)
from genonce.domain.quota import Limit
from genonce.domain.series import ImageKey, KeyParts, read_image_key
from genonce.domain.task import Task
from genonce.service.health import CheckHealth
from genonce.service.pictures import Picture, Pictures
from genonce.service.plan import Forecast
from tests.fakes import Answer, FakePresence
from tests.service.conftest import ANNE, CATALOGUE, FIVE, Shop, draft

ONE = (Limit(1, 60),)


# --- plan -----------------------------------------------------------------------------------


def counts(forecast: Forecast) -> tuple[str, int, int, int]:
    """Outcome, and slots that are there, being made, to buy."""
    return forecast.outcome, forecast.have, forecast.making, forecast.to_buy


async def plan(shop: Shop, n: int) -> tuple[str, int, int, int]:
    """A plan's outcome and counts; it changed nothing but the reader's meter."""
    before = len(shop.redis.tasks), list(shop.redis.queue), len(shop.tasks.claims)
    forecast = await shop.plan.plan(draft(n), ANNE)
    assert (len(shop.redis.tasks), list(shop.redis.queue), len(shop.tasks.claims)) == before
    assert forecast.identity == shop.identity(n)
    return counts(forecast)


async def test_a_plan_knows_every_outcome(shop: Shop) -> None:
    assert await plan(shop, 2) == ("new", 0, 0, 2)
    job = await shop.queue(2)
    assert await plan(shop, 2) == ("join", 0, 2, 0)
    await shop.slots.lease(job)
    assert await plan(shop, 1) == ("join", 0, 1, 0)
    assert await plan(shop, 3) == ("extended", 0, 2, 1)
    shop.redis.end_leases()
    await shop.work(job)
    assert await plan(shop, 2) == ("hit", 2, 0, 0)
    assert await plan(shop, 1) == ("hit", 1, 0, 0)
    assert await plan(shop, 5) == ("extended", 2, 0, 3)


async def test_a_plan_counts_what_only_the_image_store_has(shop: Shop) -> None:
    await shop.store(shop.identity(2), 1)
    assert await plan(shop, 2) == ("extended", 1, 0, 1)
    await shop.store(shop.identity(2), 0)
    assert await plan(shop, 2) == ("hit", 2, 0, 0)


async def test_a_plan_after_a_failure_buys_what_is_missing(shop: Shop) -> None:
    await shop.make(2, Answer(), Answer(error=ProviderRejected("No.")))
    assert await plan(shop, 2) == ("extended", 1, 0, 1)


async def test_a_plan_costs_a_read_and_shows_the_generate_allowance() -> None:
    shop = Shop(generate_limits=FIVE, read_limits=ONE)
    await shop.claim()
    forecast = await shop.plan.plan(draft(), ANNE)
    assert forecast.allowance is not None
    assert (forecast.allowance.meter, forecast.allowance.remaining) == ("generate", 4)
    with pytest.raises(LimitExceeded):
        await shop.plan.plan(draft(), ANNE)


async def test_a_plan_of_a_wrong_draft_is_refused_before_it_costs() -> None:
    shop = Shop(read_limits=ONE)
    with pytest.raises(InvalidRequest):
        await shop.plan.plan(draft(0), ANNE)
    assert not shop.redis.used


# --- pictures -------------------------------------------------------------------------------


def pictures(shop: Shop) -> Pictures:
    """The use case."""
    return Pictures(shop.images, shop.tasks, shop.limits, shop.read_limits)


def named(task: Task) -> tuple[ImageKey, KeyParts]:
    """Key of a task's first picture, and its parts."""
    key = task.images[0].key
    parts = read_image_key(key)
    assert parts is not None
    return key, parts


async def opened(shop: Shop, task: Task) -> Picture:
    """A task's first picture."""
    return await pictures(shop).open(*named(task), ANNE)


async def test_a_picture_tells_its_size_and_gives_its_bytes(shop: Shop) -> None:
    task = await shop.make()
    picture = await opened(shop, task)
    data = shop.images.bytes[task.images[0].key]
    assert picture.size == len(data)
    assert await picture.read(0, picture.size) == data
    assert await picture.read(3, 7) == data[3:7]


async def test_a_picture_costs_a_read() -> None:
    shop = Shop(read_limits=ONE)
    task = await shop.make()
    await shop.images.check()
    shop.redis.used.clear()
    await opened(shop, task)
    with pytest.raises(LimitExceeded):
        await opened(shop, task)


async def test_pictures_are_served_while_redis_is_away() -> None:
    shop = Shop(read_limits=ONE)
    task = await shop.make()
    shop.redis.is_away = True
    for _ in range(3):
        assert (await opened(shop, task)).size


async def test_a_link_whose_bytes_are_gone_empties_its_slot(shop: Shop) -> None:
    task = await shop.make(2)
    del shop.images.bytes[task.images[0].key]
    with pytest.raises(ImageNotFound):
        await opened(shop, task)
    slots = shop.redis.series[task.images[0].series]
    assert (slots[0].image, slots[1].image) == (None, task.images[1])


async def test_a_link_whose_bytes_are_gone_is_told_so_while_redis_is_away(shop: Shop) -> None:
    task = await shop.make()
    shop.images.bytes.clear()
    shop.redis.is_away = True
    with pytest.raises(ImageNotFound):
        await opened(shop, task)


async def test_a_picture_deleted_while_it_is_read_is_not_found(shop: Shop) -> None:
    task = await shop.make()
    picture = await opened(shop, task)
    shop.images.bytes.clear()
    with pytest.raises(ImageNotFound):
        await picture.read(0, 5)


async def test_an_image_store_that_is_away_empties_no_slot(shop: Shop) -> None:
    task = await shop.make()
    shop.images.failures["read"] = 1
    with pytest.raises(ImagesUnavailable):
        await opened(shop, task)
    assert shop.redis.series[task.images[0].series][0].image


# --- health ---------------------------------------------------------------------------------


async def test_health_asks_for_the_providers_that_can_be_called(shop: Shop) -> None:
    await shop.claim()
    presence = FakePresence(shop.redis, workers=2)
    health = await CheckHealth(presence, CATALOGUE).check()
    assert (health.redis, health.workers, health.queued, health.faults) == (True, 2, 1, {})
    assert presence.asked == ["maker"]
    assert health.complaint == ""


async def test_health_complains_of_redis_first_then_workers_then_faults(shop: Shop) -> None:
    presence = FakePresence(shop.redis, workers=0)
    presence.faults = {"maker": "no credit", "other": "no key"}
    check = CheckHealth(presence, CATALOGUE)
    shop.redis.is_away = True
    health = await check.check()
    assert (health.redis, health.complaint) == (False, "Redis does not answer")
    shop.redis.is_away = False
    assert (await check.check()).complaint == "no worker is running"
    presence.workers = 1
    assert (await check.check()).complaint == "maker: no credit; other: no key"
