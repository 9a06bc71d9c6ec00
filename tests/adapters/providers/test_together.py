"""Together against its stand-in, a real HTTP server: what is asked and what comes."""

import asyncio

import pytest

from genonce.adapters.providers.together import MODELS, Together
from genonce.domain.errors import ProviderFailed
from genonce.domain.ports import Provider, Rendered
from tests.adapters.providers.together_calls import KEY, accepted, call, made, opened
from tests.standins.process import StandIn

pytestmark = pytest.mark.anyio


async def test_it_is_a_provider(together: Together) -> None:
    provider: Provider = together
    assert (provider.name, provider.is_free) == ("together", False)
    assert {model.provider for model in MODELS} == {"together"}
    assert KEY not in repr(together)


async def test_the_request_is_exactly_what_the_page_says(
    together: Together, service: StandIn
) -> None:
    await made(together, call("a cat", n=1))
    assert service.stats()["requests"] == [
        {
            "model": "black-forest-labs/FLUX.1-schnell",
            "prompt": "a cat",
            "width": 512,
            "height": 512,
            "n": 1,
            "response_format": "base64",
            "steps": 4,
            "seed": 100,
        }
    ]
    headers = service.stats()["request_headers"][0]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("genonce/")


async def test_optional_parameters_are_sent_where_the_model_has_them(
    together: Together, service: StandIn
) -> None:
    await made(together, call("a", negative_prompt="b", seeds=(None,), steps=2))
    flux2 = "black-forest-labs/FLUX.2-pro"
    (picture,) = await made(together, call("a", model=flux2, format="png", size="1024x768"))
    first, second = service.stats()["requests"]
    assert first["negative_prompt"] == "b"
    assert first["steps"] == 2
    assert "seed" not in first
    assert "output_format" not in first
    assert second["output_format"] == "png"
    assert "steps" not in second
    assert opened(picture.data) == ("PNG", (1024, 768))


async def test_every_model_and_its_bounds_are_accepted(
    together: Together, service: StandIn
) -> None:
    for model in MODELS:
        steps = None if model.steps is None else int(model.steps.high)
        await made(together, call("a", model=model.id, width=256, height=1920, steps=steps))
    assert service.stats()["accepted"] == len(MODELS)


async def test_several_slots_come_from_one_call(together: Together, service: StandIn) -> None:
    pictures = await made(together, call("cats", indexes=(2, 5, 7)))
    assert service.stats()["calls"] == 1
    assert [p.index for p in pictures] == [2, 5, 7]
    assert len({p.data for p in pictures}) == 3
    assert opened(pictures[0].data) == ("JPEG", (512, 512))
    assert [p.seed for p in pictures] == [102, None, None], "of the others nobody says the seed"
    assert {p.provider_request_id for p in pictures} == {"img-00000001"}
    assert all(p.cost_usd is None for p in pictures)


@pytest.mark.parametrize(
    "form",
    [
        "url",
        "url-redirect",
        "gzip",
        "shuffled",
        "no-index",
        "index-from=1",
        "index-from=1]][[shuffled",
    ],
)
async def test_every_form_of_an_answer_gives_the_same_pictures(
    together: Together, service: StandIn, form: str
) -> None:
    asked = call("cats", indexes=(2, 5, 7))
    plain = await made(together, asked)
    service.control(fail=form)
    other = await made(together, asked)
    assert [(p.index, p.data) for p in other] == [(p.index, p.data) for p in plain]


async def test_no_key_goes_to_picture_addresses(together: Together, service: StandIn) -> None:
    await made(together, call("[[url]]"))
    (headers,) = service.stats()["picture_headers"]
    assert "authorization" not in {name.lower() for name in headers}


async def test_a_picture_address_that_fails_twice_is_fetched(together: Together) -> None:
    assert await made(together, call("[[url-fails=2]]"))


async def test_progress_is_told_when_the_answer_begins(
    together: Together, service: StandIn
) -> None:
    told: list[tuple[int, float]] = []
    service.control(gate=True)
    pictures = together.make(call("a", indexes=(0, 3)), lambda *step: told.append(step))
    first = asyncio.ensure_future(anext(pictures))
    await accepted(service)
    assert told == []
    service.release()
    await first
    assert told == [(0, 0.9), (3, 0.9)]
    await pictures.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mark", "kept"),
    [("[[fewer]]", [4, 6]), ("[[nourl]]", [4, 6]), ("[[bad-base64]]", [4, 6])],
)
async def test_good_pictures_come_before_the_failure_of_the_others(
    together: Together, mark: str, kept: list[int]
) -> None:
    got: list[Rendered] = []
    with pytest.raises(ProviderFailed, match="2 of 3 pictures"):
        await made(together, call(mark, indexes=(4, 6, 8)), got)
    assert [picture.index for picture in got] == kept


async def test_a_missing_picture_leaves_its_own_slot_empty(
    together: Together, service: StandIn
) -> None:
    asked = call("cats", indexes=(5, 6, 7))
    whole = await made(together, asked)
    service.control(fail="shuffled]][[fewer")  # the first one is missing
    got: list[Rendered] = []
    with pytest.raises(ProviderFailed):
        await made(together, asked, got)
    assert [(p.index, p.data) for p in got] == [(p.index, p.data) for p in whole[1:]]
