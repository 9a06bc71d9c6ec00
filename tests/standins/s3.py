"""An S3 server (moto) in a process of its own, on a free loopback port.

Usage: python tests/standins/s3.py BUCKET...
Prints "ready http://127.0.0.1:PORT" once the buckets are there; ends when its stdin does.
"""

import http.client
import logging
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class OneAtATime:
    """moto looks whether a name is free and then takes it; S3 does that in one step."""

    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app
        self.lock = threading.Lock()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        with self.lock:
            return self.app(environ, start_response)


def make(bucket: str, *, port: int) -> None:
    """Make a bucket; names have three letters or more."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{bucket}")
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"no bucket {bucket!r}: {answer.read()!r}")
    connection.close()


def main(buckets: list[str]) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for bucket in buckets:
        make(bucket, port=server.server_port)
    sys.stdout.write(f"ready http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
