"""Notes of TensorFlow's compiler to itself, kept off the terminals of users."""

from __future__ import annotations

import os
import re
import sys
import tempfile

from is2ice.errors import require

__all__ = ["start"]

#: Lines of the first compilation, of severity INFO, and the remark that comes before the first of them. No setting
#: keeps them away: they are written before that of TensorFlow is looked at.
_NOTE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I0000 ")


def start() -> None:
    """Let TensorFlow's compiler start now, and pass on all it says on standard error but notes.

    Call it once threads and devices are set; with ``TF_CPP_MIN_LOG_LEVEL=0`` nothing is held back.
    """
    require("tensorflow")
    import tensorflow as tf

    work = tf.function(lambda x: x + 1.0, jit_compile=True)
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0":
        work(tf.zeros(1))
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            work(tf.zeros(1))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            told.seek(0)
            for line in told:
                if not _NOTE.match(line):
                    os.write(2, line)
