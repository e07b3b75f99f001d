"""What the workers of our local Dask cluster do beyond their work."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from typing import Any

from distributed import WorkerPlugin

__all__ = ["QuietLeave"]


class QuietLeave(WorkerPlugin):
    """Neither Ctrl-C nor closing is a fault of a worker.

    Ctrl-C goes to the whole terminal group, and the driver alone decides what follows.

    A closing worker is told to stop while its heartbeat may be waiting for the scheduler's reply; it then
    closes its connections under it and logs that as an error. Dask tears plugins down before connections:
    from then on that one message says nothing. Before it, a lost scheduler is reported as ever.
    """

    def setup(self, worker: Any) -> None:
        """Called by the worker as it starts, in the thread of its event loop."""
        own = (
            multiprocessing.parent_process() is not None
        )  # else the driver's process, as in a threaded cluster
        if own and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:
        """Called by the worker as it closes."""
        worker.periodic_callbacks["heartbeat"].stop()
        logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    return "during heartbeat" not in str(record.msg)
