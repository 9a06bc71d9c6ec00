"""What a provider does wrong, end to end: each failure by its class, each purchase counted."""

import json
import time
from pathlib import Path

import pytest

from tests.e2e.site import Api, Json, Site
from tests.harness import free_port, until
from tests.standins.process import start_standin


async def failed(api: Api, prompt: str, n: int = 1) -> Json:
    """POST and wait for the failure."""
    answer = await api.post(prompt, n)
    assert answer.status_code == 202, answer.text
    task = await api.ended(answer.json()["taskId"])
    assert task["status"] == "failed", task
    assert task["message"]
    return task


def receipt(site: Site, api_plan: Json, index: int) -> Json:
    """What the image store knows of a purchase."""
    series = api_plan["seriesId"]
    path = Path(site.store.removeprefix("file://")) / series[:2] / series / f"{index}.json"
    return dict(json.loads(path.read_text()))


async def test_refused_content_fails_with_its_reason_and_is_never_retried(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[nsfw]]")
    await site.workers(1)
    task = await failed(api, prompt)
    assert task["code"] == "provider_rejected"
    assert "NSFW content detected" in task["message"]
    assert (site.calls(prompt), site.bought(prompt)) == (1, 0)


async def test_refused_content_gives_the_allowance_back(site: Site) -> None:
    api, prompt = await site.own_web(RATE_LIMIT_GENERATE="5/hour"), site.prompt("[[nsfw]]")
    await site.workers(1)
    await failed(api, prompt)
    assert site.bought(prompt) == 0
    assert site.taken() == []


async def test_a_failed_prompt_tried_again_at_once_is_attempt_2_of_the_same_id(
    site: Site,
) -> None:
    api, prompt = await site.web(), site.prompt("[[500 times=3]]")
    await site.workers(1)
    task = await failed(api, prompt)
    assert task["code"] == "provider_failed"
    assert task["attempt"] == 1
    assert site.bought(prompt) == 3
    again = await api.post(prompt)
    assert again.json()["taskId"] == task["taskId"]
    assert (again.json()["attempt"], again.json()["outcome"]) == (2, "new")
    assert again.headers["x-task-attempt"] == "2"
    mended = await api.ended(task["taskId"])
    assert (mended["status"], mended["attempt"]) == ("completed", 2)
    assert "code" not in mended
    assert site.bought(prompt) == 4


async def test_a_second_attempt_buys_only_the_missing_slots(site: Site) -> None:
    """The picture that was there when the task failed stays readable, and is not bought again."""
    api, prompt = await site.web(), site.prompt("[[nourl times=3]]")
    await site.workers(1)
    task = await failed(api, prompt, 2)
    assert [image["index"] for image in task["data"]] == [0]
    assert site.bought(prompt) == 4, "2, then 1 and 1 for the missing slot"
    assert await api.bytes_of(task["data"][0])
    again = await api.post(prompt, 2)
    assert (again.json()["outcome"], again.json()["toBuy"]) == ("extended", 1)
    mended = await api.ended(task["taskId"])
    assert (mended["status"], mended["attempt"]) == ("completed", 2)
    assert mended["data"][0] == task["data"][0]
    assert site.bought(prompt) == 5


async def test_after_429_no_worker_calls_for_as_long_as_the_provider_says(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[429 retry-after=2 times=1]]")
    await site.workers(2)
    start = time.time()
    first = await api.post(prompt)
    await until(lambda: site.valkey.client.exists("gn:pace:together:rest"), what="the rest")
    others = [site.prompt(str(index)) for index in range(4)]
    tasks = [(await api.post(other)).json()["taskId"] for other in others]
    for task in (first.json()["taskId"], *tasks):
        assert (await api.ended(task))["status"] == "completed"
    stats = site.standin.stats()
    assert min(stats["times"]) >= start + 2
    assert (site.calls(prompt), site.bought(prompt)) == (2, 1)
    assert stats["calls"] == 6, "one was refused, five were accepted, none was made in the rest"
    assert stats["accepted"] == 5


async def test_whoever_waits_in_line_when_the_429_comes_keeps_to_the_rest_too(site: Site) -> None:
    api, first = await site.web(), site.prompt()
    limited = site.prompt("[[429 retry-after=2 times=1]]")
    await site.own_worker(TOGETHER_CONCURRENCY=1)
    site.standin.control(gate=True)
    tasks = [(await api.post(first)).json()["taskId"]]
    await site.in_flight(first, 1)
    for prompt in (limited, site.prompt("second in line"), site.prompt("third in line")):
        tasks.append((await api.post(prompt)).json()["taskId"])
        running = tasks[-1]
        await until(lambda: _is_running(api, running), what="its place in the line")  # noqa: B023
    released = time.time()
    site.standin.release()
    for task in tasks:
        assert (await api.ended(task))["status"] == "completed"
    stats = site.standin.stats()
    assert stats["calls"] == 5
    assert min(moment for moment in stats["times"] if moment > released) >= released + 2


async def _is_running(api: Api, task: str) -> bool:
    return bool((await api.task(task))["status"] == "processing")


@pytest.mark.parametrize("mark", ["429", "503", "503 retry-after=1"])
async def test_what_was_not_accepted_is_asked_again_and_bought_once(site: Site, mark: str) -> None:
    api, prompt = await site.web(), site.prompt(f"[[{mark} times=2]]")
    await site.workers(1)
    await api.made(prompt, 2)
    assert (site.calls(prompt), site.bought(prompt)) == (3, 2)


async def test_a_provider_that_refuses_connections_is_waited_for(site: Site) -> None:
    api, prompt, port = await site.web(), site.prompt(), free_port()
    await site.own_worker(TOGETHER_API_URL=f"http://127.0.0.1:{port}")
    answer = await api.post(prompt, 2)
    task = answer.json()["taskId"]
    series = (await api.plan(prompt, 2))["seriesId"]

    def was_refused() -> bool:
        slot = site.valkey.client.hget(f"gn:series:{series}", "0") or b""
        # The intent was written and taken back: the call was never accepted.
        return slot.startswith(b"o|") and slot.split(b"|")[3:] == [b"0"] * 4

    await until(was_refused, what="a refused connection")
    assert (await api.task(task))["status"] == "processing"
    with start_standin("together", "--port", str(port)) as back:
        assert (await api.ended(task))["status"] == "completed"
        assert back.stats()["accepted"] == 2


async def test_a_line_cut_after_acceptance_is_bought_once_more_and_noted(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[cut times=1]]")
    await site.workers(1)
    await api.made(prompt)
    assert site.bought(prompt) == 2
    proof = receipt(site, await api.plan(prompt), 0)
    assert (proof["purchase"], proof["unknownBefore"]) == (2, 1)


async def test_a_line_cut_twice_is_outcome_unknown_and_never_a_third_purchase(
    site: Site,
) -> None:
    api, prompt = await site.web(), site.prompt("[[cut]]")
    await site.workers(1)
    task = await failed(api, prompt)
    assert task["code"] == "outcome_unknown"
    assert site.bought(prompt) == site.calls(prompt) == 2


async def test_a_line_cut_before_acceptance_counts_as_unknown_too(site: Site) -> None:
    """Nobody can tell it from a cut after acceptance; nothing was bought before, one is then."""
    api, prompt = await site.web(), site.prompt("[[cut-before times=1]]")
    await site.workers(1)
    await api.made(prompt)
    assert site.bought(prompt) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_final_and_loud(site: Site, status: int) -> None:
    api = await site.own_web(RATE_LIMIT_GENERATE="5/hour")
    prompt = site.prompt(f"[[{status}]]")
    await site.workers(1)
    task = await failed(api, prompt, 2)
    assert task["code"] == "provider_misconfigured"
    assert "tgp-" not in json.dumps(task)
    assert (site.calls(prompt), site.bought(prompt)) == (1, 0)
    assert site.taken() == []
    health = (await site.http.get(f"{api.url}/api/health")).json()
    assert health["status"] == "degraded"
    assert "TOGETHER_API_KEY" in health["faults"]["together"]
    await api.made(site.prompt("a success ends it"))
    health = (await site.http.get(f"{api.url}/api/health")).json()
    assert (health["faults"], health["redis"]) == ({}, True)


async def test_fewer_pictures_than_asked_are_no_success(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[fewer times=1]]")
    await site.workers(1)
    await api.made(prompt, 3)
    assert (site.calls(prompt), site.bought(prompt)) == (2, 4)


@pytest.mark.parametrize("mark", ["wrong-bytes", "empty-bytes", "bad-base64", "url-expired"])
async def test_what_is_no_picture_is_bought_three_times_and_never_stored(
    site: Site, mark: str
) -> None:
    api, prompt = await site.web(), site.prompt(f"[[{mark}]]")
    await site.workers(1)
    task = await failed(api, prompt)
    assert (task["code"], task["data"]) == ("provider_failed", [])
    assert site.bought(prompt) == site.calls(prompt) == 3
    assert (await api.plan(prompt))["slots"] == {"have": 0, "making": 0, "toBuy": 1}


async def test_one_broken_picture_costs_one_more_purchase(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[wrong-bytes times=1]]")
    await site.workers(1)
    await api.made(prompt)
    assert site.bought(prompt) == 2
    assert receipt(site, await api.plan(prompt), 0)["purchase"] == 2


@pytest.mark.parametrize("mark", ["url", "url-redirect", "url-fails=1"])
async def test_a_picture_given_by_its_address_is_fetched_and_kept(site: Site, mark: str) -> None:
    api, prompt = await site.web(), site.prompt(f"[[{mark}]]")
    await site.workers(1)
    task = await api.made(prompt, 2)
    assert (await api.bytes_of(task["data"][1])).startswith(b"\xff\xd8\xff")
    assert site.bought(prompt) == 2


async def test_a_picture_s_address_that_expired_costs_one_more_purchase(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[url-expired times=1]]")
    await site.workers(1)
    await api.made(prompt)
    assert site.bought(prompt) == 2


async def test_nobody_is_led_to_a_private_address(site: Site) -> None:
    api, prompt = await site.web(), site.prompt("[[url-private]]")
    await site.workers(1)
    await failed(api, prompt)
    assert site.standin.stats()["private_hits"] == 0
