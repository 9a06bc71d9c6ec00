"""Limits: exact in any window, over all processes; they count what is bought, and nothing else."""

import asyncio
import time

import httpx
import pytest

from tests.e2e.site import Api, Site
from tests.harness import until

LIMIT, WINDOW_S = 5, 2
SETTINGS = {
    "RATE_LIMIT_GENERATE": f"{LIMIT}/{WINDOW_S} seconds",
    "RATE_LIMIT_READ": "100000/minute",
}
EDGE_S = 0.25
"""How far from a moment a request is sent to be surely before it."""


async def limited(site: Site) -> tuple[Api, Api]:
    """Two web processes with one limit."""
    first, second = await asyncio.gather(site.own_web(**SETTINGS), site.own_web(**SETTINGS))
    return first, second


async def at(moment: float) -> None:
    """Wait for a moment of the monotonic clock."""
    await until(lambda: time.monotonic() >= moment, what="the moment", every_s=0.005)


def retry_s(refused: httpx.Response) -> float:
    assert refused.status_code == 429, refused.text
    exact_s = float(refused.json()["error"]["retryAfterMs"]) / 1000
    assert 0 <= int(refused.headers["retry-after"]) - exact_s <= 1
    assert refused.headers["ratelimit-policy"] == f'"generate";q={LIMIT};w={WINDOW_S}'
    return exact_s


@pytest.mark.parametrize("load", ["steady", "bursts"])
async def test_in_any_window_at_most_the_limit_is_admitted_over_two_processes(
    site: Site, load: str
) -> None:
    apis = await limited(site)
    await site.workers(1)
    stamps: set[int] = set()
    spans: list[tuple[float, float]] = []
    tasks: set[str] = set()

    async def ask(number: int) -> None:
        start = time.monotonic()
        answer = await apis[number % 2].post(site.prompt())
        if answer.status_code == 202:
            spans.append((start, time.monotonic()))
            tasks.add(answer.json()["taskId"])
        else:
            assert 0 < retry_s(answer) <= WINDOW_S
        stamps.update(site.taken())

    end, number = time.monotonic() + 2.5 * WINDOW_S, 0
    while time.monotonic() < end:
        together = 1 if load == "steady" else 12
        await asyncio.gather(*(ask(number + i) for i in range(together)))
        number += together
        await at(time.monotonic() + (0.03 if load == "steady" else 0.35))
    stamps.update(site.taken())
    ordered = sorted(stamps)
    for first, beyond in zip(ordered, ordered[LIMIT:], strict=False):
        assert beyond - first >= WINDOW_S * 1_000_000, "by the clock of Redis"
    spans.sort()
    for (start, _), (_, beyond_end) in zip(spans, spans[LIMIT:], strict=False):
        assert beyond_end - start >= WINDOW_S, "by the client's clock"
    # The limit is also used: two windows' edges were crossed.
    assert len(spans) == len(ordered) >= 2 * LIMIT
    for task in tasks:
        await apis[0].ended(task)


async def test_50_at_once_admit_exactly_the_limit(site: Site) -> None:
    apis = await limited(site)
    await site.workers(1)
    answers = await asyncio.gather(*(apis[i % 2].post(site.prompt()) for i in range(50)))
    admitted = [answer for answer in answers if answer.status_code == 202]
    assert len(admitted) == LIMIT
    assert {answer.status_code for answer in answers} == {202, 429}
    assert site.standin.stats()["accepted"] <= LIMIT
    for answer in admitted:
        await apis[0].ended(answer.json()["taskId"])
    assert site.standin.stats()["accepted"] == LIMIT


async def test_a_refusal_says_exactly_when_to_come_back(site: Site) -> None:
    first, second = await limited(site)
    await site.workers(1)
    made = [(await first.post(site.prompt())).json()["taskId"] for _ in range(LIMIT)]
    asked = time.monotonic()
    refused = await second.post(site.prompt())
    told = time.monotonic()
    wait_s = retry_s(refused)
    await at(asked + wait_s - EDGE_S)
    early = await first.post(site.prompt())
    assert early.status_code == 429 or time.monotonic() >= asked + wait_s
    await at(told + wait_s)
    late = await second.post(site.prompt())
    assert late.status_code == 202, late.text
    for task in (*made, late.json()["taskId"]):
        await first.ended(task)


async def test_hits_joins_reads_plans_and_streams_cost_no_generation(site: Site) -> None:
    first, second = await limited(site)
    await site.workers(1)
    prompt = site.prompt()
    site.standin.control(gate=True)
    new = await first.post(prompt)
    assert new.headers["ratelimit"].startswith(f'"generate";r={LIMIT - 1};')
    task = new.json()["taskId"]
    for api in (first, second) * 5:
        assert (await api.post(prompt)).json()["outcome"] == "join"
    await site.in_flight(prompt, 1)
    site.standin.release()
    await first.ended(task)
    taken = site.taken()
    assert len(taken) == 1
    for api in (first, second) * 5:
        assert (await api.post(prompt)).json()["outcome"] == "hit"
        await api.task(task)
        await api.plan(prompt)
        await api.events(task)
    assert (await second.plan(site.prompt()))["allowance"]["limit"] == LIMIT
    for api in (first, second):
        assert (await api.http.get(f"{api.url}/health")).status_code == 200
    assert site.taken() in (taken, [])
    assert site.bought(prompt) == 1


async def test_a_task_that_bought_nothing_gives_its_allowance_back(site: Site) -> None:
    """More prompts than the limit fail one after the other, and none of them is refused."""
    first, second = await limited(site)
    await site.workers(1)
    for index in range(LIMIT + 3):
        answer = await (first, second)[index % 2].post(site.prompt("[[401]]"))
        assert answer.status_code == 202
        await first.ended(answer.json()["taskId"])
    assert site.taken() == []
