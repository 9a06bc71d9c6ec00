"""What the commands share: reading settings, saying plainly why something cannot start."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import click

from genonce.domain.errors import ConfigError
from genonce.settings import Settings


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turn a wrong setting into one clear line and exit status 1."""
    try:
        yield
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def read_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Settings from the environment, with what the command line says over them."""
    given = {name: str(value) for name, value in (overrides or {}).items() if value is not None}
    with said_plainly():
        return Settings.from_env({**os.environ, **given})
