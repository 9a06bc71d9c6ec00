"""`genonce batch`: the files that it reads, and the folder that it fills."""

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from genonce.cli.batch_files import picture_name
from genonce.client_answers import Picture
from tests.batch_bench import Bench, jsonl, verdicts
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


async def test_a_torn_last_line_of_the_manifest_is_dropped(bench: Bench) -> None:
    bench.out.mkdir()
    (bench.out / "manifest.jsonl").write_bytes(b'{"source":"other.txt","line":1}\n{"sour')
    await bench.batch(bench.file("a fox\n"))
    lines = [(entry["source"], entry["line"]) for entry in bench.manifest()]
    assert lines == [("other.txt", 1), ("prompts.txt", 1)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/images/a-0-{'f' * 32}.webp", f"a-0-{'f' * 32}.webp"),
        ("/images/0.jpeg", f"0-{'f' * 32}.jpeg"),
        ("/images/plain?size=2", f"plain-{'f' * 32}.png"),
        ("/images/manifest.jsonl", f"picture-{'f' * 32}.png"),
        ("/images/..", f"picture-{'f' * 32}.png"),
        ("/images/.hidden", f"picture-{'f' * 32}.png"),
        ("/images/..%2f..%2fx.png", f"picture-{'f' * 32}.png"),
        ("/images/a\\b.png", f"picture-{'f' * 32}.png"),
        ("/", f"picture-{'f' * 32}.png"),
    ],
)
def test_a_picture_gets_a_safe_name_with_its_hash(path: str, name: str) -> None:
    assert picture_name(Picture(url=f"http://host{path}", sha256="f" * 64)) == name
