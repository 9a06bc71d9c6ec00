"""What callers are promised: keys that replay, waits, tags, scopes, and who may ask."""

import asyncio
import time

import httpx

from tests.e2e.site import ENDED, Api, Site
from tests.harness import KEY


def as_caller(api: Api, **headers: str) -> Api:
    """The same web process, asked by somebody with these headers."""
    return Api(api.http, api.url, {name.replace("_", "-"): v for name, v in headers.items()})


async def test_an_idempotency_key_replays_and_refuses_another_request(site: Site) -> None:
    first, second = await site.webs(2)
    await site.workers(1)
    prompt, key = site.prompt(), {"Idempotency-Key": site.prompt().rpartition(" ")[2]}
    new = await first.post(prompt, 2, headers=key)
    assert (new.status_code, new.json()["outcome"]) == (202, "new")
    replayed = await second.post(prompt, 2, headers=key)
    assert (replayed.status_code, replayed.json()["outcome"]) == (202, "replay")
    assert replayed.json()["taskId"] == new.json()["taskId"]
    assert replayed.headers["idempotency-replayed"] == "true"
    for other in (await second.post(prompt, 3, headers=key), await first.post("x", headers=key)):
        assert other.status_code == 422
        assert other.json()["error"]["code"] == "idempotency_key_conflict"
    await first.ended(new.json()["taskId"])
    done = await first.post(prompt, 2, headers=key)
    assert (done.json()["outcome"], done.json()["status"]) == ("replay", "completed")
    assert site.bought(prompt) == 2


async def test_a_replay_of_a_failed_task_starts_nothing(site: Site) -> None:
    api, prompt, key = await site.web(), site.prompt("[[400]]"), {"Idempotency-Key": "a-failure"}
    await site.workers(1)
    task = (await api.post(prompt, headers=key)).json()["taskId"]
    assert (await api.ended(task))["status"] == "failed"
    replayed = await api.post(prompt, headers=key)
    assert (replayed.json()["outcome"], replayed.json()["status"]) == ("replay", "failed")
    await site.nothing_is_left()
    assert (await api.task(task))["attempt"] == 1
    assert site.calls(prompt) == 1


async def test_50_equal_posts_with_one_idempotency_key_start_one_attempt(site: Site) -> None:
    apis, prompt = await site.webs(2), site.prompt()
    await site.workers(1)
    key = {"Idempotency-Key": "fifty"}
    answers = await asyncio.gather(*(apis[i % 2].post(prompt, headers=key) for i in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    outcomes = [answer.json()["outcome"] for answer in answers]
    assert sorted(set(outcomes)) == ["new", "replay"]
    assert outcomes.count("new") == 1
    await apis[0].ended(answers[0].json()["taskId"])
    assert site.bought(prompt) == 1


async def test_prefer_wait_answers_200_with_the_result_or_202_in_time(site: Site) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    site.standin.control(gate=True)
    start = time.monotonic()
    early = await api.post(prompt, 2, headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - start < 4
    assert (early.status_code, early.json()["status"]) == (202, "processing")
    assert early.headers["preference-applied"] == "wait=1"
    waiting = asyncio.create_task(api.post(prompt, 2, headers={"Prefer": "wait=30"}))
    long_poll = asyncio.create_task(api.get(early.json()["taskId"], "?wait=30"))
    await site.in_flight(prompt, 2)
    site.standin.release()
    done = await waiting
    assert (done.status_code, done.json()["status"]) == (200, "completed")
    assert len(done.json()["data"]) == 2
    assert (await long_poll).json()["status"] == "completed"
    assert (await api.post(prompt, 2, headers={"Prefer": "wait"})).status_code == 200
    failed = await api.post(site.prompt("[[400]]"), headers={"Prefer": "wait=30"})
    assert (failed.status_code, failed.json()["status"]) == (200, "failed")
    assert site.bought(prompt) == 2


async def test_a_tag_is_304_while_nothing_changed_and_a_long_poll_waits_for_news(
    site: Site,
) -> None:
    api, prompt = await site.web(), site.prompt()
    await site.workers(1)
    site.standin.control(gate=True)
    task = (await api.post(prompt, 2)).json()["taskId"]
    await site.in_flight(prompt, 2)
    tag, body = "", {}
    while not tag:
        found = await api.get(task)
        if (await api.get(task, If_None_Match=found.headers["etag"])).status_code == 304:
            tag, body = found.headers["etag"], found.json()
    assert body["status"] == "processing"
    unchanged = await api.get(task, If_None_Match=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == tag
    news = asyncio.create_task(api.get(task, "?wait=20", If_None_Match=tag))
    site.standin.release()
    assert (await news).status_code == 200
    assert (await news).headers["etag"] != tag
    done = await api.ended(task)
    image = httpx.URL(done["data"][0]["url"]).path
    first = await site.http.get(api.url + image)
    again = {"If-None-Match": first.headers["etag"]}
    assert (await site.http.get(api.url + image, headers=again)).status_code == 304
    assert "immutable" in first.headers["cache-control"]


async def test_callers_that_share_nothing_have_ids_of_their_own(site: Site) -> None:
    """With CACHE_SCOPE=caller an id is never a permission."""
    web = await site.own_web(CACHE_SCOPE="caller", API_KEYS="ann-key,bob-key")
    ann, bob = as_caller(web, X_API_Key="ann-key"), as_caller(web, X_API_Key="bob-key")
    await site.workers(1)
    prompt = site.prompt()
    hers, his = await ann.made(prompt, 2), await bob.made(prompt, 2)
    assert hers["taskId"] != his["taskId"]
    assert site.bought(prompt) == 4
    assert (await bob.get(hers["taskId"])).status_code == 404
    assert (await bob.delete(hers["taskId"])).status_code == 404
    url = f"{web.url}/api/images/{hers['taskId']}/events"
    assert (await site.http.get(url, headers=bob.headers)).status_code == 404
    assert (await ann.task(hers["taskId"]))["status"] == "completed"
    assert (await ann.post(prompt, 2)).json()["outcome"] == "hit"


async def test_a_key_is_asked_for_in_any_of_its_forms_and_never_told(site: Site) -> None:
    web = await site.own_web(API_KEYS="ann-key")
    await site.workers(1)
    prompt = site.prompt()
    for headers in ({}, {"X_API_Key": "wrong"}, {"Authorization": "Bearer wrong"}):
        refused = await as_caller(web, **headers).post(prompt)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "not_authenticated"
        assert "ann-key" not in refused.text
        assert (await as_caller(web, **headers).get("0" * 32)).status_code == 401
    for headers in ({"X_API_Key": "ann-key"}, {"Authorization": "bearer ann-key"}):
        found = await as_caller(web, **headers).made(prompt)
        assert found["status"] in ENDED
        assert KEY not in str(found)
    assert (await site.http.get(f"{web.url}/health")).status_code == 200
    assert site.bought(prompt) == 1
