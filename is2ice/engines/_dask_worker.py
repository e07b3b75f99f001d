"""What the workers of our local Dask cluster do beyond their work."""

from __future__ import annotations

import logging
from typing import Any

from distributed import WorkerPlugin

__all__ = ["QuietLeave"]


class QuietLeave(WorkerPlugin):
    """No traceback for a heartbeat cut off by the worker's own closing.

    A closing worker is told to stop while its heartbeat may be waiting for the scheduler's reply; it then
    closes its connections under it and logs that as an error. Dask tears plugins down before connections:
    from then on that one message says nothing. Before it, a lost scheduler is reported as ever.
    """

    def teardown(self, worker: Any) -> None:
        """Called by the worker as it closes."""
        worker.periodic_callbacks["heartbeat"].stop()
        logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    return "during heartbeat" not in str(record.msg)
