"""Redis or the image store is away: it is said as it is, and nothing is lost or charged."""

import os
import time

import httpx
import pytest

from tests.fakes import FakeProvider
from tests.web.conftest import GENERATE, PLAN, PROMPT, Open, Site, error_of

NOWHERE = "redis://127.0.0.1:1"


async def test_redis_gone_is_said_quickly_with_when_to_come_back(opened: Open) -> None:
    async with opened(url=NOWHERE) as site:
        for method, path in (
            ("POST", GENERATE),
            ("POST", PLAN),
            ("GET", "/api/images/" + "0" * 32),
            ("GET", "/api/images/" + "0" * 32 + "/events"),
            ("DELETE", "/api/images/" + "0" * 32),
            ("GET", "/api/models"),
        ):
            body = PROMPT if method == "POST" else None
            before = time.monotonic()
            answer = await site.http.request(method, path, json=body)
            if path != PLAN and path != "/api/models":
                assert error_of(answer) == (503, "store_unavailable", ""), path
                assert int(answer.headers["retry-after"]) >= 1
            assert time.monotonic() - before < 0.3
        zh = await site.post(PROMPT, accept_language="zh")
        assert zh.json()["message"] == "服务暂时不可用，请稍后再试"


async def test_with_redis_gone_bad_requests_are_still_told_apart(opened: Open) -> None:
    async with opened(url=NOWHERE) as site:
        assert error_of(await site.post({})) == (400, "invalid_request", "prompt")
        assert error_of(await site.get("/nowhere"))[0] == 404


async def test_with_redis_gone_this_process_lives_and_says_what_is_away(opened: Open) -> None:
    async with opened(url=NOWHERE) as site:
        alive, ready = await site.get("/health"), await site.get("/api/health")
        assert (alive.status_code, ready.status_code) == (200, 503)
        assert ready.headers["retry-after"] == "1"
        assert "retry-after" not in alive.headers
        for answer in (alive, ready):
            body = answer.json()
            assert (body["success"], body["redis"], body["status"]) == (False, False, "degraded")
            assert body["message"] == "Service is degraded: Redis does not answer"


async def test_with_redis_gone_finished_pictures_are_still_served(opened: Open) -> None:
    async with opened(RATE_LIMIT_READ="600/minute") as site:
        path = await site.picture()
        data = (await site.get(path)).content
    async with opened(url=NOWHERE, RATE_LIMIT_READ="600/minute") as site:
        answer = await site.get(path)
        assert (answer.status_code, answer.content) == (200, data)
        assert (await site.get("/docs")).status_code == 200
        gone = path.replace("-0-", "-1-")
        assert error_of(await site.get(gone)) == (404, "image_not_found", "")


async def test_a_lost_redis_costs_nothing_but_a_look(site: Site) -> None:
    task = await site.make(n=2)
    before = (await site.get(task)).json()["data"]
    site.server.flushall()
    assert (await site.get(task)).status_code == 404
    site.provider = FakeProvider(name="builtin")
    assert await site.make(n=2) == task
    assert (await site.get(task)).json()["data"] == before
    assert site.provider.calls == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
async def test_a_store_that_is_read_only_by_rights_fails_the_task(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/hour") as site:
        site.folder.chmod(0o500)
        try:
            await _fails(site)
        finally:
            site.folder.chmod(0o700)


async def test_a_store_that_cannot_be_written_fails_the_task_and_charges_nothing(
    opened: Open,
) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/hour") as site:
        # A file where a folder has to be: not even root can write there.
        (site.folder / "probes").write_bytes(b"in the way")
        await _fails(site)
        (site.folder / "probes").unlink()
        answer = await site.post(PROMPT)
        assert answer.status_code == 202
        task = answer.json()["taskId"]
        await site.work(task, attempt=2)
        assert (await site.get(task)).json()["status"] == "completed"


async def _fails(site: Site) -> None:
    task = await site.queue()
    await site.work(task)
    body = (await site.get(task)).json()
    assert (body["status"], body["code"]) == ("failed", "images_unavailable")
    assert "image store" in body["message"]
    assert str(site.folder) not in body["message"]
    assert site.provider.calls == []
    assert site.server.keys("gn:meter:generate:*") == []
    assert not [path for path in site.files() if path.suffix in (".png", ".json")]


async def test_an_image_store_that_is_away_is_said_as_it_is(site: Site) -> None:
    path = await site.picture()
    folder = next(p for p in site.folder.iterdir() if p.is_dir() and p.name != "probes")
    aside = folder.rename(site.folder / "aside")
    folder.write_bytes(b"in the way")
    answer = await site.get(path)
    assert error_of(answer)[0] in (404, 503)
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    folder.unlink()
    aside.rename(folder)
    assert (await site.get(path)).status_code == 200
    assert httpx.URL(path).path == path
