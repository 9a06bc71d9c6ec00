"""What a batch tells its user: a line each verdict, progress and pauses meanwhile, a summary."""

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Self

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from genonce.client_calls import Wait

DONE = ("hit", "joined", "extended", "new")
UNDONE = ("failed", "refused")
NOTE_S = 10.0
"""Shortest time between two notes where there is no terminal to draw on."""
LIMITED = 429
# So that a pause can be read beside it on 80 columns.
BAR_WIDTH = 16


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one line."""

    line: int
    word: str
    """hit, joined, extended, new; failed or refused."""
    task_id: str = ""
    message: str = ""
    """Why not."""
    files: tuple[str, ...] = ()
    bought: int = 0
    saved: int = 0
    resent: bool = False

    @property
    def is_done(self) -> bool:
        """All pictures of the line are in the folder."""
        return self.word in DONE

    def __str__(self) -> str:
        pictures = f"{len(self.files)} {'picture' if len(self.files) == 1 else 'pictures'}"
        facts = " ".join(self.message.split()) or pictures
        return f"{self.line:>6}  {self.word:<8}  {self.task_id or '-':<32}  {facts}"


class Meter:
    """Shows progress and pauses on standard error: a bar on a terminal, else a note now and then.

    Args:
        total: lines, where known.
    """

    def __init__(self, *, total: int | None) -> None:
        self._total = total
        self._done = 0
        self._note_at = {"wait": 0.0, "lines": time.monotonic() + NOTE_S}
        self._waits_until = 0.0
        console = Console(stderr=True)
        self._is_drawn = console.is_terminal
        self._bar = Progress(
            BarColumn(bar_width=BAR_WIDTH),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not self._is_drawn,
            transient=True,
            # Verdicts that go to the same terminal have to go above the bar; others not.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One line has ended."""
        self._done += 1
        if self._is_drawn:
            self._bar.advance(self._task)
            if time.monotonic() > self._waits_until:
                self._bar.update(self._task, description="")
        else:
            self._note("lines", f"{self._done} of {self._total or '?'} lines")

    def waiting(self, wait: Wait) -> None:
        """A pause begins."""
        self._waits_until = time.monotonic() + wait.seconds
        text = pause(wait)
        if self._is_drawn:
            self._bar.update(self._task, description=text)
        elif wait.seconds >= 1:
            self._note("wait", f"{self._done} of {self._total or '?'} lines; {text}")

    def _note(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now >= self._note_at[kind]:
            self._note_at[kind] = now + NOTE_S
            click.echo(text, err=True)


def pause(wait: Wait) -> str:
    """Say how long a pause is, and why."""
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + wait.seconds))
    long = f"{duration(wait.seconds)}, until {until}"
    if wait.error.status == LIMITED:
        return f"normal wait for the limit: {long}"
    return f"trying again in {long}: {wait.error.message}"


class Tally:
    """Counts verdicts."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._bought = self._saved = self._reused = self._resent = 0
        self._started = time.monotonic()

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        self._words[verdict.word] += 1
        self._bought += verdict.bought
        self._saved += verdict.saved
        self._reused += len(verdict.files) - verdict.saved
        # Only where somebody seemed to have asked before us, that may have been ourselves.
        self._resent += verdict.resent and verdict.word in {"joined", "hit"}

    @property
    def all_done(self) -> bool:
        """No line has failed or been refused."""
        return not any(self._words[word] for word in UNDONE)

    def summary(self) -> str:
        """Counts, pictures, time."""
        words = ", ".join(f"{self._words[word]} {word}" for word in (*DONE, *UNDONE))
        spent = duration(time.monotonic() - self._started)
        text = (
            f"{self._words.total()} lines in {spent}: {words}\n"
            f"pictures bought: {self._bought}; saved: {self._saved}; reused: {self._reused}"
        )
        if self._resent:
            text += (
                f"\nThe connection broke while {self._resent} of the lines were asked for; what"
                " was bought for those may be missing in this count."
            )
        return text


def duration(seconds: float) -> str:
    """A time in the two units that matter: 0.4 s, 12 s, 3 min 20 s, 5 h 26 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
