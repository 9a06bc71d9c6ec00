"""`genonce plan` against a real HTTP server of the native surface."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from genonce.cli.batch import plan
from tests.batch_bench import Bench, invoke, jsonl, verdicts
from tests.standins.native import NativeService

pytestmark = pytest.mark.anyio
GENERATE = "POST generate"


@pytest.fixture
async def service() -> AsyncIterator[NativeService]:
    async with NativeService() as service:
        yield service


@pytest.fixture
def bench(service: NativeService, tmp_path: Path) -> Bench:
    return Bench(service, tmp_path)


async def test_a_plan_counts_each_picture_once(bench: Bench, service: NativeService) -> None:
    await bench.batch(bench.file("a fox\n"))
    service.price = 0.003
    service.allowance = {"limit": 2, "remaining": 1, "windowSeconds": 60}
    file = bench.file(
        jsonl(
            {"prompt": "a fox"},
            {"prompt": "a fox", "n": 3},
            {"prompt": "a hen", "n": 2},
            {"prompt": "a hen", "n": 4},
            {"prompt": "a hen", "n": 4},
            {"prompt": "a hen"},
            {"prompt": "a dog"},
            {"prompt": ""},
        )
    )
    bought = service.bought.total()
    result = await bench.plan(file, "--concurrency", "3")
    assert result.exit_code == 0
    assert (
        "8 lines: 1 hit, 0 joined, 2 extended, 2 new, 2 repeated, 0 failed, 1 refused"
        in result.stdout
    )
    assert "pictures to buy: 7" in result.stdout
    assert "price: 0.021 USD" in result.stdout
    assert "1 left of 2 in 1 min 0 s; 4 tasks buy, which takes about 2 min 0 s" in result.stdout
    assert verdicts(result) == [(8, "refused")]
    assert service.bought.total() == bought
    assert service.count(GENERATE) == 1


async def test_a_plan_without_price_and_limit_says_so(bench: Bench) -> None:
    result = await bench.plan(bench.file("fox\nhen\n"))
    assert "price: unknown for 2 pictures" in result.stdout
    assert "allowance: no limit" in result.stdout


async def test_a_service_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The commands do not try for ever where nothing has ever answered."""
    with socket.socket() as probe:  # bound, but nobody listens
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        (tmp_path / "prompts.txt").write_text("fox\n")
        result = await invoke(plan, str(tmp_path / "prompts.txt"), "--url", url)
    assert result.exit_code == 1
    assert f"No answer from {url}" in result.stderr
    assert "genonce serve" in result.stderr
