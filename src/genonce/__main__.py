"""The command line; each command's module is loaded when it is called."""

from collections.abc import Mapping
from importlib import import_module

import click

from genonce import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("genonce.cli.serve", "Start everything: web, worker, embedded Valkey, local images."),
    "web": ("genonce.cli.web", "Start one web process."),
    "worker": ("genonce.cli.work", "Start one worker process."),
    "settings": ("genonce.cli.show", "Show the effective settings, secrets masked."),
    "plan": ("genonce.cli.batch", "Say what a batch file would do and cost."),
    "batch": ("genonce.cli.batch", "Make every picture of a file."),
}


class LazyGroup(click.Group):
    """Knows its commands by name; `serve` should not wait for what `batch` imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, as listed."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="genonce")
def main() -> None:
    """genonce makes every picture once."""


if __name__ == "__main__":
    main(prog_name="genonce")
