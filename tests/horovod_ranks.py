"""One rank of a training under ``horovodrun``, for ``test_horovod.py``: prints what it saw as JSON.

Usage: horovodrun -np 2 python tests/horovod_ranks.py FOLDER [EPOCH AT WHICH THE LAST RANK IS KILLED, 0 FOR NONE]
       [STEPS BETWEEN AVERAGES]
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

from is2ice.classifiers import architectures, training
from is2ice.classifiers.replicas import launched
from is2ice.classifiers.samples import Samples, from_tracks
from is2ice.workflows.train import labelled_tracks


class Doomed:
    """The last rank dies when an epoch is over for it, as a node may."""

    def __init__(self, replicas, kill_at: int) -> None:
        self.replicas, self.kill_at, self.epochs = replicas, kill_at, 0

    def __getattr__(self, name: str):
        return getattr(self.replicas, name)

    def total(self, values):
        summed = self.replicas.total(values)
        if "confusion" in values:
            self.epochs += 1
            if self.epochs == self.kill_at and self.replicas.rank == self.replicas.size - 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return summed


def read_share(folder: Path, replicas) -> tuple[list[str], str]:
    """Read this rank's share of a labelled store, with an access key that the server can tell by its rank."""
    os.environ["AWS_ACCESS_KEY_ID"] = f"rank-{replicas.rank}"
    tracks = labelled_tracks((folder / "labelled.txt").read_text(), replicas=replicas)
    samples = from_tracks(tracks, replicas=replicas)
    return [f"{t.granule}/{beam}" for t in tracks for beam in t["beam"].values], digest(samples)


def digest(samples: Samples) -> str:
    """Checksum of all that samples hold."""
    parts = [np.asarray(samples.compute().x), samples.y, samples.track, samples.x_atc]
    return hashlib.sha256(
        b"".join(map(np.ndarray.tobytes, parts)) + repr((samples.tracks, samples.scenes)).encode()
    ).hexdigest()


def main(folder: Path, kill_at: int = 0, every: int = 1) -> None:
    replicas = launched()
    reads = not kill_at and (folder / "labelled.txt").exists()
    own, samples = read_share(folder, replicas) if reads else ([], "")
    data = np.load(folder / "data.npz", allow_pickle=False)
    train, held = (data["x"], data["y"]), (data["x_held"], data["y_held"])
    # Different first weights on purpose: the root's must win.
    model = architectures.build("mlp", 3, 2, units=16, dropout=0.1, seed=replicas.rank)
    history = training.fit(
        model,
        train,
        held,
        epochs=6,
        class_weights="balanced",
        average_every=every,
        checkpoint=folder / f"checkpoint-{'root' if replicas.is_root else replicas.rank}.npz",
        replicas=Doomed(replicas, kill_at) if kill_at else replicas,
    )
    seen = {
        "rank": replicas.rank,
        "size": replicas.size,
        "shard": replicas.shard(len(train[1])).tolist(),
        "held": replicas.shard(len(held[1]), equal=False).tolist(),
        "weights": hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.weights)).hexdigest(),
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs],
        "resumed_at": history.resumed_at,
        "card": history.card(),
        "own": own,
        "samples": samples,
        "accuracy": float(np.mean(model(held[0]).numpy().argmax(1) == held[1])),
    }
    (folder / f"rank-{replicas.rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
