"""`genonce settings`: what is in force."""

import click
from rich.console import Console
from rich.table import Table

from genonce.cli.front import read_settings


@click.command()
def settings() -> None:
    """Show the effective settings, secrets masked."""
    table = Table("variable", "value", box=None)
    for name, value in read_settings().shown().items():
        table.add_row(name, value)
    Console().print(table)
