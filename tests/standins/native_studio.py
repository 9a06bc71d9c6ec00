"""What the stand-in of the native surface makes: tasks, slots, pictures, and their events."""

import asyncio
import hashlib
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable

from tests.standins.native_rules import Json, Task

FAILS = re.compile(r"\[\[fails ?(\d*)\]\]")


class Studio:
    """Makes pictures; the marks in a prompt are `native.py`'s.

    Args:
        pictures_at: where it says that pictures are; "" for its own url.
    """

    def __init__(self, pictures_at: str) -> None:
        self.pictures_at = pictures_at
        self.url = ""
        self.limit: tuple[int, float] | None = None
        """Tasks that buy in a window of so many seconds."""
        self.bought: Counter[str] = Counter()
        self.tasks: dict[str, Task] = {}
        self.slots: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
        self.leased: defaultdict[str, set[int]] = defaultdict(set)
        self.sharers: defaultdict[str, list[Task]] = defaultdict(list)
        self.makers: set[asyncio.Task[None]] = set()
        self.wait_cap_s = 60.0
        """The longest that an answer waits."""
        self._admitted: deque[float] = deque()
        self._gate = asyncio.Event()
        self._stirred = asyncio.Event()

    def release(self) -> None:
        """Let the [[slow]] ones be made."""
        self._gate.set()

    def forget(self) -> None:
        """Lose every task record, as a flushed Redis does; the pictures stay."""
        self.tasks.clear()

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact that a request or an event makes."""
        while not fact():
            await self._stirred.wait()

    def stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    def refusal_s(self) -> float:
        """0 if one more task is admitted now, else when to come back."""
        if self.limit is None:
            return 0.0
        limit, window_s = self.limit
        now = time.monotonic()
        while self._admitted and self._admitted[0] <= now - window_s:
            self._admitted.popleft()
        if len(self._admitted) >= limit:
            return self._admitted[0] + window_s - now
        self._admitted.append(now)
        return 0.0

    def split(self, series: str, n: int) -> tuple[int, int, int]:
        have = sum(index < n for index in self.slots[series])
        making = sum(index < n for index in self.leased[series])
        return have, making, n - have - making

    def start(self, task: Task) -> None:
        free = set(range(task.n)) - self.leased[task.series] - self.slots[task.series].keys()
        self.leased[task.series] |= free
        maker = asyncio.create_task(self._make(task, sorted(free)))
        self.makers.add(maker)
        maker.add_done_callback(self.makers.discard)

    async def _make(self, task: Task, free: list[int]) -> None:
        prompt = task.body["prompt"]
        fails = FAILS.search(prompt)
        if "[[slow]]" in prompt:
            await self._gate.wait()
        self.note(task, "processing")
        for index in free:
            self.leased[task.series].discard(index)
            if fails and index >= int(fails[1] or 0):
                continue
            self.bought[task.series] += 1
            self.slots[task.series][index] = f"{task.series} {index} ".encode() * 100
            self.note(task, "processing")
        if "[[fewer]]" in prompt:
            self.slots[task.series].popitem()
        for other in self.sharers[task.series]:
            mine = other is task or self.split(task.series, other.n)[2] == 0
            if mine and not other.over:
                self.note(other, "failed" if fails else "completed")

    def note(self, task: Task, status: str) -> None:
        """Add an event to a task's log and wake who waits."""
        task.status = status
        task.log.append(self.snapshot(task))
        self.stir()
        task.news.set()
        task.news = asyncio.Event()

    async def wait_for(self, task: Task, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, self.wait_cap_s)):
                while not task.over and seconds:
                    await task.news.wait()
        except TimeoutError:
            return

    def snapshot(self, task: Task) -> Json:
        filled = sorted(self.slots[task.series].items())
        data = [self.entry(task.series, i, content) for i, content in filled if i < task.n]
        return {
            "success": True,
            "status": task.status,
            "progress": 100 * len(data) // task.n,
            "data": data,
            "message": "The provider failed." if task.status == "failed" else "",
            "code": "provider_failed" if task.status == "failed" else None,
            "attempt": 1,
            "n": task.n,
            "queuePosition": None,
            "estimatedSeconds": None,
            "futureField": {"x": 1},
        }

    def entry(self, series: str, index: int, content: bytes) -> Json:
        digest = hashlib.sha256(content).hexdigest()
        url = f"{self.pictures_at or self.url}/images/{series}-{index}-{digest[:32]}.png"
        facts = {"width": 512, "height": 512, "seed": index, "sha256": digest}
        return {"url": url, "index": index} | facts
