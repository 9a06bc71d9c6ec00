"""A slot is bought once, whatever the order, overlap, concurrency or loss."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.site import Api, Json, Site


def hashes(*tasks: Json) -> dict[int, set[str]]:
    """SHA-256s by slot, over several tasks."""
    found: dict[int, set[str]] = {}
    for task in tasks:
        for image in task["data"]:
            found.setdefault(image["index"], set()).add(image["sha256"])
    return found


async def test_500_equal_posts_over_4_webs_are_one_task_and_n_pictures(site: Site) -> None:
    apis, prompt = await site.webs(4), site.prompt()
    await site.workers(2)
    answers = await asyncio.gather(*(apis[i % 4].post(prompt, 2) for i in range(500)))
    assert Counter(answer.status_code for answer in answers) == {202: 500}
    bodies = [answer.json() for answer in answers]
    ids = {body["taskId"] for body in bodies}
    assert len(ids) == 1
    outcomes = Counter(body["outcome"] for body in bodies)
    assert outcomes["new"] == 1
    assert outcomes["new"] + outcomes["join"] + outcomes["hit"] == 500
    assert {a.headers["x-cache"] for a in answers} <= {"miss", "join", "hit"}
    task = await apis[0].ended(ids.pop())
    assert (task["status"], task["attempt"], len(task["data"])) == ("completed", 1, 2)
    assert site.bought(prompt) == 2
    assert site.calls(prompt) == 1


async def test_2_then_4_then_3_buy_4_and_share_their_pictures(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    tasks = [await api.made(prompt, n) for n in (2, 4, 3)]
    assert site.bought(prompt) == 4
    assert len({task["taskId"] for task in tasks}) == 3
    assert all(len(found) == 1 for found in hashes(*tasks).values())
    outcome = await api.post(prompt, 3)
    assert (outcome.json()["outcome"], outcome.json()["cached"]) == ("hit", True)
    first = tasks[0]["data"][0]
    assert await api.bytes_of(first) == await (await site.web(1)).bytes_of(tasks[2]["data"][0])


@pytest.mark.parametrize("order", [(2, 3, 5), (5, 3, 2)], ids=["rising", "falling"])
async def test_concurrent_2_3_and_5_buy_5(site: Site, order: Sequence[int]) -> None:
    apis, prompt = await site.webs(3), site.prompt()
    await site.workers(2)
    site.standin.control(latency_ms=150, jitter_ms=100)
    tasks = await asyncio.gather(*(api.made(prompt, n) for api, n in zip(apis, order, strict=True)))
    assert site.bought(prompt) == 5
    found = hashes(*tasks)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert all(len(each) == 1 for each in found.values())


async def test_another_variation_is_another_series(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    plain = await api.made(prompt, 1)
    assert (await api.made(prompt, 1, variation=0))["taskId"] == plain["taskId"]
    other = await api.made(prompt, 1, variation=1)
    assert other["taskId"] != plain["taskId"]
    assert other["data"][0]["sha256"] != plain["data"][0]["sha256"]
    assert site.bought(prompt) == 2


async def _limited(site: Site) -> Api:
    return await site.own_web(RATE_LIMIT_GENERATE="1/hour")


async def test_after_flushall_a_prompt_is_answered_from_the_image_store(site: Site) -> None:
    """Nothing is bought, the bytes are the same, and in the end no allowance is used."""
    api, prompt = await _limited(site), site.prompt()
    await site.workers(1)
    before = await api.made(prompt, 2)
    site.valkey.client.flushall()
    assert (await api.get(before["taskId"])).status_code == 404
    after = await api.made(prompt, 2)
    assert after["taskId"] == before["taskId"]
    assert hashes(after) == hashes(before)
    assert site.bought(prompt) == 2
    assert site.taken() == []

    # With the limit used up by something else, the store still answers.
    site.valkey.client.flushall()
    await api.made(site.prompt("another"))
    assert len(site.taken()) == 1
    refused = await api.post(site.prompt("a third"))
    assert refused.status_code == 429
    again = await api.made(prompt, 2)
    assert hashes(again) == hashes(before)
    assert site.bought(prompt) == 2
    assert len(site.taken()) == 1


async def test_after_flushall_only_what_the_store_lacks_is_bought(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    before = await api.made(prompt, 2)
    site.valkey.client.flushall()
    after = await api.made(prompt, 3)
    assert hashes(before).items() <= hashes(after).items()
    assert site.bought(prompt) == 3


def delete_from_disk(site: Site, image: Json) -> None:
    [file] = Path(site.store.removeprefix("file://")).rglob(f"*-{image['sha256'][:32]}.*")
    file.unlink()


async def test_a_picture_deleted_from_disk_is_bought_again_when_asked_for(site: Site) -> None:
    """Its link is a 404 first, and that empties the slot."""
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    task = await api.made(prompt, 2)
    lost = task["data"][1]
    delete_from_disk(site, lost)
    path = lost["url"].partition("/images/")[2]
    assert (await site.http.get(f"{api.url}/images/{path}")).status_code == 404
    again = await api.post(prompt, 2)
    assert again.json()["toBuy"] == 1
    mended = await api.ended(again.json()["taskId"])
    assert mended["status"] == "completed"
    assert mended["data"][0]["sha256"] == task["data"][0]["sha256"]
    assert await api.bytes_of(mended["data"][1])
    assert site.bought(prompt) == 3
