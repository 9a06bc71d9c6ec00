"""`genonce batch` and `genonce plan` against a real HTTP server of the native surface."""

import asyncio
import hashlib
import json
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click
import pytest
from click.testing import CliRunner, Result

from genonce.cli.batch import batch, plan
from tests.standins.native import Fault, NativeService

pytestmark = pytest.mark.anyio
GENERATE = "POST generate"
PROGRAM = "from genonce.cli.batch import batch; batch()"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncIterator[NativeService]:
    async with NativeService() as service:
        yield service


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


class Bench:
    """Runs the commands on files of a folder, through a service."""

    def __init__(self, service: NativeService, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.out = folder / "out"

    def file(self, content: str | bytes, name: str = "prompts.txt") -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    async def batch(self, file: str, *options: str) -> Result:
        # One line at a time, unless a test says otherwise: outcomes depend on the order.
        given = [file, "--out", str(self.out), "--url", self.service.url, "--concurrency", "1"]
        return await invoke(batch, *given, *options)

    async def plan(self, file: str, *options: str) -> Result:
        return await invoke(plan, file, "--url", self.service.url, *options)

    async def start(self, file: str, *options: str, **streams: Any) -> asyncio.subprocess.Process:
        given = [file, "--out", str(self.out), "--url", self.service.url, *options]
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams
        return await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *given, **pipes)

    def has_fetched(self, count: int) -> bool:
        return len(self.service.downloads) >= count

    def opened(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def pictures(self) -> dict[str, str]:
        """The SHA-256 of every picture in the folder."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.out.glob("*.png")
        }

    def manifest(self) -> list[dict[str, Any]]:
        lines = (self.out / "manifest.jsonl").read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    def made(self) -> dict[str, str]:
        """The SHA-256 of every picture of the service, by name."""
        entries = [
            self.service._entry(series, index, content)
            for series, slots in self.service.slots.items()
            for index, content in slots.items()
        ]
        return {entry["url"].rpartition("/")[2]: entry["sha256"] for entry in entries}


@pytest.fixture
def bench(service: NativeService, tmp_path: Path) -> Bench:
    return Bench(service, tmp_path)


async def invoke(command: click.Command, *given: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, command, given)


def verdicts(result: Result) -> list[tuple[int, str]]:
    """Line numbers and verdicts, as printed."""
    words = [line.split() for line in result.stdout.splitlines() if line.startswith(" ")]
    return [(int(word[0]), word[1]) for word in words]


def jsonl(*lines: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


# Verdicts


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


# Files


async def test_a_plain_file_with_mark_crlf_and_blank_lines(bench: Bench) -> None:
    content = b"\xef\xbb\xbf  a fox \r\n\r\n   \r\n# not a comment\r\na \xe2\x80\xa8 line"
    result = await bench.batch(bench.file(content))
    assert result.exit_code == 0
    assert verdicts(result) == [(1, "new"), (4, "new"), (5, "new")]
    prompts = [entry["prompt"] for entry in bench.manifest()]
    assert prompts == ["a fox", "# not a comment", "a \u2028 line"]


async def test_a_line_of_json_among_plain_ones(bench: Bench, service: NativeService) -> None:
    result = await bench.batch(bench.file('a fox\n {"prompt": "a hen", "n": 2}\n{a dog\n'))
    assert verdicts(result) == [(1, "new"), (2, "new"), (3, "refused")]
    assert service.bought.total() == 3


async def test_bad_lines_of_json_are_refused_and_never_bought_as_prompts(
    bench: Bench, service: NativeService
) -> None:
    content = (
        b'{"prompt": "a"}\nplain\n{"prompt": "b"\n[1]\n{"prompt": "\\ud800"}\n\xff\xfe\n'
        b'{"prompt": "c", "seed": NaN}\n{"prompt": "d"}'
    )
    result = await bench.batch(bench.file(content))
    words = ["new", *["refused"] * 6, "new"]
    assert verdicts(result) == list(enumerate(words, start=1))
    assert result.exit_code == 1
    assert sorted(task.body["prompt"] for task in service.tasks.values()) == ["a", "d"]


async def test_a_tsv_with_a_prompt_column(bench: Bench, service: NativeService) -> None:
    content = 'Note\tPrompt\r\nx\t"G I" painted\r\n\r\ny\t{a|b}\r\nz\r\nz\t \r\n'
    result = await bench.batch(bench.file(content))
    words = [(2, "new"), (4, "new"), (5, "refused"), (6, "refused")]
    assert verdicts(result) == words
    prompts = [task.body["prompt"] for task in service.tasks.values()]
    assert prompts == ['"G I" painted', "{a|b}"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"Text\tNote\na\tb\n", "a.txt", "none of them is named Prompt"),
        (b"Text\na\n", "a.tsv", "none of them is named Prompt"),
        ("fox\n".encode("utf-16"), "a.txt", "save it as UTF-8"),
    ],
)
async def test_a_file_in_another_form_is_wrong_usage(
    bench: Bench, service: NativeService, content: bytes, name: str, message: str
) -> None:
    result = await bench.batch(bench.file(content, name))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not service.seen


async def test_a_line_beyond_a_megabyte_is_refused(bench: Bench) -> None:
    result = await bench.batch(bench.file(b"x" * (3 << 20) + b"\nfox\n"))
    assert verdicts(result) == [(1, "refused"), (2, "new")]


@pytest.mark.parametrize("as_file", [True, False])
async def test_standard_input(bench: Bench, as_file: bool) -> None:
    if as_file:
        with bench.opened(bench.file("fox\nhen\n")) as stdin:
            process = await bench.start("-", stdin=stdin)
        stdout, _ = await process.communicate()
    else:
        process = await bench.start("-", stdin=asyncio.subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"fox\n")
        # The first line is done while nobody has written the second.
        assert b"new" in await process.stdout.readline()
        stdout, _ = await process.communicate(b"hen\n")
    assert process.returncode == 0
    assert b"2 lines" in stdout
    assert {entry["source"] for entry in bench.manifest()} == {"stdin"}


# The folder


async def test_the_manifest_says_which_files_are_a_lines(bench: Bench) -> None:
    await bench.batch(bench.file(jsonl({"prompt": "a fox", "n": 2}, {"prompt": "b", "n": 0})))
    fox, bad = bench.manifest()
    assert (fox["source"], fox["line"], fox["verdict"]) == ("prompts.txt", 1, "new")
    assert (fox["prompt"], len(fox["taskId"])) == ("a fox", 32)
    assert sorted(fox["files"]) == sorted(bench.pictures())
    assert (bad["line"], bad["verdict"], bad["files"]) == (2, "refused", [])
    assert "n has to be" in bad["message"]


async def test_the_manifest_keeps_other_files_and_forgets_lines_that_are_gone(
    bench: Bench,
) -> None:
    await bench.batch(bench.file("a\nb\nc\n"), "--concurrency", "3")
    await bench.batch(bench.file("x\n", "other.txt"))
    await bench.batch(bench.file("a\nd\n"))
    lines = [(entry["source"], entry["line"], entry["prompt"]) for entry in bench.manifest()]
    assert lines == [("other.txt", 1, "x"), ("prompts.txt", 1, "a"), ("prompts.txt", 2, "d")]


async def test_a_damaged_file_is_fetched_again(bench: Bench) -> None:
    file = bench.file("a fox\nb\n")
    await bench.batch(file)
    broken = sorted(bench.pictures())[0]
    (bench.out / broken).write_bytes(b"half")
    (bench.out / ".123-0.part").write_bytes(b"half of what a killed batch wrote")
    result = await bench.batch(file)
    assert "saved: 1; reused: 1" in result.stdout
    assert bench.pictures() == bench.made()
    assert not list(bench.out.glob(".*"))


async def test_a_batch_killed_anywhere_leaves_no_half_file_and_goes_on(
    bench: Bench, service: NativeService
) -> None:
    quick = "".join(f"fox {i}\n" for i in range(60))
    file = bench.file(quick + "[[slow]] hen\n" * 3)
    for after in (3, 25, 60):
        process = await bench.start(file, "--concurrency", "4")
        await service.until(partial(bench.has_fetched, after))
        process.kill()
        await process.communicate()
        there = bench.pictures()
        assert there.items() <= bench.made().items()
    fetched = dict(service.downloads)
    service.release()
    result = await bench.batch(file, "--concurrency", "8")
    assert result.exit_code == 0
    assert service.bought.total() == 61
    assert bench.pictures() == bench.made()
    assert {name: service.downloads[name] for name in there} == {
        name: fetched[name] for name in there
    }
    assert [entry["line"] for entry in bench.manifest()] == list(range(1, 64))


async def test_ctrl_c_gives_the_account_so_far(bench: Bench, service: NativeService) -> None:
    process = await bench.start(bench.file("fox\n[[slow]] hen\n"))
    assert process.stdout is not None
    assert b"new" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"stopped before the end: 1 lines" in stdout
    assert b"pictures bought: 1; saved: 1" in stdout
    assert b"Traceback" not in stderr
    assert [entry["line"] for entry in bench.manifest()] == [1]


async def test_a_folder_that_cannot_be_made_is_said(bench: Bench) -> None:
    bench.out.write_text("a file")
    assert (await bench.batch(bench.file("fox\n"))).exit_code == 2
    bench.out = Path("/proc/none/out")
    result = await bench.batch(bench.file("fox\n"))
    assert result.exit_code == 1
    assert "/proc/none" in result.stderr


# Service


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
    assert "waiting 1.1 s" in result.stderr
    assert "limit is used up, which is normal" in result.stderr
    # The purchase was made by the sending whose answer was lost.
    assert "pictures bought: 0; saved: 1" in result.stdout
    assert "may be missing in this count" in result.stdout
    assert service.bought.total() == 1


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


# Plan


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
