"""The native surface: what it answers to who does everything right."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from genonce.domain.errors import ProviderMisconfigured, ProviderRejected
from genonce.domain.identity import SeriesId, image_seed
from tests.fakes import Answer
from tests.harness import until
from tests.web.conftest import GENERATE, PLAN, PROMPT, Json, Open, Site, error_of, events_of

CREATED = "图像生成任务已创建，请使用任务ID查询结果"
CACHED = "发现相同参数的图像已生成，可直接查询结果"
STEPS = Answer(steps=(0.2, 0.6))


def outcome(answer: httpx.Response) -> tuple[int, str, bool, str, int, str]:
    """Status, outcome, cached, state, what is bought, X-Cache."""
    body = answer.json()
    return (
        answer.status_code,
        body["outcome"],
        body["cached"],
        body["status"],
        body["toBuy"],
        answer.headers["x-cache"],
    )


# --- POST -----------------------------------------------------------------------------------


async def test_a_new_task_is_accepted_and_nothing_is_made_yet(site: Site) -> None:
    answer = await site.post(PROMPT | {"n": 2})
    body = answer.json()
    assert outcome(answer) == (202, "new", False, "pending", 2, "miss")
    assert {"success", "taskId", "cached", "message"} <= set(body)
    assert body["success"] is True
    assert len(body["taskId"]) == 32
    assert int(body["taskId"], 16) >= 0
    assert answer.headers["location"] == f"/api/images/{body['taskId']}"
    assert answer.headers["x-task-attempt"] == "1"
    assert (body["attempt"], body["n"], body["progress"], body["data"]) == (1, 2, 0, [])
    assert (body["queuePosition"], body["estimatedSeconds"]) == (1, None)
    assert "ask for the result" in body["message"]


async def test_an_equal_request_joins_in_any_spelling(site: Site) -> None:
    first = await site.post(PROMPT)
    for body in (
        {"n": "1", "prompt": "  a cat\r\n"},
        PROMPT | {"size": "512x512", "seed": None},
        PROMPT | {"model": "BUILTIN", "width": 512.0, "negative_prompt": ""},
    ):
        answer = await site.post(body)
        assert outcome(answer) == (202, "join", False, "pending", 0, "join")
        assert answer.json()["taskId"] == first.json()["taskId"]
    assert site.server.zcard("arq:queue") == 1


async def test_a_finished_request_is_a_hit_with_its_pictures(site: Site) -> None:
    task = await site.make(n=2)
    answer = await site.post(PROMPT | {"n": 2})
    assert outcome(answer) == (202, "hit", True, "completed", 0, "hit")
    assert [image["index"] for image in answer.json()["data"]] == [0, 1]
    assert answer.json()["taskId"] == task
    smaller = await site.post(PROMPT)
    assert outcome(smaller) == (202, "hit", True, "completed", 0, "hit")


async def test_a_larger_n_extends_what_is_there(site: Site) -> None:
    await site.make(n=2)
    answer = await site.post(PROMPT | {"n": 3})
    assert outcome(answer) == (202, "extended", False, "pending", 1, "miss")
    assert len(answer.json()["data"]) == 2


async def test_a_failed_task_starts_anew_under_its_id(site: Site) -> None:
    task = await site.queue()
    await site.work(task, Answer(error=ProviderRejected("Not this.")))
    answer = await site.post(PROMPT)
    assert outcome(answer) == (202, "new", False, "pending", 1, "miss")
    assert answer.json()["taskId"] == task
    assert answer.headers["x-task-attempt"] == "2"


async def test_the_seeds_keys_and_chinese_messages_are_there(site: Site) -> None:
    zh = {"accept_language": "zh-CN,zh;q=0.9,en;q=0.8"}
    new = (await site.post(PROMPT, **zh)).json()
    assert (new["success"], new["cached"], new["message"]) == (True, False, CREATED)
    assert (await site.post(PROMPT, **zh)).json()["message"] == CREATED
    task = new["taskId"]
    pending = (await site.get(task, **zh)).json()
    assert (pending["success"], pending["status"]) == (True, "pending")
    assert pending["message"] == "任务pending中 (0%)"
    await site.work(task)
    completed = (await site.get(task, **zh)).json()
    assert (completed["success"], completed["status"]) == (True, "completed")
    assert completed["data"][0]["url"].startswith("http://genonce.test/images/")
    hit = (await site.post(PROMPT, **zh)).json()
    assert (hit["success"], hit["cached"], hit["message"]) == (True, True, CACHED)


@pytest.mark.parametrize(
    ("language", "is_chinese"),
    [
        ("zh", True),
        ("ZH-TW", True),
        (" zh;q=1", True),
        ("en", False),
        ("", False),
        ("fr, zh", False),
    ],
)
async def test_messages_are_in_the_first_language_asked_for(
    site: Site, language: str, is_chinese: bool
) -> None:
    message = (await site.post(PROMPT, accept_language=language)).json()["message"]
    assert (message == CREATED) is is_chinese


async def test_an_idempotency_key_replays_its_task_and_starts_nothing(site: Site) -> None:
    first = await site.post(PROMPT, idempotency_key="order-1")
    assert "idempotency-replayed" not in first.headers
    task = first.json()["taskId"]
    again = await site.post(PROMPT, idempotency_key="order-1")
    assert outcome(again) == (202, "replay", False, "pending", 0, "join")
    assert again.headers["idempotency-replayed"] == "true"
    await site.work(task)
    done = await site.post(PROMPT, idempotency_key="order-1")
    assert outcome(done) == (202, "replay", True, "completed", 0, "hit")


async def test_a_replay_of_a_failed_task_starts_nothing(site: Site) -> None:
    task = (await site.post(PROMPT, idempotency_key="order-1")).json()["taskId"]
    await site.work(task, Answer(error=ProviderRejected("Not this.")))
    again = await site.post(PROMPT, idempotency_key="order-1")
    assert (again.json()["status"], again.json()["attempt"]) == ("failed", 1)
    assert site.server.zcard("arq:queue") == 0


async def while_working(
    site: Site, ask: Callable[[], Any], task: str, *answers: Answer
) -> httpx.Response:
    """An answer that waits while a worker does the task."""
    waiting = asyncio.create_task(ask())
    await until(lambda: site.server.pubsub_numsub(f"gn:task:{task}")[0][1] == 1)
    await site.work(task, *answers)
    answer: httpx.Response = await asyncio.wait_for(waiting, 10)
    return answer


async def test_prefer_wait_answers_200_with_the_finished_task(site: Site) -> None:
    task = (await site.post(PROMPT)).json()["taskId"]
    answer = await while_working(site, lambda: site.post(PROMPT, prefer="wait=20"), task)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], len(body["data"]), body["message"]) == (
        "completed",
        1,
        "All images are ready.",
    )
    assert answer.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize("prefer", ["wait=0.05", "respond-async, wait=0.05", 'wait="0.05"'])
async def test_prefer_wait_answers_202_when_the_time_is_up(site: Site, prefer: str) -> None:
    answer = await site.post(PROMPT, prefer=prefer)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.headers["preference-applied"] == "wait=0.05"


async def test_prefer_wait_is_at_most_the_limit_and_a_hit_does_not_wait(opened: Open) -> None:
    async with opened(WAIT_LIMIT="7") as site:
        await site.make()
        for prefer in ("wait=600", "respond-async, wait=600"):
            answer = await site.post(PROMPT, prefer=prefer)
            assert answer.status_code == 200
            assert answer.headers["preference-applied"] == "wait=7"


async def test_another_preference_is_not_a_wait(site: Site) -> None:
    await site.make()
    answer = await site.post(PROMPT, prefer="waiting-room=5")
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


# --- GET ------------------------------------------------------------------------------------


async def test_a_task_is_read_in_every_state(site: Site) -> None:
    task = await site.queue(n=2)
    pending = (await site.get(task)).json()
    assert (pending["status"], pending["progress"], pending["queuePosition"]) == ("pending", 0, 1)
    end = asyncio.Event()
    worker = asyncio.create_task(site.work(task, Answer(), Answer(until=end)))
    await until(lambda: len(site.files()) == 3)
    running = await site.get(task)
    await until(lambda: site.server.hget(f"gn:task:{task}", "progress") == b"500")
    running = (await site.get(task)).json()
    assert (running["status"], running["progress"]) == ("processing", 50)
    assert running["message"] == "Task is processing (50%)."
    assert [image["index"] for image in running["data"]] == [0]
    end.set()
    await worker
    completed = (await site.get(task)).json()
    assert (completed["status"], completed["progress"]) == ("completed", 100)
    assert "code" not in completed


async def test_a_picture_is_described_in_full(site: Site) -> None:
    task = await site.make(seed=5)
    [image] = (await site.get(task)).json()["data"]
    assert set(image) == {"url", "index", "width", "height", "seed", "sha256"}
    assert (image["index"], image["width"], image["height"], image["seed"]) == (0, 512, 384, 5)
    assert image["sha256"][:32] in image["url"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderRejected("The prompt is refused."), "provider_rejected"),
        (ProviderMisconfigured("The key is wrong."), "provider_misconfigured"),
    ],
)
async def test_a_failed_task_says_why(site: Site, error: Exception, code: str) -> None:
    task = await site.queue()
    await site.work(task, Answer(error=error))  # type: ignore[arg-type]
    answer = await site.get(task)
    body = answer.json()
    assert (answer.status_code, body["success"], body["status"]) == (200, True, "failed")
    assert (body["code"], body["data"]) == (code, [])
    assert body["message"] == f"Image generation failed: {error}"
    body = (await site.get(task, accept_language="zh")).json()
    assert body["message"] == f"图像生成失败：{error}"


async def test_a_tag_answers_304_until_something_changes(site: Site) -> None:
    task = await site.queue()
    answer = await site.get(task)
    tag = answer.headers["etag"]
    assert answer.headers["vary"] == "accept-language"
    for sent in (tag, f'"other", {tag}', "*", f"W/{tag}"):
        same = await site.get(task, if_none_match=sent)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == tag
    await site.work(task)
    changed = await site.get(task, if_none_match=tag)
    assert (changed.status_code, changed.json()["status"]) == (200, "completed")
    assert changed.headers["etag"] != tag


async def test_a_long_poll_waits_for_the_end(site: Site) -> None:
    task = await site.queue()
    path = f"/api/images/{task}?wait=20"
    answer = await while_working(site, lambda: site.get(path), task, STEPS)
    assert answer.json()["status"] == "completed"
    assert (await site.get(path)).json()["status"] == "completed"


async def test_a_long_poll_with_a_tag_waits_for_any_news(site: Site) -> None:
    task = await site.queue()
    tag = (await site.get(task)).headers["etag"]
    end = asyncio.Event()
    waiting = asyncio.create_task(site.get(f"/api/images/{task}?wait=20", if_none_match=tag))
    await until(lambda: site.server.pubsub_numsub(f"gn:task:{task}")[0][1] == 1)
    worker = asyncio.create_task(site.work(task, Answer(until=end)))
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    end.set()
    await worker


async def test_a_long_poll_ends_when_the_time_is_up(site: Site) -> None:
    task = await site.queue()
    path = f"/api/images/{task}?wait=0.05"
    answer = await site.get(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    unchanged = await site.get(path, if_none_match=answer.headers["etag"])
    assert unchanged.status_code == 304


# --- events ---------------------------------------------------------------------------------


async def stream(site: Site, task: str, *answers: Answer) -> list[tuple[int, Json]]:
    """Events of a task that is done while they are read."""
    answer = await while_working(
        site, lambda: site.get(f"/api/images/{task}/events"), task, *answers
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("retry: 1000\n\n")
    return events_of(answer)


async def test_events_are_snapshots_with_growing_numbers_up_to_the_end(site: Site) -> None:
    task = await site.queue(n=2)
    events = await stream(site, task, STEPS, STEPS)
    numbers = [number for number, _ in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(events)))
    states = [body["status"] for _, body in events]
    assert (states[0], states[1], states[-1]) == ("pending", "processing", "completed")
    assert set(states[1:-1]) == {"processing"}
    progress = [body["progress"] for _, body in events]
    assert progress == sorted(progress)
    read = (await site.get(task)).json()
    assert events[-1][1] == read
    assert set(events[0][1]) == set(read)


async def test_a_stream_goes_on_at_every_event(site: Site) -> None:
    task = await site.queue(n=2)
    events = await stream(site, task, STEPS, STEPS)
    path = f"/api/images/{task}/events"
    for number, _ in events[:-1]:
        resumed = events_of(await site.get(path, last_event_id=str(number)))
        assert [n for n, _ in resumed] == [n for n, _ in events if n > number]
        assert resumed[-1] == events[-1]
    whole = events_of(await site.get(f"{path}?lastEventId=0"))
    assert [number for number, _ in whole] == [number for number, _ in events]
    assert events_of(await site.get(path)) == [events[-1]]


async def test_after_the_last_event_there_is_nothing_to_come(site: Site) -> None:
    task = await site.make()
    path = f"/api/images/{task}/events"
    [(last, _)] = events_of(await site.get(path))
    answer = await site.get(path, last_event_id=str(last))
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_number_from_elsewhere_gives_the_present_attempt(site: Site) -> None:
    task = await site.queue()
    await site.work(task, Answer(error=ProviderRejected("Not this.")))
    await site.post(PROMPT)
    await site.work(task, attempt=2)
    path = f"/api/images/{task}/events"
    for number in ("1", "999"):
        events = events_of(await site.get(path, last_event_id=number))
        assert [body["attempt"] for _, body in events] == [2] * len(events)
        states = [body["status"] for _, body in events]
        assert (states[0], states[-1]) == ("pending", "completed")
        assert states == sorted(states, key=["pending", "processing", "completed"].index)


# --- DELETE ---------------------------------------------------------------------------------


async def test_an_unfinished_task_is_cancelled_and_can_be_asked_for_again(site: Site) -> None:
    task = await site.queue()
    answer = await site.delete(task)
    assert answer.json() == {
        "success": True,
        "taskId": task,
        "status": "cancelled",
        "message": "The task was cancelled.",
    }
    assert (await site.get(task)).json()["status"] == "cancelled"
    assert site.server.zcard("arq:queue") == 0
    assert outcome(await site.post(PROMPT))[1] == "new"


async def test_a_finished_task_is_forgotten_and_its_pictures_stay(site: Site) -> None:
    task = await site.make()
    url = (await site.get(task)).json()["data"][0]["url"]
    answer = await site.delete(task, accept_language="zh")
    assert (answer.json()["status"], answer.json()["message"]) == (
        "completed",
        "任务已删除，图像仍保留",
    )
    assert error_of(await site.get(task)) == (404, "not_found", "")
    assert (await site.http.get(url)).status_code == 200
    assert outcome(await site.post(PROMPT))[:3] == (202, "hit", True)


async def test_a_purge_deletes_the_pictures_for_every_task_of_the_series(site: Site) -> None:
    small, large = await site.make(n=1), await site.make(n=2)
    url = (await site.get(small)).json()["data"][0]["url"]
    answer = await site.delete(large, "?purge=true")
    assert answer.json()["message"] == "The task and its images were removed."
    assert [path.name for path in site.files()] == ["store-id"]
    assert (await site.http.get(url)).status_code == 404
    assert (await site.get(small)).status_code == 404
    assert outcome(await site.post(PROMPT | {"n": 2}))[1] == "new"


# --- plan, models, health -------------------------------------------------------------------


async def test_a_plan_says_what_a_post_would_do_and_does_nothing(site: Site) -> None:
    before = site.keys()
    body = (await site.post(PROMPT | {"n": 3}, PLAN)).json()
    assert site.keys() == before
    assert (body["success"], body["outcome"]) == (True, "new")
    assert body["slots"] == {"have": 0, "making": 0, "toBuy": 3}
    assert body["price"] == {"perImage": 0.0, "total": 0.0, "currency": "USD"}
    assert body["allowance"] is None
    assert body["request"] == {
        "v": 1,
        "model": "genonce/builtin",
        "prompt": "a cat",
        "width": 512,
        "height": 512,
        "steps": 20,
        "guidance": 7.0,
        "style": "landscape",
        "format": "png",
        "n": 3,
    }
    task = await site.queue(n=3)
    assert body["taskId"] == task
    assert (await site.post(PROMPT | {"n": 3}, PLAN)).json()["outcome"] == "join"
    await site.work(task)
    done = (await site.post(PROMPT | {"n": 3}, PLAN)).json()
    assert (done["outcome"], done["slots"]["have"]) == ("hit", 3)
    more = (await site.post(PROMPT | {"n": 5}, PLAN)).json()
    assert (more["outcome"], more["slots"]) == ("extended", {"have": 3, "making": 0, "toBuy": 2})
    image = (await site.get(task)).json()["data"][1]
    assert image["seed"] == image_seed(SeriesId(body["seriesId"]), 1)


async def test_a_plan_shows_the_allowance_that_is_left(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="5/minute") as site:
        await site.queue()
        allowance = (await site.post({"prompt": "a dog"}, PLAN)).json()["allowance"]
        assert (allowance["limit"], allowance["remaining"], allowance["windowSeconds"]) == (
            5,
            4,
            60,
        )
        assert 0 < allowance["resetSeconds"] <= 60


async def test_models_are_listed_with_their_bounds(site: Site) -> None:
    body = (await site.get("/api/models")).json()
    models = {model["id"]: model for model in body["data"]}
    own = models["genonce/builtin"]
    assert (own["default"], own["available"], own["missing"]) == (True, True, None)
    assert own["width"] == {"min": 64, "max": 2048, "default": 512, "multiple": None}
    assert "not a neural model" in own["description"]
    others = [model for model in body["data"] if model["provider"] == "together"]
    assert others
    assert {(m["available"], m["missing"]) for m in others} == {(False, "TOGETHER_API_KEY")}


async def test_with_a_key_togethers_model_is_the_default(opened: Open) -> None:
    async with opened(TOGETHER_API_KEY="key-of-the-tests") as site:
        models = (await site.get("/api/models")).json()["data"]
        [default] = [model for model in models if model["default"]]
        assert (default["provider"], default["available"]) == ("together", True)
        answer = await site.post(PROMPT, PLAN)
        assert answer.json()["request"]["model"] == default["id"]
        assert "key-of-the-tests" not in (await site.get("/api/models")).text


async def test_health_tells_the_state_of_the_parts(site: Site) -> None:
    for path in ("/health", "/api/health"):
        answer = await site.get(path)
        body = answer.json()
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert (body["success"], body["status"], body["redis"], body["workers"]) == (
            False,
            "degraded",
            True,
            0,
        )
        assert body["message"] == "Service is degraded: no worker is running"
        assert body["timestamp"].endswith("Z")
        assert len(body["timestamp"]) == 24
    async with site.core.changes.channel("gn:wake"):
        body = (await site.get("/api/health")).json()
        assert (body["success"], body["message"]) == (True, "Service is healthy")
        site.server.set("gn:fault:builtin", "no credit")
        body = (await site.get("/api/health")).json()
        assert body["faults"] == {"builtin": "no credit"}
        assert body["message"] == "Service is degraded: builtin: no credit"


async def test_the_root_says_where_things_are(site: Site) -> None:
    body = (await site.get("/")).json()
    assert body["generate"] == f"POST {GENERATE}"


async def test_with_public_url_links_are_for_the_public(opened: Open) -> None:
    async with opened(PUBLIC_URL="https://pictures.example/") as site:
        task = await site.make()
        answer = await site.get(task, host="inner:8000")
        url = answer.json()["data"][0]["url"]
        assert url.startswith("https://pictures.example/images/")


async def test_callers_do_not_see_each_others_tasks_where_pictures_are_not_shared(
    opened: Open,
) -> None:
    async with opened(API_KEYS="one,two", CACHE_SCOPE="caller") as site:
        mine = (await site.post(PROMPT, x_api_key="one")).json()["taskId"]
        theirs = (await site.post(PROMPT, x_api_key="two")).json()
        assert (theirs["outcome"], theirs["taskId"] == mine) == ("new", False)
        for answer in (
            await site.get(mine, x_api_key="two"),
            await site.get(f"/api/images/{mine}/events", x_api_key="two"),
            await site.delete(mine, x_api_key="two"),
        ):
            assert error_of(answer) == (404, "not_found", "")
        assert (await site.get(mine, x_api_key="one")).status_code == 200
