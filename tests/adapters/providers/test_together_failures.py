"""Together against its stand-in: what each failure means for the money, and what is said of it."""

import asyncio
import socket
from contextlib import closing
from typing import Any

import pytest

from genonce.adapters.providers.together import Together
from genonce.domain.errors import (
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    ProviderFailed,
    ProviderLimited,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from tests.adapters.providers.together_calls import KEY, accepted, call, closing_provider, made
from tests.adapters.raw_server import CUT, http, raw_server
from tests.standins.process import StandIn

pytestmark = pytest.mark.anyio

MEANINGS: dict[str, type[ProviderError]] = {
    "[[400]]": ProviderRejected,
    "[[404]]": ProviderRejected,
    "[[413]]": ProviderRejected,
    "[[422]]": ProviderRejected,
    "[[nsfw]]": ProviderRejected,
    "[[401]]": ProviderMisconfigured,
    "[[402]]": ProviderMisconfigured,
    "[[403]]": ProviderMisconfigured,
    "[[408]]": OutcomeUnknown,
    "[[429]]": ProviderLimited,
    "[[503]]": ProviderUnavailable,
    "[[529]]": ProviderUnavailable,
    "[[500]]": ProviderFailed,
    "[[502]]": OutcomeUnknown,
    "[[html]]": OutcomeUnknown,
    "[[504]]": OutcomeUnknown,
    "[[520]]": OutcomeUnknown,
    "[[524]]": OutcomeUnknown,
    "[[307 location=https://127.0.0.1/]]": ProviderFailed,
    "[[cut]]": OutcomeUnknown,
    "[[cut-before]]": OutcomeUnknown,
    "[[half]]": OutcomeUnknown,
    "[[truncated-json]]": ProviderFailed,
    "[[not-json]]": ProviderFailed,
    "[[nourl]]": ProviderFailed,
    "[[bad-base64]]": ProviderFailed,
    "[[empty-bytes]]": ProviderFailed,
    "[[fewer]]": ProviderFailed,
    "[[url-expired]]": ProviderFailed,
    "[[url-loop]]": ProviderFailed,
    "[[url-redirect-private]]": ProviderFailed,
    "[[url-private]]": ProviderFailed,
    "[[url]][[empty-bytes]]": ProviderFailed,
}


@pytest.mark.parametrize("mark", MEANINGS)
async def test_what_each_failure_means(together: Together, service: StandIn, mark: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await made(together, call(mark))
    assert type(caught.value) is MEANINGS[mark]
    for secret in (KEY, KEY[7:15], "127.0.0.1", "http:", "imgproxy", "<html>"):
        assert secret not in str(caught.value)
    stats = service.stats()
    assert stats["calls"] == (0 if mark == "[[cut-before]]" else 1), "one call, never sent again"
    if not isinstance(caught.value, OutcomeUnknown | ProviderFailed):
        assert stats["accepted"] == 0
    assert stats["private_hits"] == 0


ODD_BODIES = {
    "empty": b"",
    "null": b"null",
    "no data": b"{}",
    "no pictures": b'{"data":[]}',
    "null pictures": b'{"data":[null,null]}',
    "numbers": b'{"data":[1]}',
    "an error": b'{"error":{"message":"odd"}}',
    "not UTF-8": b'{"data":[{"url":"\xff"}]}',
    "half a character": rb'{"data":[{"url":"\ud800"}]}',
    "nested without end": b'{"data":[{"index":' + b"[" * 100_000,
    "a number for bytes": b'{"data":[{"b64_json":5}]}',
    "not ASCII for bytes": '{"data":[{"b64_json":"\u00e9"}]}'.encode(),
    "not an address": b'{"data":[{"url":"::::"}]}',
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
async def test_a_whole_answer_without_use_has_failed(body: bytes) -> None:
    async with raw_server(http(body)) as server, closing_provider(server.url) as together:
        with pytest.raises(ProviderFailed):
            await made(together, call("a"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        http(body, status="400 Bad Request")
        for body in (b"", b'{"error":"\xff"}', b'{"error":' + b"[" * 99_999, b"[" * 60_000)
    ]
    + [[http(b"x" * 50, status="400 Bad Request")[:-10], CUT]],
    ids=["empty", "not UTF-8", "too long", "nested", "cut"],
)
async def test_a_refusal_without_readable_reason_is_still_one(answer: Any) -> None:
    async with raw_server(answer) as server, closing_provider(server.url) as together:
        with pytest.raises(ProviderRejected, match="HTTP 400, without a reason"):
            await made(together, call("a"))


async def test_a_key_of_odd_letters_is_for_the_service_to_refuse() -> None:
    refused = http(b"{}", status="401 Unauthorized")
    async with raw_server(refused) as server, closing_provider(server.url, key="clé") as together:
        with pytest.raises(ProviderMisconfigured):
            await made(together, call("a"))
    assert "Bearer clé".encode() in server.requests[0]


async def test_silence_after_sending_is_an_unknown_outcome(service: StandIn) -> None:
    async with closing_provider(service.url, read_s=0.2) as together:
        with pytest.raises(OutcomeUnknown):
            await made(together, call("[[slow=0.5]]"))
    assert service.stats()["accepted"] == 1


async def test_nobody_there_means_not_accepted() -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with closing_provider(f"http://127.0.0.1:{port}") as together:
        with pytest.raises(ProviderUnavailable):
            await made(together, call("a"))


@pytest.mark.parametrize(
    ("mark", "wait_s"),
    [
        ("[[429]]", None),
        ("[[429 retry-after=2]]", 2.0),
        ("[[503 retry-after=1.5]]", 1.5),
        ("[[529 retry-after-ms=250]]", 0.25),
        (
            "[[429 date=Wed,~21~Oct~2026~07:28:00~GMT retry-after=Wed,~21~Oct~2026~07:28:09~GMT]]",
            9.0,
        ),
    ],
)
async def test_when_to_come_back(together: Together, mark: str, wait_s: float | None) -> None:
    with pytest.raises(NotAccepted) as caught:
        await made(together, call(mark))
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("[[nsfw]]", "Together refuses the request: NSFW content detected in the prompt"),
        ("[[401]]", "Together refuses the key: check TOGETHER_API_KEY."),
        ("[[402]]", "The account of TOGETHER_API_KEY has no credit left at Together."),
        ("[[403]]", "The key in TOGETHER_API_KEY has no permission for this at Together."),
        ("[[fewer]]", "Together gave 0 of 1 pictures."),
        ("[[url-expired]]", "Together gave 0 of 1 pictures. The picture could not be fetched."),
    ],
)
async def test_messages_say_what_to_do(together: Together, mark: str, message: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await made(together, call(mark))
    assert str(caught.value) == message


async def test_a_key_that_the_service_says_back_is_not_shown(
    together: Together, service: StandIn
) -> None:
    service.control(fail=f"400 message=key~{KEY}~at~https://inner/~is~wrong")
    with pytest.raises(ProviderRejected) as caught:
        await made(together, call("a"))
    assert str(caught.value) == "Together refuses the request: key *** at *** is wrong"


async def test_bytes_that_are_no_picture_are_left_to_the_inspector(together: Together) -> None:
    (picture,) = await made(together, call("[[wrong-bytes]]"))
    assert picture.data == b"not a picture"


async def test_an_answer_over_the_cap_has_failed(together: Together) -> None:
    with pytest.raises(ProviderFailed, match="too large"):
        await made(together, call("[[big=19]]"))
    assert len(await made(together, call("[[big=17]]"))) == 1


async def test_cancelling_ends_the_call(together: Together, service: StandIn) -> None:
    service.control(gate=True)
    task = asyncio.create_task(made(together, call("a")))
    await accepted(service)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_faults_for_the_first_calls_only(together: Together, service: StandIn) -> None:
    asked = call("[[500 times=1]] [[429 retry-after=0 times=2]]")
    for condition in (ProviderLimited, ProviderLimited):
        with pytest.raises(condition):
            await made(together, asked)
    assert await made(together, asked)
    assert service.stats()["by_prompt"] == {asked.request.prompt: 1}
    assert service.stats()["calls_by_prompt"] == {asked.request.prompt: 3}
