"""Runs a batch: a few lines at a time through the service, their pictures into the folder."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import click

from genonce.cli.batch_files import Entry, Folder, Manifest
from genonce.cli.batch_input import Asked, Fields, Line, Unreadable
from genonce.cli.batch_report import Meter, Tally, Verdict
from genonce.client import GenonceClient
from genonce.client_answers import Answer, Picture
from genonce.client_errors import UNREADABLE, ServiceError

WORDS = {"hit": "hit", "join": "joined", "replay": "joined", "extended": "extended"}
"""Outcomes as verdicts; any other is new."""
KEY_REFUSED = frozenset({401, 403})
OUTAGE = frozenset({0, 502, 503, 504})
"""What the client gives up on only after a long time."""
CALLER_ENDS = 500
"""From this status on the fault is not the caller's."""
PROMPT_MAX = 1000
"""Characters of an unreadable line that the manifest keeps."""


class Stopped(Exception):
    """What is wrong is not one line's: the others would fare the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """Everything that one batch uses.

    Attributes:
        client: of the service.
        folder: gets the pictures.
        manifest: gets an entry a line.
        meter: shows the progress.
        tally: counts the verdicts.
        model: for the lines that name none; "" for the service's default.
    """

    client: GenonceClient
    folder: Folder
    manifest: Manifest
    meter: Meter
    model: str = ""
    tally: Tally = field(default_factory=Tally)

    async def run(self, lines: AsyncGenerator[Line, None], *, concurrency: int) -> int:
        """Work through the lines, ``concurrency`` at a time; never holds more than a few.

        Returns:
            Number of the last line.

        Raises:
            Stopped, OSError, InputError: in an ExceptionGroup; the rest was not tried.
        """
        queue: asyncio.Queue[Line | None] = asyncio.Queue(maxsize=concurrency)
        last = 0
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._work(queue))
            async with aclosing(lines):
                async for line in lines:
                    last = line.number
                    await queue.put(line)
            for _ in range(concurrency):
                await queue.put(None)
        return last

    async def _work(self, queue: asyncio.Queue[Line | None]) -> None:
        while (line := await queue.get()) is not None:
            verdict = await self._verdict(line)
            self.manifest.add(_entry(line, verdict, source=self.manifest.source))
            self.tally.add(verdict)
            click.echo(str(verdict))
            self.meter.advance()

    async def _verdict(self, line: Line) -> Verdict:
        match line:
            case Unreadable():
                return Verdict(line=line.number, word="refused", message=line.reason)
            case Asked():
                try:
                    answer = await self.client.complete(with_model(line.fields, self.model))
                except ServiceError as error:
                    return refusal(line, error)
                return await self._collect(line, answer)

    async def _collect(self, line: Asked, answer: Answer) -> Verdict:
        """Save the pictures there are, also of a failed task: they are paid."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(picture)) for picture in answer.data]
        outcomes = [task.result() for task in tasks]
        kept = [outcome for outcome in outcomes if not isinstance(outcome, ServiceError)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
        message = _shortcoming(answer, errors)
        return Verdict(
            line=line.number,
            word="failed" if message else WORDS.get(answer.outcome, "new"),
            task_id=answer.task_id,
            message=message,
            files=tuple(name for name, _ in kept),
            bought=answer.bought,
            saved=sum(was_fetched for _, was_fetched in kept),
            resent=answer.resent,
        )

    async def _keep(self, picture: Picture) -> tuple[str, bool] | ServiceError:
        try:
            return await self.folder.keep(picture, self.client.fetch)
        except ServiceError as error:
            stop_if_general(error)
            return error


def with_model(fields: Fields, model: str) -> Fields:
    """The fields, with a model if they name none."""
    return {"model": model} | fields if model else fields


def stop_if_general(error: ServiceError) -> None:
    """Raise Stopped for what is not one line's fault: the key, the address, an outage."""
    if error.status in KEY_REFUSED:
        raise Stopped(f"{error.message} (give the key by --api-key or GENONCE_API_KEY)")
    if error.status in OUTAGE or error.code == UNREADABLE:
        raise Stopped(error.message)


def refusal(line: Asked, error: ServiceError) -> Verdict:
    """The verdict on a line that got an error instead of a task."""
    stop_if_general(error)
    about = f"{error.field}: " if error.field and error.field not in error.message else ""
    return Verdict(
        line=line.number,
        word="refused" if error.status < CALLER_ENDS else "failed",
        message=about + error.message,
    )


def _shortcoming(answer: Answer, errors: list[ServiceError]) -> str:
    """Why a finished task is not all that was asked for; "" if it is."""
    if answer.status != "completed":
        code = f"{answer.code}: " if answer.code else ""
        return code + (answer.message or answer.status)
    if errors:
        return errors[0].message
    if len(answer.data) < answer.n:
        return f"Only {len(answer.data)} of {answer.n} pictures came."
    return ""


def _entry(line: Line, verdict: Verdict, *, source: str) -> Entry:
    text = line.text[:PROMPT_MAX] if isinstance(line, Unreadable) else line.fields.get("prompt", "")
    return Entry(
        source=source,
        line=line.number,
        verdict=verdict.word,
        prompt=str(text),
        task_id=verdict.task_id,
        files=verdict.files,
        message=verdict.message,
    )
