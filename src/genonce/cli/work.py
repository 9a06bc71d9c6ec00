"""`genonce worker`: one worker process, as `arq worker.WorkerSettings` starts it."""

import click
from arq.worker import run_worker

from genonce import lifeline
from genonce.cli.front import read_settings, said_plainly
from genonce.logs import set_up_logs
from genonce.worker_process import worker_settings


@click.command()
@click.option("--child", is_flag=True, hidden=True, help="End when standard input ends.")
def worker(child: bool) -> None:
    """Start one worker process."""
    settings = read_settings()
    set_up_logs(settings.LOG_LEVEL)
    with said_plainly():
        arq_settings = worker_settings(settings)
    if child:
        lifeline.end_with_parent()
    run_worker(arq_settings)
