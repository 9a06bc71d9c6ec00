"""`genonce web`: one web process."""

import asyncio

import click
import uvicorn

from genonce import lifeline
from genonce.cli.front import read_settings, said_plainly
from genonce.logs import set_up_logs
from genonce.web_process import check_web, web_app

STREAMS_END_S = 3
"""Open event streams end so long after a stop was asked for; clients come back and resume."""


@click.command()
@click.option("--host", help="Address to bind (HOST, 127.0.0.1).")
@click.option("--port", type=int, help="Port to bind (PORT, 8000).")
@click.option("--child", is_flag=True, hidden=True, help="End when standard input ends.")
def web(host: str | None, port: int | None, child: bool) -> None:
    """Start one web process."""
    settings = read_settings({"HOST": host, "PORT": port})
    set_up_logs(settings.LOG_LEVEL)
    with said_plainly():
        app = web_app(settings)
        asyncio.run(check_web(settings))
    if child:
        lifeline.end_with_parent()
    uvicorn.run(
        app,
        host=settings.HOST,
        port=settings.PORT,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        # X-Forwarded-For is read by our own rules (TRUSTED_PROXIES).
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_S,
    )
