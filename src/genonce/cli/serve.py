"""`genonce serve`: everything from one command."""

import time

import click

from genonce.cli.front import read_settings, said_plainly
from genonce.supervisor import Supervisor


@click.command()
@click.option("--host", help="Address to bind (HOST, 127.0.0.1).")
@click.option("--port", type=int, help="Port to bind (PORT, 8000).")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Data folder (DATA_DIR, data).")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes."
)
def serve(host: str | None, port: int | None, data_dir: str | None, workers: int) -> None:
    """Start web, worker, an embedded Valkey and a local image store."""
    began = time.monotonic()
    settings = read_settings({"HOST": host, "PORT": port, "DATA_DIR": data_dir})
    url = f"http://{settings.HOST}:{settings.PORT}"

    def tell() -> None:
        click.echo(
            f"genonce is ready after {time.monotonic() - began:.1f} s: {url}\n"
            f"  API documentation   {url}/docs\n"
            f"  health              {url}/api/health\n"
            f"Try it:\n"
            f"  curl -s {url}/api/images/generate -H 'Content-Type: application/json' "
            f"-H 'Prefer: wait=30' -d '{{\"prompt\":\"a red fox in the snow\"}}'\n"
            f"Ctrl-C stops it."
        )

    with said_plainly():
        Supervisor(settings, workers, tell).run()
