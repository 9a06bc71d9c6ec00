"""The client gets pictures and follows streams, from a real HTTP server with faults."""

from collections.abc import AsyncIterator

import pytest

from genonce.client import GenonceClient
from genonce.client_answers import Answer, Picture
from genonce.client_errors import ServiceError
from tests.standins.native import NativeService
from tests.standins.native_rules import Fault

pytestmark = pytest.mark.anyio
UNKNOWN = "0" * 32


@pytest.fixture
async def service() -> AsyncIterator[NativeService]:
    async with NativeService() as service:
        yield service


@pytest.fixture
async def client(service: NativeService) -> AsyncIterator[GenonceClient]:
    async with GenonceClient(service.url) as client:
        yield client


async def bytes_of(answer: Answer, client: GenonceClient) -> list[bytes]:
    return [await client.fetch(picture) for picture in answer.data]


async def test_pictures_are_fetched_with_the_key_from_the_service_itself() -> None:
    async with (
        NativeService(key="secret") as service,
        GenonceClient(service.url, api_key="secret") as client,
    ):
        answer = await client.complete({"prompt": "a fox", "n": 2})
        contents = await bytes_of(answer, client)
        assert [content[:34].split()[1] for content in contents] == [b"0", b"1"]


async def test_a_name_that_a_proxy_gave_the_service_does_not_matter() -> None:
    """Its pictures are fetched where the service itself was reached."""
    nowhere = "http://127.0.0.1:1"
    async with (
        NativeService(key="secret", pictures_at=nowhere) as service,
        GenonceClient(service.url, api_key="secret") as client,
    ):
        assert await bytes_of(await client.complete({"prompt": "a fox"}), client)


async def test_the_key_goes_to_no_other_origin() -> None:
    async with NativeService() as other, NativeService(key="secret") as service:
        service.pictures_at = other.url
        async with GenonceClient(service.url, api_key="secret") as client:
            answer = await client.complete({"prompt": "a fox"})
            other.slots.update(service.slots)
            service.fault("GET picture", Fault(404, code="image_not_found"))
            assert await bytes_of(answer, client)
    assert [route for route, _, _ in other.seen] == ["GET picture"]
    assert all("secret" not in str(headers) for _, _, headers in other.seen)
    assert all(headers["Authorization"] == "Bearer secret" for _, _, headers in service.seen)


async def test_damaged_bytes_are_refused(client: GenonceClient) -> None:
    answer = await client.complete({"prompt": "a fox"})
    wrong = Picture(url=answer.data[0].url, sha256="0" * 64)
    with pytest.raises(ServiceError) as caught:
        await client.fetch(wrong)
    assert caught.value.code == "picture_damaged"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://host:port/"])
async def test_a_picture_is_fetched_by_http_only(client: GenonceClient, url: str) -> None:
    with pytest.raises(ServiceError):
        await client.fetch(Picture(url=url))


# Events


async def numbers(client: GenonceClient, task_id: str, *, after: int | None) -> list[int]:
    return [event.number async for event in client.events(task_id, after=after)]


async def test_a_stream_cut_at_every_event_loses_and_repeats_nothing(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.complete({"prompt": "a fox", "n": 4})
    total = len(service.tasks[answer.task_id].log)
    service.event_cuts.extend([0, 1, 0, 2, 1])
    events = [event async for event in client.events(answer.task_id, after=0)]
    assert [event.number for event in events] == list(range(1, total + 1))
    assert [len(event.task.data) for event in events][-1] == 4
    assert events[-1].task.status == "completed"
    assert events[-1].task.task_id == answer.task_id
    assert service.count("GET events") > 4


async def test_a_stream_tells_what_happens_while_it_is_open(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.generate({"prompt": "[[slow]] fox", "n": 2})
    seen = []
    async for event in client.events(answer.task_id):
        seen.append(event.task.status)
        service.release()
    assert seen[0] == "pending"
    assert seen[-1] == "completed"


async def test_a_stream_without_a_start_begins_with_the_present(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.complete({"prompt": "a fox", "n": 3})
    total = len(service.tasks[answer.task_id].log)
    assert await numbers(client, answer.task_id, after=None) == [total]


async def test_a_stream_after_the_last_event_ends(
    service: NativeService, client: GenonceClient
) -> None:
    answer = await client.complete({"prompt": "a fox"})
    total = len(service.tasks[answer.task_id].log)
    assert await numbers(client, answer.task_id, after=total) == []


async def test_a_stream_of_an_unknown_task_is_an_error(client: GenonceClient) -> None:
    with pytest.raises(ServiceError) as caught:
        await numbers(client, UNKNOWN, after=None)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
