"""The worker process's front door: `arq worker.WorkerSettings`."""

import os

from genonce.settings import Settings
from genonce.worker_process import worker_settings

WorkerSettings = worker_settings(Settings.from_env(os.environ))
