"""Redis down is said as it is: at once, without a provider call; afterwards everything goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from tests.e2e.conftest import Shared
from tests.e2e.site import Api, Json, Site
from tests.harness import until

PROMISED_S = 0.3
FACTOR = 3.0
"""What a loaded machine may add."""


@pytest.fixture
async def away(site: Site, shared: Shared) -> AsyncIterator[Site]:
    """A site with a Valkey of its own, which loses no write that it has answered."""
    valkey = shared.parts.valkey(shared.folder / site.name.replace("[", "-"), durable=True)
    own = replace(site, valkey=valkey, own=[], shared_webs=[], shared_workers=[])
    try:
        yield own
        await own.nothing_is_left()
    finally:
        shared.standin.release()
        for part in own.own:
            shared.parts.end(part)
        valkey.stop()


async def timed(
    api: Api, method: str, path: str, body: object = None
) -> tuple[float, httpx.Response]:
    """One request, as a client that waits: seconds and answer."""
    start = time.monotonic()
    answer = await api.http.request(method, api.url + path, json=body)
    return time.monotonic() - start, answer


async def check_answers(site: Site, api: Api, finished: Json, running: str) -> None:
    """What every kind of call is answered while Redis is away."""
    calls = site.standin.stats()["calls"]
    body = {"prompt": site.prompt(), "width": 256, "height": 256}
    asked = [
        ("POST", "/api/images/generate", body),
        ("POST", "/api/images/plan", body),
        ("GET", f"/api/images/{finished['taskId']}", None),
        ("GET", f"/api/images/{running}?wait=5", None),
        ("GET", f"/api/images/{running}/events", None),
        ("DELETE", f"/api/images/{running}", None),
        ("GET", "/api/health", None),
    ]
    for method, path, content in asked * 2:
        took_s, answer = await timed(api, method, path, content)
        print(f"{method} {path}: {answer.status_code} in {took_s * 1000:.0f} ms")
        assert answer.status_code == 503, (path, answer.text)
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < PROMISED_S * FACTOR, path
        if path != "/api/health":
            assert answer.json()["error"]["code"] == "store_unavailable"
    at_once = await asyncio.gather(*(timed(api, *asked[0]) for _ in range(20)))
    assert {answer.status_code for _, answer in at_once} == {503}
    assert max(took_s for took_s, _ in at_once) < 2 * PROMISED_S * FACTOR
    assert await api.bytes_of(finished["data"][0])
    _, alive = await timed(api, "GET", "/health")
    assert (alive.status_code, alive.json()["redis"]) == (200, False)
    assert site.standin.stats()["calls"] == calls


@pytest.mark.parametrize(
    ("way", "picture_comes"),
    [
        ("killed", "while it is away"),
        ("frozen", "when it is back"),
        pytest.param("killed", "when it is back", marks=pytest.mark.slow),
        pytest.param("frozen", "while it is away", marks=pytest.mark.slow),
    ],
)
async def test_redis_away_is_told_at_once_and_a_running_task_finishes_afterwards(
    away: Site, way: str, picture_comes: str
) -> None:
    site, api = away, await away.own_web()
    await site.own_worker()
    finished = await api.made(site.prompt("finished"))
    prompt = site.prompt("running")
    site.standin.control(gate=True)
    running = (await api.post(prompt, 2)).json()["taskId"]
    await site.in_flight(prompt, 2)
    if way == "killed":
        site.valkey.part.kill()
    else:
        site.valkey.part.freeze()
    await check_answers(site, api, finished, running)
    if picture_comes == "while it is away":
        site.standin.release()
        await until(lambda: site.standin.stats()["in_flight"] == 0, what="the pictures")
        await check_answers(site, api, finished, running)
    if way == "killed":
        site.valkey.start()
    else:
        site.valkey.part.go_on()
    site.standin.release()
    await until(lambda: api.task(running), timeout_s=5, what="an answer")
    done = await api.ended(running)
    assert done["status"] == "completed"
    assert len(done["data"]) == 2
    assert site.bought(prompt) == 2
    await api.made(site.prompt("after it"))
    assert (await api.get(finished["taskId"])).status_code == 200


async def test_a_finished_task_is_still_known_after_redis_was_killed(away: Site) -> None:
    """The worker goes on listening, too."""
    site, api = away, await away.own_web()
    prompt = site.prompt()
    task = (await api.post(prompt, 2)).json()["taskId"]
    worker = await site.own_worker()
    await api.ended(task)
    site.valkey.part.kill()
    site.valkey.start()

    async def answered() -> Json | None:
        # A connection from before the kill is found to be dead by its first use.
        answer = await api.post(prompt, 2)
        assert answer.status_code in (202, 503)
        return dict(answer.json()) if answer.status_code == 202 else None

    again = await until(answered, timeout_s=3, what="an answer")
    assert again is not None
    assert again["outcome"] == "hit"
    await api.made(site.prompt("by the same worker"))
    assert worker.is_alive
    assert site.bought(prompt) == 2
