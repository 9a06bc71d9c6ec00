"""The web process's front door: `uvicorn --factory genonce.asgi:create_app`."""

import os

from litestar import Litestar

from genonce.settings import Settings
from genonce.web_process import web_app


def create_app() -> Litestar:
    """Build the application from the environment."""
    return web_app(Settings.from_env(os.environ))
