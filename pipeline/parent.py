"""Processes that do work for another one and have no use without it: they end when it ends, however that was."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import connection, parent_process


def serve() -> None:
    """Begins a process of a pool of multiprocessing: it ends with the parent, to which an interrupt is left.

    The process that forked it need not be the parent, so it waits on what multiprocessing says the parent is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_sentinel, daemon=True).start()


def end_with_it() -> None:
    """Ends this process soon after the one that started it; for joblib's, which multiprocessing does not know."""
    threading.Thread(target=_watch_number, args=(os.getppid(),), daemon=True).start()


def _watch_sentinel() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _watch_number(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
