"""Streams have no holes: resumed at any event, anywhere, they lose and repeat nothing."""

import asyncio
import itertools

from tests.e2e.site import ENDED, Json, Site
from tests.harness import until

Log = list[tuple[int, Json]]
ORDER = {"pending": 0, "processing": 1, **dict.fromkeys(ENDED, 2)}


def check(log: Log) -> None:
    """Numbers grow one by one, states and progress never go back, the end comes once, last."""
    numbers = [number for number, _ in log]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for (_, before), (_, after) in itertools.pairwise(log):
        assert ORDER[before["status"]] <= ORDER[after["status"]]
        assert before["progress"] <= after["progress"]
        assert before["data"] == after["data"][: len(before["data"])] or len(before["data"]) <= len(
            after["data"]
        )
    assert [body["status"] in ENDED for _, body in log] == [False] * (len(log) - 1) + [True]


async def test_a_stream_resumed_at_every_event_loses_and_repeats_nothing(site: Site) -> None:
    """With the built-in generator, which tells every step of three pictures."""
    first, second = await site.webs(2)
    await site.workers(1)
    answer = await first.post(site.prompt(), 3, model="builtin", width=512, height=512, steps=12)
    assert answer.status_code == 202, answer.text
    task = answer.json()["taskId"]
    live, snapshots = await asyncio.gather(first.events(task, 0), second.events(task))
    check(live)
    assert live[0][1]["status"] == "pending"
    assert live[-1][1]["status"] == "completed"
    assert live[-1][1]["progress"] == 100
    assert len(live) > 4
    assert sorted(image["index"] for image in live[-1][1]["data"]) == [0, 1, 2]
    # Without Last-Event-ID the present comes first, then all that follows.
    assert [n for n, _ in snapshots] == [n for n, _ in live[-len(snapshots) :]]

    whole = await second.events(task, 0)
    assert [number for number, _ in whole] == [number for number, _ in live]
    for place, (number, _) in enumerate(whole[:-1]):
        for api in (first, second):
            rest = await api.events(task, number)
            assert [n for n, _ in rest] == [n for n, _ in whole[place + 1 :]]
            assert [b["status"] for _, b in rest] == [b["status"] for _, b in whole[place + 1 :]]
    [(last, snapshot)] = await first.events(task)
    assert (last, snapshot["status"]) == (whole[-1][0], "completed")
    url = f"{first.url}/api/images/{task}/events"
    ended = await site.http.get(url, headers={"Last-Event-ID": str(last)})
    assert ended.status_code == 204
    assert ended.content == b""


async def test_a_live_stream_cut_and_resumed_through_another_web_goes_on(site: Site) -> None:
    first, second = await site.webs(2)
    await site.workers(1)
    prompt = site.prompt()
    site.standin.control(gate=True)
    task = (await first.post(prompt, 3)).json()["taskId"]
    await site.in_flight(prompt, 3)
    seen: Log = []
    stream = first.stream(task, 0)
    async for event in stream:
        seen.append(event)
        if event[1]["status"] == "processing":
            break
    await stream.aclose()
    rest = asyncio.create_task(second.events(task, seen[-1][0]))
    site.standin.release()
    log = seen + await rest
    check(log)
    assert log == await first.events(task, 0) or [n for n, _ in log] == [
        n for n, _ in await first.events(task, 0)
    ]
    assert log[-1][1]["status"] == "completed"


async def test_every_listener_gets_the_terminal_event_of_a_failure(site: Site) -> None:
    first, second = await site.webs(2)
    prompt = site.prompt("[[nsfw]]")
    await site.workers(0)
    task = (await first.post(prompt)).json()["taskId"]
    listeners = [
        asyncio.create_task(api.events(task, last))
        for api in (first, second)
        for last in (None, 0, 1)
    ]
    await until(
        lambda: site.valkey.client.pubsub_numsub(f"gn:task:{task}")[0][1] >= 2,
        what="both processes' subscriptions",
    )
    await site.workers(1)
    for log in await asyncio.gather(*listeners):
        assert log[-1][1]["status"] == "failed"
        assert "NSFW" in log[-1][1]["message"]


async def test_numbers_grow_over_attempts_and_an_old_number_gets_the_new_log(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[400 times=1]]")
    await site.workers(1)
    task = (await api.post(prompt)).json()["taskId"]
    await api.ended(task)
    old = await api.events(task, 0)
    assert old[-1][1]["status"] == "failed"
    await api.post(prompt)
    new = await api.events(task, old[-1][0])
    check(new)
    assert new[0][0] == old[-1][0] + 1
    assert new[-1][1]["status"] == "completed"
    assert {body["attempt"] for _, body in new} == {2}
    assert await api.events(task, old[0][0]) == new
    check(new)


async def test_a_number_of_a_forgotten_record_still_gets_the_terminal_event(site: Site) -> None:
    """Whoever saw only the beginning, and comes back to the task's next life, hears its end."""
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    before = await api.made(prompt)
    log = await api.events(before["taskId"], 0)
    seen = log[0][0]
    assert log[0][1]["status"] == "pending"
    assert (await api.delete(before["taskId"])).status_code == 200
    assert (await api.post(prompt)).json()["outcome"] == "hit"
    url = f"{api.url}/api/images/{before['taskId']}/events"
    answer = await site.http.get(url, headers={"Last-Event-ID": str(seen)})
    assert answer.status_code == 200
    assert "completed" in answer.text
