"""The client against a real HTTP server of the native surface, with faults."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from genonce.client import GenonceClient
from genonce.client_calls import Wait
from genonce.client_errors import UNREADABLE, ServiceError
from tests.standins.native import NativeService
from tests.standins.native_rules import Fault

pytestmark = pytest.mark.anyio
GENERATE = "POST generate"
TASK = "GET task"
UNKNOWN = "0" * 32


@pytest.fixture
async def service() -> AsyncIterator[NativeService]:
    async with NativeService() as service:
        yield service


@pytest.fixture
async def client(service: NativeService) -> AsyncIterator[GenonceClient]:
    async with GenonceClient(service.url) as client:
        yield client


async def test_the_first_asking_buys_and_the_second_is_a_hit(
    service: NativeService, client: GenonceClient
) -> None:
    first = await client.complete({"prompt": "a fox", "n": 2})
    second = await client.complete({"prompt": "a fox", "n": 2})
    assert (first.status, first.outcome, first.to_buy, first.bought) == ("completed", "new", 2, 2)
    assert (second.outcome, second.cached, second.bought) == ("hit", True, 0)
    assert [picture.index for picture in second.data] == [0, 1]
    assert first.task_id == second.task_id
    assert service.bought.total() == 2


async def test_generate_answers_at_once_unless_asked_to_wait(
    service: NativeService, client: GenonceClient
) -> None:
    early = await client.generate({"prompt": "[[slow]] fox"})
    assert not early.is_terminal
    service.release()
    assert (await client.generate({"prompt": "[[slow]] fox"}, wait_s=30)).status == "completed"


async def test_a_task_slower_than_the_wait_is_followed_by_long_polls(
    service: NativeService, client: GenonceClient
) -> None:
    service.wait_cap_s = 0.01
    asking = asyncio.create_task(client.complete({"prompt": "[[slow]] fox", "n": 3}))
    await service.until(lambda: service.count(TASK) > 0)
    service.wait_cap_s = 60
    service.release()
    answer = await asking
    assert (answer.status, answer.outcome, answer.bought, answer.n) == ("completed", "new", 3, 3)


async def test_pictures_of_a_failed_task_count_as_bought(client: GenonceClient) -> None:
    answer = await client.complete({"prompt": "[[fails 1]] fox", "n": 3})
    assert (answer.status, answer.code, answer.bought) == ("failed", "provider_failed", 1)


async def test_slots_of_others_do_not_count_as_bought(client: GenonceClient) -> None:
    await client.complete({"prompt": "a fox", "n": 2})
    answer = await client.complete({"prompt": "a fox", "n": 5})
    assert (answer.outcome, answer.to_buy, answer.bought) == ("extended", 3, 3)


async def test_a_key_of_the_callers_own_is_sent_along(
    service: NativeService, client: GenonceClient
) -> None:
    service.fault(GENERATE, Fault(accept=True))
    await client.generate({"prompt": "a fox"}, idempotency_key="order-7")
    assert [headers["Idempotency-Key"] for _, _, headers in service.seen] == ["order-7"] * 2


async def test_the_outcome_of_an_older_service_is_read_from_its_header(
    service: NativeService, client: GenonceClient
) -> None:
    body = '{"taskId": "x", "status": "completed", "data": []}'
    service.fault(GENERATE, Fault(202, headers={"X-Cache": "join"}, body=body))
    assert (await client.generate({"prompt": "a fox"})).outcome == "join"


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_outage_is_borne(
    service: NativeService, client: GenonceClient, status: int
) -> None:
    service.fault(GENERATE, Fault(status, body="<html>proxy</html>"), Fault(status))
    answer = await client.complete({"prompt": "a fox"})
    assert answer.status == "completed"
    assert answer.resent is (status != 503)  # a 503 is said before anything is taken


async def test_waits_are_as_long_as_the_service_says() -> None:
    waits: list[Wait] = []
    async with (
        NativeService() as service,
        GenonceClient(service.url, on_wait=waits.append) as client,
    ):
        service.fault(
            GENERATE,
            Fault(429, code="rate_limited", ms=40, headers={"Retry-After": "1"}),
            Fault(503, ms=30),
        )
        started = time.monotonic()
        await client.complete({"prompt": "a fox"})
        assert time.monotonic() - started >= 0.07
    assert [wait.error.status for wait in waits] == [429, 503]
    assert waits[0].seconds <= 0.04
    assert waits[1].seconds >= 0.025


@pytest.mark.parametrize("after", ["1", "Fri, 31 Dec 2100 23:59:59 GMT"])
async def test_a_wait_beyond_the_deadline_is_not_begun(
    service: NativeService, client: GenonceClient, after: str
) -> None:
    service.fault(GENERATE, Fault(429, headers={"Retry-After": after}))
    started = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        await client.complete({"prompt": "a fox"}, deadline_s=0.9)
    assert caught.value.status == 429
    assert time.monotonic() - started < 0.5


async def test_a_deadline_ends_an_answer_that_does_not_come(client: GenonceClient) -> None:
    with pytest.raises(ServiceError) as caught:
        await client.complete({"prompt": "[[slow]] fox"}, deadline_s=0.05)
    assert caught.value.code == "deadline"


async def test_a_limit_that_names_no_time_is_final(
    service: NativeService, client: GenonceClient
) -> None:
    service.fault(GENERATE, Fault(429, code="rate_limited"))
    with pytest.raises(ServiceError) as caught:
        await client.generate({"prompt": "a fox"})
    assert caught.value.code == "rate_limited"


async def test_those_whom_the_limit_turned_away_stand_in_line(service: NativeService) -> None:
    """All get through, and they do not knock all at once for each free place."""
    service.limit = (2, 0.1)
    async with GenonceClient(service.url) as client:
        asked = (client.complete({"prompt": f"fox {i}"}) for i in range(12))
        answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {"completed"}
    # 12 admitted and 10 turned away once; for each later pair about one more refusal.
    assert service.count(GENERATE) <= 12 + 10 + 12


async def test_one_who_stands_in_line_does_not_keep_it_until_his_pictures_are_made(
    service: NativeService, client: GenonceClient
) -> None:
    service.limit = (1, 0.02)
    asked = [asyncio.create_task(client.complete({"prompt": f"[[slow]] {i}"})) for i in range(5)]
    await service.until(lambda: len(service.tasks) == 5)
    service.release()
    assert {answer.status for answer in await asyncio.gather(*asked)} == {"completed"}


async def test_an_answer_lost_after_acceptance_buys_nothing_twice(
    service: NativeService, client: GenonceClient
) -> None:
    service.fault(GENERATE, Fault(accept=True), Fault())
    answer = await client.complete({"prompt": "a fox", "n": 2})
    assert (answer.status, answer.resent) == ("completed", True)
    assert service.bought.total() == 2


async def test_a_lost_record_is_asked_for_anew(
    service: NativeService, client: GenonceClient
) -> None:
    service.wait_cap_s = 0.01
    asking = asyncio.create_task(client.complete({"prompt": "[[slow]] fox"}))
    await service.until(lambda: service.count(TASK) > 0)
    service.forget()
    service.wait_cap_s = 60
    service.release()
    answer = await asking
    assert (answer.status, answer.outcome, answer.to_buy) == ("completed", "new", 1)
    assert service.bought.total() == 1


@pytest.mark.parametrize(
    ("fields", "field"), [({"prompt": " "}, "prompt"), ({"prompt": "a", "n": 11}, "n")]
)
async def test_a_refusal_is_final_and_names_the_field(
    service: NativeService, client: GenonceClient, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        await client.complete(fields)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert service.count(GENERATE) == 1


async def test_a_service_that_is_not_up_yet_is_waited_for() -> None:
    port = free_port()
    refused = asyncio.Event()
    waits: list[Wait] = []

    def on_wait(wait: Wait) -> None:
        waits.append(wait)
        refused.set()

    async with GenonceClient(f"http://127.0.0.1:{port}", on_wait=on_wait) as client:
        asking = asyncio.create_task(client.complete({"prompt": "a fox"}))
        await refused.wait()
        async with NativeService(port=port):
            answer = await asking
    assert (answer.status, answer.resent) == ("completed", False)
    assert (waits[0].error.status, waits[0].error.code) == (0, "no_answer")


async def test_an_outage_is_borne_only_so_long() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with GenonceClient(url, outage_s=0.2) as client:
        with pytest.raises(ServiceError, match=url) as caught:
            await client.generate({"prompt": "a fox"})
    assert caught.value.status == 0


async def test_what_is_not_genonce_is_told_as_such(
    service: NativeService, client: GenonceClient
) -> None:
    service.fault("GET health", Fault(200, body="<html>hello</html>"))
    with pytest.raises(ServiceError) as caught:
        await client.health()
    assert caught.value.code == UNREADABLE
    service.fault("GET health", Fault(301, headers={"Location": "https://else.where/"}, body="-"))
    with pytest.raises(ServiceError, match=r"https://else\.where/"):
        await client.health()


async def test_a_plan_buys_nothing(service: NativeService, client: GenonceClient) -> None:
    service.price = 0.5
    plan = await client.plan({"prompt": "a fox", "n": 3})
    assert (plan.outcome, plan.slots.to_buy, plan.price.total) == ("new", 3, 1.5)
    assert plan.allowance is None
    assert plan.request == {"prompt": "a fox", "n": 3}
    assert not service.bought


async def test_an_unfinished_task_is_cancelled(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.generate({"prompt": "[[slow]] fox"})
    service.fault("DELETE task", Fault(503, ms=1))
    await client.cancel(answer.task_id)
    assert (await client.task(answer.task_id)).status == "cancelled"


async def test_a_cancel_whose_answer_is_lost_ends_well(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.generate({"prompt": "[[slow]] fox"})
    service.fault("DELETE task", Fault(accept=True), Fault(accept=True))
    await client.cancel(answer.task_id)
    await client.cancel(UNKNOWN)
    assert not service.tasks


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://h:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        GenonceClient(url)


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="API key"):
        GenonceClient(api_key=key)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
