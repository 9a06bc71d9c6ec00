"""One figure of the benchmark, and the table of all."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from bench.machine import Machine


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, as people read it and as numbers."""

    name: str
    measured: str
    target: str
    beside_bare: str = ""
    ok: bool
    raw: dict[str, Any]
    """Numbers; their names end in their units."""
    is_broken: bool = False
    """It could not be had."""


def broken(name: str, error: Exception) -> Figure:
    """A figure that could not be had."""
    return Figure(
        name=name,
        measured=f"broke: {type(error).__name__} {error}"[:300],
        target="",
        ok=False,
        raw={},
        is_broken=True,
    )


def table_of(figures: Sequence[Figure], machine: Machine) -> Table:
    """The table of a run."""
    table = Table(title=f"genonce on {machine}", title_justify="left")
    for column in ("figure", "measured", "target", "beside bare", "verdict"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        verdict = Text("ok", "green") if figure.ok else Text("miss", "bold red")
        table.add_row(figure.name, figure.measured, figure.target, figure.beside_bare, verdict)
    return table


def as_json(figures: Sequence[Figure], machine: Machine) -> bytes:
    """The run as numbers."""
    run = {"machine": machine, "figures": figures}
    return msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"


def quantile(values: Sequence[float], ratio: float) -> float:
    """The value that ``ratio`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))]
