"""Works out what a batch would buy, cost and take, without buying anything."""

import asyncio
import math
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from genonce.cli.batch_input import Asked, Line
from genonce.cli.batch_report import Verdict, duration
from genonce.cli.batch_run import WORDS, refusal, with_model
from genonce.client import GenonceClient
from genonce.client_answers import Allowance, Plan
from genonce.client_errors import ServiceError

REPEATED = "repeated"
"""Asks for nothing beyond what lines before it ask for."""
VERDICTS = ("hit", "joined", "extended", "new", REPEATED, "failed", "refused")

Planned = Plan | Verdict


async def plan_lines(
    client: GenonceClient,
    lines: AsyncGenerator[Line, None],
    *,
    model: str,
    concurrency: int,
    add: Callable[[Planned], None],
) -> None:
    """Hand on the plan of each line, or why it would be refused, in the order of the lines.

    Raises:
        Stopped, OSError, InputError: in an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        ahead: deque[asyncio.Task[Planned]] = deque()
        async with aclosing(lines):
            async for line in lines:
                ahead.append(group.create_task(_plan(client, line, model=model)))
                if len(ahead) >= concurrency:
                    add(await ahead.popleft())
        while ahead:
            add(await ahead.popleft())


async def _plan(client: GenonceClient, line: Line, *, model: str) -> Planned:
    if not isinstance(line, Asked):
        return Verdict(line=line.number, word="refused", message=line.reason)
    try:
        return await client.plan(with_model(line.fields, model))
    except ServiceError as error:
        return refusal(line, error)


class PlanTally:
    """Adds up plans, each picture once: a series is bought as far as its largest ``n`` asks."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._asked: dict[str, int] = {}
        """Slots that earlier lines buy of each series."""
        self._costs: defaultdict[str, float] = defaultdict(float)
        """Money, by currency."""
        self._unpriced = 0
        self._purchases = 0
        """Tasks that would buy something."""
        self._allowance: Allowance | None = None

    def add(self, planned: Planned) -> None:
        """Count one line."""
        if isinstance(planned, Verdict):
            self._words[planned.word] += 1
            return
        self._allowance = planned.allowance or self._allowance
        before = self._asked.get(planned.series_id, 0)
        more = max(0, planned.slots.to_buy - before)
        if not planned.slots.to_buy:
            self._words[WORDS.get(planned.outcome, planned.outcome)] += 1
        elif not more:
            self._words[REPEATED] += 1
        else:
            self._words["extended" if before else planned.outcome] += 1
            self._buy(planned, before + more, more)

    def _buy(self, plan: Plan, slots: int, more: int) -> None:
        self._asked[plan.series_id] = slots
        self._purchases += 1
        if plan.price.per_image is None:
            self._unpriced += more
        else:
            self._costs[plan.price.currency] += plan.price.per_image * more

    def summary(self) -> str:
        """Counts, pictures to buy, price, allowance."""
        words = ", ".join(f"{self._words[word]} {word}" for word in VERDICTS)
        lines = [
            f"{self._words.total()} lines: {words}",
            f"pictures to buy: {sum(self._asked.values())}",
            f"price: {self._price()}",
            f"allowance: {self._limit()}",
        ]
        return "\n".join(lines)

    def _price(self) -> str:
        parts = [f"{_amount(cost)} {currency}" for currency, cost in sorted(self._costs.items())]
        if self._unpriced:
            parts.append(f"unknown for {self._unpriced} pictures")
        return " + ".join(parts) or "nothing"

    def _limit(self) -> str:
        if self._allowance is None:
            return "no limit"
        limit, window_s = self._allowance.limit, self._allowance.window_seconds
        text = f"{self._allowance.remaining} left of {limit} in {duration(window_s)}"
        beyond = self._purchases - self._allowance.remaining
        if beyond <= 0 or not limit:
            return f"{text}; enough for all {self._purchases} tasks that buy"
        takes = duration(math.ceil(beyond / limit) * window_s)
        return f"{text}; {self._purchases} tasks buy, which takes about {takes} at this limit"


def _amount(cost: float) -> str:
    return f"{cost:.4f}".rstrip("0").rstrip(".")
