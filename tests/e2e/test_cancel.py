"""DELETE: cancel, forget, purge; what was paid is kept unless its end was asked for."""

from tests.e2e.site import Site
from tests.harness import until


async def test_cancelled_while_queued_nothing_is_bought_and_the_allowance_is_back(
    site: Site,
) -> None:
    api, prompt = await site.own_web(RATE_LIMIT_GENERATE="5/hour"), site.prompt()
    await site.workers(0)
    task = (await api.post(prompt, 2)).json()["taskId"]
    assert len(site.taken()) == 1
    answer = await api.delete(task)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert site.taken() == []
    await site.nothing_is_left()
    await site.workers(1)
    await api.made(site.prompt("after it"))
    assert site.calls(prompt) == 0
    assert [e["status"] for _, e in await api.events(task, 0)] == ["pending", "cancelled"]
    again = await api.post(prompt, 2)
    assert (again.json()["attempt"], again.json()["toBuy"]) == (2, 2)
    assert (await api.ended(task))["status"] == "completed"
    assert site.bought(prompt) == 2


async def test_cancelled_in_flight_the_picture_is_kept_and_no_further_call_is_made(
    site: Site,
) -> None:
    """n=5 is two calls of Together; the second waits for the first, and is never made."""
    api, prompt = await site.web(), site.prompt()
    await site.own_worker(TOGETHER_CONCURRENCY=1)
    site.standin.control(gate=True)
    task = (await api.post(prompt, 5)).json()["taskId"]
    await until(lambda: site.bought(prompt), what="the first call")
    first = site.bought(prompt)
    assert (await api.delete(task)).json()["status"] == "cancelled"
    assert (await api.task(task))["status"] == "cancelled"
    site.standin.release()
    await site.nothing_is_left()
    assert site.bought(prompt) == first
    kept = await api.task(task)
    assert (kept["status"], len(kept["data"])) == ("cancelled", first)
    log = await api.events(task, 0)
    assert log[-1][1]["status"] == "cancelled"

    again = await api.post(prompt, 5)
    assert again.json()["taskId"] == task
    assert (again.json()["attempt"], again.json()["toBuy"]) == (2, 5 - first)
    done = await api.ended(task)
    assert (done["status"], done["attempt"]) == ("completed", 2)
    assert done["data"][0] == kept["data"][0] or done["data"][4] == kept["data"][0]
    assert site.bought(prompt) == 5


async def test_cancelled_in_flight_and_asked_again_at_once_nothing_is_bought_twice(
    site: Site,
) -> None:
    """The new attempt waits for the old one's call instead of making its own."""
    api, prompt = await site.web(), site.prompt()
    await site.workers(2)
    site.standin.control(gate=True)
    task = (await api.post(prompt, 2)).json()["taskId"]
    await site.in_flight(prompt, 2)
    assert (await api.delete(task)).status_code == 200
    again = await api.post(prompt, 2)
    assert (again.json()["attempt"], again.json()["toBuy"]) == (2, 0)
    site.standin.release()
    done = await api.ended(task)
    assert (done["status"], done["attempt"]) == ("completed", 2)
    assert site.bought(prompt) == 2


async def test_a_forgotten_task_is_gone_and_its_pictures_stay(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    before = await api.made(prompt, 2)
    assert (await api.delete(before["taskId"])).status_code == 200
    assert (await api.get(before["taskId"])).status_code == 404
    assert (await api.delete(before["taskId"])).status_code == 404
    assert await api.bytes_of(before["data"][0])
    again = await api.post(prompt, 2)
    assert (again.json()["outcome"], again.json()["cached"]) == ("hit", True)
    assert again.json()["data"] == before["data"]
    assert site.bought(prompt) == 2


async def test_purged_pictures_are_gone_and_bought_again_when_asked_for(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    before = await api.made(prompt, 2)
    assert (await api.delete(before["taskId"], "?purge=true")).status_code == 200
    for image in before["data"]:
        path = image["url"].partition("/images/")[2]
        assert (await site.http.get(f"{api.url}/images/{path}")).status_code == 404
    after = await api.made(prompt, 2)
    assert after["taskId"] == before["taskId"]
    assert site.bought(prompt) == 4
