"""A plugin for the workers of the local Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from typing import Any

from distributed import WorkerPlugin

__all__ = ["QuietLeave"]


class QuietLeave(WorkerPlugin):
    """Keep workers quiet at Ctrl-C and when they close.

    Ctrl-C goes to the whole terminal group, and the driver alone decides what follows.

    A worker may be asked to close while its heartbeat waits for the scheduler's reply; it then closes its connections
    and logs that as an error. Dask ends plugins before connections: from then on this one message is dropped. Before
    it, a lost scheduler is reported.
    """

    def setup(self, worker: Any) -> None:
        """Ignore Ctrl-C; the worker calls this as it starts, in the thread of its event loop."""
        own = (
            multiprocessing.parent_process() is not None
        )  # else the driver's process, as in a threaded cluster
        if own and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Any) -> None:
        """Drop messages of heartbeats; the worker calls this as it closes."""
        worker.periodic_callbacks["heartbeat"].stop()
        logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    return "during heartbeat" not in str(record.msg)
