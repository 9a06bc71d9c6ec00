"""Parts that end when their parent is gone, even by kill -9.

The parent holds the write end of a pipe that is the child's standard input; when the parent is
gone, however it went, the child reads the end of the file. Run as a program, this is a guardian
for a foreign one: `python -m genonce.lifeline PROGRAM ARGUMENT ...`.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

_KILL_AFTER_S = 40.0


def watch(on_end: Callable[[], None]) -> None:
    """Call ``on_end`` from a thread when standard input ends."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        on_end()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def end_with_parent() -> None:
    """Stop this process gracefully when its parent is gone; by force if that takes too long."""

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        timer = threading.Timer(_KILL_AFTER_S, os._exit, args=(1,))
        timer.daemon = True
        timer.start()

    watch(stop)


def main() -> int:
    """Run a program until it ends or the parent is gone; returns its exit status."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    watch(child.terminate)
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
