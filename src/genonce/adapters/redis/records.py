"""How tasks, slots and allowances look in the scripts' replies."""

from collections.abc import Sequence
from functools import lru_cache

from genonce.domain.identity import SeriesId, TaskId
from genonce.domain.quota import Allowance, Limit
from genonce.domain.series import Held, Image, Lease, Slot
from genonce.domain.task import Event, Task, TaskState

Reply = bytes | int
US = 1_000_000
_STATES = {state.value.encode(): state for state in TaskState}
_LETTERS = {state.value[0].encode(): state for state in TaskState}
_FACTS = 10
"""Entries of a snapshot before its slots."""


def windows_of(limits: Sequence[Limit]) -> str:
    """Limits as the scripts read them: "amount,us;amount,us"."""
    return ";".join(f"{limit.amount},{limit.window_s * US}" for limit in limits)


def read_allowance(meter: str, reply: Sequence[Reply]) -> Allowance | None:
    """{amount, window_us, left, reset_us}; None where the meter has no limits."""
    if not reply:
        return None
    amount, window, left, reset = (int(part) for part in reply)
    return Allowance(meter, Limit(amount, window // US), max(0, left), max(0, reset) / US)


def filled_record(image: Image) -> str:
    """A filled slot as stored."""
    seed = "" if image.seed is None else image.seed
    return f"f|{image.sha256}|{image.format}|{image.width}|{image.height}|{seed}"


@lru_cache(maxsize=4096)
def read_image(series: SeriesId, index: int, record: bytes) -> Image:
    """A filled slot's record; it never changes, so reading it once is enough."""
    _, sha256, media, width, height, seed = record.decode().split("|")
    return Image(
        series=series,
        index=index,
        sha256=sha256,
        format=media,
        width=int(width),
        height=int(height),
        seed=int(seed) if seed else None,
    )


def read_slot(series: SeriesId, index: int, record: bytes) -> Slot | None:
    """A slot's record in any of its forms; None for an empty one."""
    kind, _, rest = record.partition(b"|")
    match kind:
        case b"f":
            return read_image(series, index, record)
        case b"h":
            return Held(index=index, for_s=int(rest) / 1000)
        case b"l":
            fence, sent, purchases, failures, unknowns = (int(part) for part in rest.split(b"|"))
            return Lease(
                index=index,
                fence=fence,
                sent=bool(sent),
                purchases=purchases,
                failures=failures,
                unknowns=unknowns,
            )
        case _:
            return None


def read_task(
    task_id: TaskId, series: SeriesId, reply: Sequence[bytes], *, places: int
) -> Task | None:
    """A snapshot; None for a succeeded task whose pictures were deleted since.

    Args:
        reply: {state, attempt, n, event, progress, code, message, position, duration, bought,
            slots ...}.
        places: jobs that run at once, for the estimate.
    """
    state = _STATES[reply[0]]
    n = int(reply[2])
    images = tuple(
        read_image(series, index, record) for index, record in enumerate(reply[_FACTS:]) if record
    )
    if state is TaskState.SUCCEEDED and len(images) < n:
        return None
    progress = int(reply[4]) / 1000
    position = int(reply[7]) if reply[7] else None
    return Task(
        id=task_id,
        state=state,
        attempt=int(reply[1]),
        n=n,
        progress=progress,
        event=int(reply[3]),
        images=images,
        code=reply[5].decode(),
        message=reply[6].decode(),
        bought=int(reply[9]),
        position=position,
        estimate_s=_estimate(reply[8], progress, position, places) if reply[8] else None,
    )


def _estimate(average: bytes, progress: float, position: int | None, places: int) -> float:
    """Seconds until done: the rest of this task, after the rounds of those before it."""
    rounds = 0 if position is None else (position - 1) // places
    return round(float(average) * (rounds + 1 - progress), 1)


def read_event(task: Task, number: int, entry: bytes) -> Event:
    """A log entry "state|progress|filled|position|bought", with what the task knows now.

    Filled slots never change, so an event looks the same live and replayed.
    """
    letter, progress, filled, position, bought = entry.split(b"|")
    state = _LETTERS[letter]
    indexes = {int(index) for index in filled.split(b",") if index}
    return Event(
        number,
        Task(
            id=task.id,
            state=state,
            attempt=task.attempt,
            n=task.n,
            progress=int(progress) / 1000,
            event=number,
            images=tuple(image for image in task.images if image.index in indexes),
            code=task.code if state is TaskState.FAILED else "",
            message=task.message if state is TaskState.FAILED else "",
            bought=int(bought),
            position=int(position) if position else None,
        ),
    )
