"""`python -m bench`: measure, print a table. A miss fails no run; what cannot be had does."""

import argparse
import contextlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from rich.console import Console

from bench.bulk import bulk
from bench.crowd import crowd
from bench.figure import Figure, as_json, broken, table_of
from bench.hot import cached_posts, distinct_posts, done_gets, running_gets
from bench.idle import watched_idle
from bench.machine import this_machine
from bench.resources import memory_after_load, second_start
from bench.waits import four_pictures, pick_up


class Measure(Protocol):
    """Measures one figure or some that belong together."""

    def __call__(self, *, quick: bool) -> list[Figure]: ...


IDLE = "idle"
MEASURES: Mapping[str, Measure] = {
    "hits": cached_posts,
    "distinct": distinct_posts,
    "done": done_gets,
    "running": running_gets,
    "pickup": pick_up,
    "four": four_pictures,
    "crowd": crowd,
    "bulk": bulk,
    "memory": memory_after_load,
    "start": second_start,
}
WIDTH = 150
"""Of the table where no terminal says how wide it may be."""


def measured(names: Sequence[str], *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """The figures of these names; the idle service is watched while the others are measured."""
    figures: list[Figure] = []
    with contextlib.ExitStack() as stack:
        end_idle = stack.enter_context(watched_idle(quick=quick)) if IDLE in names else None
        for name, measure in MEASURES.items():
            if name in names:
                say(f"measuring {name} ...")
                figures += attempted(name, partial(measure, quick=quick))
        if end_idle:
            say(f"measuring {IDLE} ...")
            figures += attempted(IDLE, end_idle)
    return figures


def attempted(name: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """The figures of one measure; what breaks it does not take the others' away."""
    try:
        return measure()
    except (AssertionError, RuntimeError, OSError) as error:
        traceback.print_exception(error)
        return [broken(name, error)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    names = [*MEASURES, IDLE]
    parser = argparse.ArgumentParser(prog="bench", description="Measures genonce on loopback.")
    parser.add_argument("--only", nargs="+", action="extend", choices=names, metavar="NAME",
                        help=f"measure only these: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few and short rounds: a smoke test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw numbers there")
    given = parser.parse_args(arguments)
    machine = this_machine()
    chosen = given.only or names
    figures = measured(chosen, quick=given.quick, say=lambda text: print(text, file=sys.stderr))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(table_of(figures, machine))
    if given.json:
        given.json.write_bytes(as_json(figures, machine))
    return int(any(figure.is_broken for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
