"""`genonce batch` against a real HTTP server of the native surface: verdicts and faults."""

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from genonce.cli.batch import batch
from tests.batch_bench import PROGRAM, Bench, invoke, jsonl, verdicts
from tests.standins.native import NativeService
from tests.standins.native_rules import Fault

pytestmark = pytest.mark.anyio
GENERATE = "POST generate"


@pytest.fixture
async def service() -> AsyncIterator[NativeService]:
    async with NativeService() as service:
        yield service


@pytest.fixture
def bench(service: NativeService, tmp_path: Path) -> Bench:
    return Bench(service, tmp_path)


async def test_each_line_gets_its_verdict_and_each_slot_its_file(bench: Bench) -> None:
    file = bench.file(
        jsonl(
            {"prompt": "a fox", "n": 2},
            {"prompt": "a fox", "n": 2},
            {"prompt": "a fox", "n": 4},
            {"prompt": "[[fails 1]] a hen", "n": 2},
            {"prompt": "[[fewer]] a dog", "n": 3},
            {"prompt": "a cat", "n": 11},
            {"prompt": "a cat", "colour": "red"},
        )
    )
    result = await bench.batch(file)
    words = ["new", "hit", "extended", "failed", "failed", "refused", "refused"]
    assert verdicts(result) == list(enumerate(words, start=1))
    assert result.exit_code == 1
    assert "n has to be from 1 to 10." in result.stdout
    assert "colour is not a field" in result.stdout
    assert "provider_failed: The provider failed." in result.stdout
    assert "Only 2 of 3 pictures came." in result.stdout
    assert "1 hit, 0 joined, 1 extended, 1 new, 2 failed, 2 refused" in result.stdout
    # 2 and 2 foxes, the hen that came before the failure, 2 dogs: paid is paid.
    assert "pictures bought: 7; saved: 7; reused: 4" in result.stdout
    assert bench.pictures() == bench.made()


async def test_a_line_that_another_caller_asked_for_is_joined(
    bench: Bench, service: NativeService
) -> None:
    service.wait_cap_s = 0.01
    first = asyncio.create_task(bench.batch(bench.file("[[slow]] fox\n")))
    await service.until(lambda: bool(service.tasks))
    file = bench.file("[[slow]] fox\n", "again.txt")
    process = await bench.start(file)
    await service.until(lambda: service.count(GENERATE) == 2)
    service.wait_cap_s = 60
    service.release()
    stdout, _ = await process.communicate()
    assert b"joined" in stdout
    assert b"pictures bought: 0" in stdout
    assert (await first).exit_code == process.returncode == 0
    assert service.bought.total() == 1


async def test_the_second_run_is_all_hits_and_fetches_nothing(
    bench: Bench, service: NativeService
) -> None:
    file = bench.file("".join(f"fox {i}\n" for i in range(40)))
    first = await bench.batch(file, "--concurrency", "8")
    assert first.exit_code == 0
    assert "40 new" in first.stdout
    assert "pictures bought: 40; saved: 40; reused: 0" in first.stdout
    second = await bench.batch(file, "--concurrency", "8")
    assert second.exit_code == 0
    assert "40 hit" in second.stdout
    assert "pictures bought: 0; saved: 0; reused: 40" in second.stdout
    assert set(service.downloads.values()) == {1}


async def test_a_model_is_for_the_lines_that_name_none(
    bench: Bench, service: NativeService
) -> None:
    file = bench.file(jsonl({"prompt": "a"}, {"prompt": "b", "model": "own"}))
    await bench.batch(file, "--model", "given")
    assert [task.body["model"] for task in service.tasks.values()] == ["given", "own"]


async def test_equal_lines_at_once_share_task_and_file(
    bench: Bench, service: NativeService
) -> None:
    result = await bench.batch(bench.file("a fox\n" * 30), "--concurrency", "30")
    assert result.exit_code == 0
    assert service.bought.total() == service.downloads.total() == 1
    assert "saved: 1; reused: 29" in result.stdout
    assert len({entry["files"][0] for entry in bench.manifest()}) == 1


async def test_limits_outages_and_cut_lines_are_borne(bench: Bench, service: NativeService) -> None:
    service.fault(
        GENERATE,
        Fault(429, code="rate_limited", ms=1100, headers={"Retry-After": "2"}),
        Fault(503, ms=10),
        Fault(accept=True),
    )
    service.fault("GET picture", Fault(), Fault(502), Fault(429, code="rate_limited", ms=5))
    result = await bench.batch(bench.file("fox\n"))
    assert result.exit_code == 0
    assert "normal wait for the limit: 1.1 s, until " in result.stderr
    # The purchase was made by the sending whose answer was lost.
    assert "pictures bought: 0; saved: 1" in result.stdout
    assert "may be missing in this count" in result.stdout
    assert service.bought.total() == 1


async def test_a_service_that_is_unwell_at_the_start_is_waited_for(
    bench: Bench, service: NativeService
) -> None:
    service.fault("GET health", Fault(503, headers={"Retry-After": "60"}))
    service.fault(GENERATE, Fault(503, ms=10))
    assert (await bench.batch(bench.file("fox\n"))).exit_code == 0


async def test_pictures_that_cannot_be_had_fail_their_line_only(
    bench: Bench, service: NativeService
) -> None:
    service.fault("GET picture", Fault(404, code="image_not_found"), Fault(500))
    result = await bench.batch(bench.file("fox\nhen\ndog\n"))
    assert [word for _, word in verdicts(result)] == ["failed", "failed", "new"]
    assert result.exit_code == 1


async def test_an_error_of_the_service_fails_a_line_only(
    bench: Bench, service: NativeService
) -> None:
    service.fault(GENERATE, Fault(500, code="internal_error"))
    result = await bench.batch(bench.file("fox\nhen\n"))
    assert [word for _, word in verdicts(result)] == ["failed", "new"]


async def test_a_wrong_key_stops_the_batch(bench: Bench, service: NativeService) -> None:
    service.key = "right"
    file = bench.file("fox\n" * 50)
    result = await bench.batch(file, "--api-key", "wrong", "--concurrency", "2")
    assert result.exit_code == 1
    assert "A key is needed." in result.stderr
    assert "GENONCE_API_KEY" in result.stderr
    assert service.count(GENERATE) <= 2
    assert (await bench.batch(file, "--api-key", " right\n")).exit_code == 0


async def test_the_key_and_the_address_come_from_the_environment(
    service: NativeService, bench: Bench
) -> None:
    service.key = "right"
    environ = os.environ | {"GENONCE_URL": service.url, "GENONCE_API_KEY": "right"}
    given = [bench.file("fox\n"), "--out", str(bench.out)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *given, env=environ, stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    assert b"1 new" in stdout


async def test_a_terminal_gets_a_bar_and_a_pipe_the_verdicts(bench: Bench) -> None:
    leader, follower = pty.openpty()
    process = await bench.start(bench.file("fox\nhen\n"), stderr=follower)
    os.close(follower)
    stdout, _ = await process.communicate()
    drawn = os.read(leader, 1 << 16)
    os.close(leader)
    assert process.returncode == 0
    assert b"\x1b[" in drawn
    assert stdout.count(b"new ") == 2
    assert b"\x1b[" not in stdout


@pytest.mark.parametrize(
    "options",
    [
        ["absent.txt", "--out", "out"],
        ["-"],
        ["-", "--out", "out", "--url", "nowhere"],
        ["-", "--out", "out", "--concurrency", "0"],
        ["-", "--out", "out", "--api-key", "schl\u00fcssel"],
    ],
)
async def test_wrong_usage(options: list[str], tmp_path: Path) -> None:
    given = [str(tmp_path / word) if word == "out" else word for word in options]
    assert (await invoke(batch, *given)).exit_code == 2
