"""`genonce batch` and `genonce plan`: a file of prompts through a running service."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from genonce.cli.batch_files import Folder, Manifest
from genonce.cli.batch_input import STDIN, InputError, read_lines
from genonce.cli.batch_plan import Planned, PlanTally, plan_lines
from genonce.cli.batch_report import Meter, Verdict
from genonce.cli.batch_run import BatchRun, Stopped
from genonce.client import GenonceClient
from genonce.client_errors import ServiceError

INTERRUPTED = 130
UNAVAILABLE = 503
GREETING_S = 3.0
"""How long a service that has not answered yet is waited for."""
OUTAGE_S = 900.0
"""How long one that answered before is waited for."""
EXPECTED = (Stopped, ServiceError, InputError, OSError)

Function = TypeVar("Function", bound=Callable[..., None])


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What both commands are given."""

    file: str
    url: str
    api_key: str
    concurrency: int
    model: str


def _given(command: Function) -> Function:
    """The argument and options of both commands."""
    for decorate in (
        click.option("--model", default="", help="For the lines that name no model."),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 500),
            default=8,
            show_default=True,
            help="Lines at work at once.",
        ),
        click.option(
            "--api-key",
            envvar="GENONCE_API_KEY",
            default="",
            show_envvar=True,
            help="Key for the service; others on this machine can read a command line, so rather"
            " set the variable.",
        ),
        click.option(
            "--url",
            envvar="GENONCE_URL",
            default="http://127.0.0.1:8000",
            show_default=True,
            show_envvar=True,
            help="Address of the service.",
        ),
        click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True)),
    ):
        command = decorate(command)
    return command


@click.command()
@_given
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the pictures; made if it is not there.",
)
def batch(out: Path, **given: Any) -> None:
    """Get the pictures of every line of FILE into a folder.

    FILE ("-": standard input) is UTF-8 text in one of three forms. A first row of tab-separated
    names with Prompt among them makes it TSV, of which only that column counts. Else a line that
    starts with { is a JSON object of request fields (prompt, n, model, width, ...) and any other
    line a prompt; a file whose first line is JSON has to go on so. Blank lines are skipped.

    A verdict a line goes to standard output, as lines end: hit (was there), joined (was being
    made), extended (some were there), new; failed or refused, with the reason. The folder gets one
    file a picture - lines that share a picture share its file - and manifest.jsonl, which says
    what became of each line and which files are its.

    Can be stopped at any time and run again: nothing is bought twice, and pictures that are in
    the folder are not fetched again. When the service's limit is used up, waits as it says.

    Exit status: 0 if every line is done, 1 if not, 2 for wrong usage, 130 after Ctrl-C.
    """
    _leave(_batch(Given(**given), out))


@click.command()
@_given
def plan(**given: Any) -> None:
    """Say what a batch of FILE would buy, cost and take; buys nothing.

    FILE is as for `genonce batch`. Each picture counts once, however many lines ask for it: lines
    that ask for nothing more than those before are `repeated`. Lines that would be refused are
    shown. The exit status is 0 unless the service cannot be asked.
    """
    _leave(_plan(Given(**given)))


async def _batch(given: Given, out: Path) -> bool:
    """Run a batch; True if every line is done."""
    total = await _count(given.file)
    folder = Folder(out)
    source = "stdin" if given.file == STDIN else Path(given.file).name
    with Meter(total=total) as meter:
        async with _service(given, meter) as client:
            run = BatchRun(
                client=client,
                folder=folder,
                manifest=Manifest(folder, source=source),
                meter=meter,
                model=given.model,
            )
            with _account(run) as ended:
                ended.append(await run.run(read_lines(given.file), concurrency=given.concurrency))
    return run.tally.all_done


@contextlib.contextmanager
def _account(run: BatchRun) -> Iterator[list[int]]:
    """Give account of a run however it ends; takes the number of its last line if it got there."""
    ended: list[int] = []
    try:
        yield ended
    finally:
        run.manifest.finish(lines=ended[0] if ended else None)
        click.echo(("" if ended else "stopped before the end: ") + run.tally.summary())
        if not ended:
            click.echo("Run the same command again to go on.")


async def _plan(given: Given) -> bool:
    """Plan a batch; always True."""
    tally = PlanTally()

    def add(planned: Planned) -> None:
        if isinstance(planned, Verdict):
            click.echo(str(planned))
        tally.add(planned)
        meter.advance()

    with Meter(total=await _count(given.file)) as meter:
        async with _service(given, meter) as client:
            await plan_lines(
                client,
                read_lines(given.file),
                model=given.model,
                concurrency=given.concurrency,
                add=add,
            )
    click.echo(tally.summary())
    return True


@contextlib.asynccontextmanager
async def _service(given: Given, meter: Meter) -> AsyncIterator[GenonceClient]:
    """A client of a service that answers."""
    try:
        client = GenonceClient(
            given.url,
            api_key=given.api_key.strip(),
            connections=2 * given.concurrency,
            outage_s=OUTAGE_S,
            on_wait=meter.waiting,
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    async with client:
        await _greet(client)
        yield client


async def _greet(client: GenonceClient) -> None:
    """Find out before the first line whether the address is right."""
    try:
        await client.health(deadline_s=GREETING_S)
    except ServiceError as error:
        # It is there, and says that it is not well just now: the lines will wait for it.
        if error.status == UNAVAILABLE:
            return
        raise Stopped(
            f"{error.message}\nIs the service up? `genonce serve` starts one here; --url or"
            " GENONCE_URL names another."
        ) from error


async def _count(path: str) -> int | None:
    """Lines of a file, where it can be read twice; also finds early that it cannot be used."""
    if path == STDIN or not stat.S_ISREG(os.stat(path).st_mode):
        return None
    return sum([1 async for _ in read_lines(path)])


def _leave(work: Coroutine[Any, Any, bool]) -> None:
    """Run the work and end the process with the status that it earned."""
    try:
        sys.exit(0 if asyncio.run(work) else 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (*EXPECTED, ExceptionGroup) as error:
        cause = _cause(error)
        if isinstance(cause, InputError):
            raise click.UsageError(str(cause)) from error
        if isinstance(cause, EXPECTED):
            raise click.ClickException(str(cause)) from error
        raise


def _cause(error: Exception) -> Exception:
    """The first error in groups of groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
