"""A claim's outcomes, as callers meet them."""

import pytest

from genonce.domain.errors import (
    GenonceError,
    IdentityConflict,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
    ProviderMisconfigured,
    StoreUnavailable,
    UnknownModel,
)
from genonce.domain.quota import Limit
from genonce.domain.task import (
    ClaimOutcome,
    Collision,
    Hit,
    Join,
    KeyReused,
    New,
    Refused,
    Replayed,
    TaskState,
)
from tests.service.conftest import ANNE, BOB, FIVE, Shop, draft

ONE = Limit(1, 3600)


async def test_the_first_claim_is_new_the_second_joins_the_last_hits(shop: Shop) -> None:
    new = await shop.claim(2)
    assert isinstance(new, New)
    assert (new.missing, new.task.state) == (2, TaskState.QUEUED)
    assert isinstance(await shop.claim(2), Join)
    await shop.make(2)
    hit = await shop.claim(2)
    assert isinstance(hit, Hit)
    assert hit.task.done == 2
    extended = await shop.claim(3)
    assert isinstance(extended, New)
    assert extended.missing == 1


async def test_a_claim_carries_all_that_the_script_needs() -> None:
    shop = Shop(generate_limits=FIVE, read_limits=(ONE,), cost_per_image=True)
    await shop.submit.submit(draft(3), BOB, idempotency_key="order-1")
    [claim] = shop.tasks.claims
    assert claim.identity == shop.identity(3)
    assert (claim.model, claim.owner) == ("maker/painter", "")
    assert (claim.generate.name, claim.generate.caller, claim.generate.limits) == (
        "generate",
        BOB.id,
        FIVE,
    )
    assert (claim.read.name, claim.read.caller, claim.read.limits) == ("read", BOB.id, (ONE,))
    assert (claim.cost_per_image, claim.idempotency_key, claim.covered) == (True, "order-1", False)


async def test_where_pictures_are_not_shared_the_caller_is_part_of_the_identity() -> None:
    shop = Shop(is_shared=False)
    anne, bob = await shop.claim(caller=ANNE), await shop.claim(caller=BOB)
    assert isinstance(bob, New)
    assert anne.task.id != bob.task.id
    assert [claim.owner for claim in shop.tasks.claims] == [ANNE.id, BOB.id]


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"prompt": ""}, InvalidRequest),
        ({"n": 11}, InvalidRequest),
        ({"model": "nobody"}, UnknownModel),
        ({"model": "other/model"}, ProviderMisconfigured),
    ],
)
async def test_a_wrong_draft_is_refused_before_redis_is_asked(
    shop: Shop, fields: dict[str, object], condition: type[GenonceError]
) -> None:
    shop.redis.is_away = True
    with pytest.raises(condition):
        await shop.submit.submit(draft(**fields), ANNE)  # type: ignore[arg-type]
    assert shop.tasks.claims == []


@pytest.mark.parametrize(
    ("outcome", "condition"),
    [
        (KeyReused(), KeyConflict),
        (Collision(), IdentityConflict),
        (Refused("read", ONE, 1, 7.5), LimitExceeded),
        (Refused("generate", ONE, 1, 7.5), LimitExceeded),
        (Refused("generate", ONE, 3, None), InvalidRequest),
    ],
)
async def test_an_outcome_that_is_no_task_is_a_condition(
    shop: Shop, outcome: ClaimOutcome, condition: type[GenonceError]
) -> None:
    shop.tasks.next = [outcome]
    with pytest.raises(condition):
        await shop.claim()


async def test_a_refusal_says_exactly_when_to_come_back(shop: Shop) -> None:
    shop.tasks.next = [Refused("generate", ONE, 1, 7.25)]
    with pytest.raises(LimitExceeded) as refused:
        await shop.claim()
    assert (refused.value.retry_after_s, refused.value.meter) == (7.25, "generate")
    assert refused.value.facts["limit"] == ONE


async def test_a_cost_that_is_never_admitted_names_the_field(shop: Shop) -> None:
    shop.tasks.next = [Refused("generate", Limit(2, 60), 3, None)]
    with pytest.raises(InvalidRequest) as refused:
        await shop.claim(3)
    assert refused.value.field == "n"
    assert "limit of 2 in 60 s" in str(refused.value)


async def test_a_key_replays_its_task(shop: Shop) -> None:
    first = await shop.submit.submit(draft(), ANNE, idempotency_key="order-1")
    again = await shop.submit.submit(draft(), ANNE, idempotency_key="order-1")
    assert isinstance(again, Replayed)
    assert again.task.id == first.task.id
    with pytest.raises(KeyConflict):
        await shop.submit.submit(draft(2), ANNE, idempotency_key="order-1")
    assert isinstance(await shop.submit.submit(draft(3), BOB, idempotency_key="order-1"), New)


async def test_a_refused_claim_of_pictures_that_are_stored_is_made_free_of_charge() -> None:
    shop = Shop(generate_limits=(ONE,))
    await shop.claim(prompt="something else")
    for index in range(2):
        await shop.store(shop.identity(2), index)
    claimed = await shop.claim(2)
    assert isinstance(claimed, New)
    assert [claim.covered for claim in shop.tasks.claims] == [False, False, True]
    assert shop.redis.used["generate", ANNE.id] == 1


@pytest.mark.parametrize("stored", [[], [0], [1]])
async def test_a_refused_claim_of_pictures_that_are_not_all_stored_stays_refused(
    stored: list[int],
) -> None:
    shop = Shop(generate_limits=(ONE,))
    await shop.claim(prompt="something else")
    for index in stored:
        await shop.store(shop.identity(2), index)
    with pytest.raises(LimitExceeded):
        await shop.claim(2)
    assert shop.redis.used["generate", ANNE.id] == 1
    assert len(shop.redis.tasks) == 1


async def test_a_claim_that_is_admitted_does_not_ask_the_image_store(shop: Shop) -> None:
    shop.images.failures["find"] = -1
    assert isinstance(await shop.claim(), New)


async def test_a_refused_read_does_not_ask_the_image_store(shop: Shop) -> None:
    shop.tasks.next = [Refused("read", ONE, 1, 5.0)]
    with pytest.raises(LimitExceeded):
        await shop.claim()
    assert shop.images.found == []


async def test_a_refusal_stays_one_while_the_image_store_is_away() -> None:
    shop = Shop(generate_limits=(ONE,))
    await shop.claim(prompt="something else")
    shop.images.failures["find"] = -1
    with pytest.raises(LimitExceeded):
        await shop.claim()


async def test_redis_away_is_told_and_nothing_is_charged(shop: Shop) -> None:
    shop.redis.is_away = True
    with pytest.raises(StoreUnavailable):
        await shop.claim()
    assert not shop.redis.used
