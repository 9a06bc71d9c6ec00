"""A stand-in ends when its stdin does: with whoever started it, however that went."""

import os
import stat
import threading


def end_with_stdin() -> None:
    """End this process at the end of its stdin, where that is a pipe (not a terminal)."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
