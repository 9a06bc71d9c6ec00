"""Limits: who pays what, who is one caller, and when to come back."""

import re

import httpx
import pytest

from genonce.domain.errors import ProviderRejected
from tests.fakes import Answer
from tests.web.conftest import PLAN, PROMPT, Open, Site, error_of


def left(answer: httpx.Response) -> tuple[str, int]:
    """Meter and what is left of it."""
    match = re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert match is not None
    assert int(match[3]) <= 3600
    return match[1], int(match[2])


async def test_only_new_work_costs_the_generate_allowance(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="2/minute", RATE_LIMIT_READ="100/hour") as site:
        new = await site.post(PROMPT)
        assert left(new) == ("generate", 1)
        assert new.headers["ratelimit-policy"] == '"generate";q=2;w=60'
        join = await site.post(PROMPT)
        assert left(join) == ("read", 99)
        assert join.headers["ratelimit-policy"] == '"read";q=100;w=3600'
        await site.work(new.json()["taskId"])
        assert left(await site.post(PROMPT)) == ("read", 98)
        assert left(await site.get(new.json()["taskId"])) == ("read", 97)
        assert left(await site.post({"prompt": "a dog"})) == ("generate", 0)


async def test_a_refusal_says_when_to_come_back_and_charges_nothing(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/minute") as site:
        await site.make()
        before = sorted(site.server.keys())
        answer = await site.post({"prompt": "a dog"})
        assert error_of(answer) == (429, "rate_limited", "")
        assert sorted(site.server.keys()) == before
        wait_s = int(answer.headers["retry-after"])
        assert 0 < wait_s <= 60
        exact_ms = answer.json()["error"]["retryAfterMs"]
        assert wait_s - 1 <= exact_ms / 1000 <= wait_s
        assert left(answer) == ("generate", 0)
        assert answer.headers["ratelimit-policy"] == '"generate";q=1;w=60'
        assert "come back in" in answer.json()["message"]
        zh = await site.post({"prompt": "a dog"}, accept_language="zh")
        assert zh.json()["message"] == "图像生成请求频率过高，请稍后再试"
        hit = await site.post(PROMPT)
        assert (hit.status_code, hit.json()["cached"]) == (202, True)


async def test_reads_have_a_meter_of_their_own(opened: Open) -> None:
    async with opened(RATE_LIMIT_READ="3/minute") as site:
        task = await site.queue()
        for path in (f"/api/images/{task}", "/api/models"):
            assert (await site.get(path)).status_code == 200
        assert (await site.post(PROMPT, PLAN)).status_code == 200
        for answer in (
            await site.get(task),
            await site.get("/api/models"),
            await site.get(f"/api/images/{task}/events"),
            await site.post(PROMPT, PLAN),
            await site.post(PROMPT),
        ):
            assert error_of(answer) == (429, "rate_limited", "")
            assert left(answer) == ("read", 0)
        zh = await site.get(task, accept_language="zh")
        assert zh.json()["message"] == "请求频率过高，请稍后再试"
        assert (await site.post({"prompt": "a dog"})).status_code == 202
        for path in ("/health", "/api/health", "/docs", "/openapi.json"):
            assert (await site.get(path)).status_code == 200


async def test_deletes_cost_the_general_allowance(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERAL="1/minute") as site:
        task = await site.queue()
        assert (await site.delete(task)).status_code == 200
        answer = await site.delete(task)
        assert error_of(answer) == (429, "rate_limited", "")
        assert left(answer) == ("general", 0)
        assert (await site.get(task)).status_code == 200


async def test_the_seeds_names_of_limits_are_taken(opened: Open) -> None:
    given = {"RATE_LIMIT_MAX": "1", "IMAGE_RATE_LIMIT_MAX": "3", "RATE_LIMIT_WINDOW": "120000"}
    async with opened(**given, RATE_LIMIT_GENERATE="", RATE_LIMIT_GENERAL="") as site:
        answer = await site.post(PROMPT)
        assert answer.headers["ratelimit-policy"] == '"generate";q=3;w=120'
        task = answer.json()["taskId"]
        assert (await site.delete(task)).status_code == 200
        assert (await site.delete(task)).status_code == 429


async def test_by_setting_an_image_is_a_unit(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="5/minute", RATE_LIMIT_COST="image") as site:
        task = await site.make(n=3)
        assert left(await site.post({"prompt": "a dog", "n": 2})) == ("generate", 0)
        assert (await site.post(PROMPT | {"n": 4})).status_code == 429
        never = await site.post({"prompt": "a fox", "n": 6})
        assert error_of(never) == (400, "invalid_request", "n")
        assert "ask for fewer images" in never.json()["message"]
        assert (await site.get(task)).status_code == 200


async def test_what_bought_nothing_is_given_back(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/minute") as site:
        task = await site.queue()
        await site.delete(task)
        task = await site.queue(n=2)
        await site.work(task, Answer(error=ProviderRejected("Not this.")))
        assert (await site.post(PROMPT | {"n": 2})).status_code == 429


async def test_a_refused_claim_of_stored_pictures_is_made_free_of_charge(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/hour") as site:
        task = await site.make(n=2)
        site.server.flushall()
        await site.queue(prompt="a dog")
        assert (await site.post({"prompt": "a fox"})).status_code == 429
        answer = await site.post(PROMPT | {"n": 2})
        assert (answer.status_code, answer.json()["taskId"]) == (202, task)
        calls = len(site.provider.calls)
        await site.work(task)
        assert (await site.get(task)).json()["status"] == "completed"
        assert len(site.provider.calls) == calls


# --- who is one caller ----------------------------------------------------------------------


async def admitted(site: Site, forwarded: str | None, prompt: str) -> bool:
    """Whether a new task of a caller is admitted."""
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    answer = await site.post({"prompt": prompt}, **headers)
    assert answer.status_code in (202, 429)
    return answer.status_code == 202


async def test_without_trusted_proxies_an_address_cannot_be_claimed(opened: Open) -> None:
    async with opened(RATE_LIMIT_GENERATE="1/hour", peer="203.0.113.9") as site:
        assert await admitted(site, None, "one")
        assert not await admitted(site, "198.51.100.1", "two")


async def test_a_trusted_proxy_tells_who_asks(opened: Open) -> None:
    given = {"TRUSTED_PROXIES": "loopback, 10.0.0.0/8", "RATE_LIMIT_GENERATE": "1/hour"}
    async with opened(**given) as site:
        assert await admitted(site, "198.51.100.1", "one")
        assert await admitted(site, "198.51.100.2", "two")
        assert not await admitted(site, "198.51.100.1", "three")
        assert not await admitted(site, "6.6.6.6, 198.51.100.1", "four")
        assert not await admitted(site, "6.6.6.7, 198.51.100.2, 10.1.2.3", "five")
        assert await admitted(site, "2001:db8::1", "six")
        assert not await admitted(site, "2001:db8::2", "seven")


async def test_a_key_is_one_caller_wherever_it_comes_from(opened: Open) -> None:
    given = {"API_KEYS": "one,two", "TRUSTED_PROXIES": "loopback", "RATE_LIMIT_GENERATE": "1/hour"}
    async with opened(**given) as site:
        first = await site.post(PROMPT, x_api_key="one", x_forwarded_for="198.51.100.1")
        assert first.status_code == 202
        again = {"x_api_key": "one", "x_forwarded_for": "198.51.100.2"}
        assert (await site.post({"prompt": "a dog"}, **again)).status_code == 429
        assert (await site.post({"prompt": "a dog"}, x_api_key="two")).status_code == 202


@pytest.mark.parametrize("origins", ["", "https://app.example, https://b.example", "*"])
async def test_cors_is_for_the_configured_origins_alone(opened: Open, origins: str) -> None:
    async with opened(CORS_ORIGINS=origins) as site:
        for origin in ("https://app.example", "https://evil.example"):
            is_allowed = origin in origins or origins == "*"
            for answer in (
                await site.post(PROMPT, origin=origin),
                await site.get("0" * 32, origin=origin),
                await site.get("/nowhere", origin=origin),
            ):
                allowed = answer.headers.get("access-control-allow-origin")
                assert (allowed in (origin, "*")) is is_allowed
                exposed = answer.headers.get("access-control-expose-headers", "").lower()
                for name in ("location", "etag", "retry-after", "x-cache", "ratelimit"):
                    assert name in exposed or not is_allowed
                if not origins:
                    assert not [n for n in answer.headers if n.startswith("access-control")]


async def test_cors_preflights_are_answered(opened: Open) -> None:
    async with opened(CORS_ORIGINS="https://app.example", API_KEYS="one") as site:
        headers = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type, idempotency-key",
        }
        answer = await site.http.options("/api/images/generate", headers=headers)
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        methods = answer.headers["access-control-allow-methods"]
        assert all(method in methods for method in ("GET", "POST", "DELETE"))
        allowed = answer.headers["access-control-allow-headers"].lower()
        for name in ("authorization", "content-type", "idempotency-key"):
            assert name in allowed  # a `*` would not cover Authorization
        other = headers | {"origin": "https://evil.example"}
        answer = await site.http.options("/api/images/generate", headers=other)
        assert "access-control-allow-origin" not in answer.headers
