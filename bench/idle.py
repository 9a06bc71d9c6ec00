"""Redis commands of a service that has nothing to do."""

import contextlib
import time
from collections.abc import Callable, Iterator

from bench.figure import Figure
from bench.service import Service, service

DAY_S = 86_400
COMMANDS_A_DAY = 5000
WINDOW_S = 300.0
"""Everything that an idle service does regularly, it does at least once in this time."""
QUICK_S = 20.0
_SETTLE_S = 3.0


@contextlib.contextmanager
def watched_idle(*, quick: bool) -> Iterator[Callable[[], list[Figure]]]:
    """Leave a service alone while other figures are measured; yields what ends the watch."""
    window_s = QUICK_S if quick else WINDOW_S
    with service(workers=1) as own:
        time.sleep(_SETTLE_S)
        before, began = _counts(own), time.monotonic()

        def end() -> list[Figure]:
            time.sleep(max(0.0, began + window_s - time.monotonic()))
            seconds = time.monotonic() - began
            return [_figure(before, _counts(own), seconds)]

        yield end


def _counts(own: Service) -> dict[str, int]:
    """Calls by command, those that scripts make included, but not our own."""
    stats = own.info("commandstats")
    names = {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()}
    return {name: calls for name, calls in names.items() if name not in ("info", "client|setinfo")}


def _figure(before: dict[str, int], after: dict[str, int], seconds: float) -> Figure:
    commands = {
        name: calls - before.get(name, 0)
        for name, calls in after.items()
        if calls > before.get(name, 0)
    }
    a_day = sum(commands.values()) / seconds * DAY_S
    return Figure(
        name=f"idle Redis commands (web, worker; watched {seconds:.0f} s)",
        measured=f"{a_day:,.0f} a day",
        target=f"< {COMMANDS_A_DAY:,} a day",
        ok=a_day < COMMANDS_A_DAY,
        raw={"a_day": a_day, "seconds": seconds, "commands": commands},
    )
