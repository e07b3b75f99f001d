"""The paper's LSTM and MLP, trained as the shipped model is: on the same cells of the same simulated passes.

They take the paper's six features of five cells. Temperature and a bias of the classes are fitted on the same passes as
the shipped model's; the bias goes into the last layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from default_model import Calibration, Cells
from physics_passes import CHOOSE, TRAIN

from is2ice import schema
from is2ice.classifiers.neural import Neural
from is2ice.classifiers.registry import NETWORKS
from is2ice.classifiers.samples import Samples, from_tracks
from is2ice.classifiers.training import one_thread

__all__ = ["make"]

#: Fewer and larger batches than the paper's: there are ten times its samples.
EPOCHS, BATCH, SEED = 8, 128, 15
#: First line of the cards' ``not_for``.
NOT_FOR_USE = "any use but comparison with the paper: most water and thin ice are missed (scores)"


def samples_of(cells: list[Cells]) -> Samples:
    """Windows about the cells to learn from."""
    tracks = []
    for c in cells:
        label = np.where(c.chosen, c.y, schema.UNLABELLED).astype("i1")
        one = c.track.assign(label=("x_atc", label))
        tracks.append(one.assign_attrs(granule=c.case.name, label_scenes=[c.case.name]))
    return from_tracks(tracks, "paper", 2).compute()


def make(learn: list[Cells], held: list[Cells], home: Path) -> dict[str, Neural]:
    """Train both networks and write them with cards that have no scores yet.

    Parameters
    ----------
    learn, held : list of Cells
        Tracks to learn from, and to choose epoch, temperature and bias by.
    home : Path
        Folder of the networks.
    """
    one_thread()
    home.mkdir(parents=True, exist_ok=True)
    train, validation = samples_of(learn), samples_of(held)
    about: dict[str, Any] = {
        "trained_on": {
            "what": "truth of simulated passes, physics drawn for each; no image and no genuine data",
            "passes": [c.name for c in TRAIN],
            "chosen_on": [c.name for c in CHOOSE],
        },
        "data": {
            "samples": len(train),
            "shares": {k: round(v["share"], 4) for k, v in train.balance().items()},
        },
        "releases": ["006", "007"],
        "not_for": [
            NOT_FOR_USE,
            "melt ponds and wet snow (not trained on)",
            "cells without photons, which stay unlabelled",
        ],
    }
    made = {}
    for name in NETWORKS:
        model = Neural.fit(
            train,
            validation,
            name.removeprefix("paper_"),
            epochs=EPOCHS,
            batch=BATCH,
            seed=SEED,
            card=about,
            progress=lambda row: print({k: round(v, 4) for k, v in row.items()}, flush=True),
        )
        _calibrate(model, held)
        made[name] = model.save(home / name, overwrite=True)
    return made


def _calibrate(model: Neural, held: list[Cells]) -> None:
    probability = [model.evaluate(model.features(c.track)).astype("f8") for c in held]
    fitted = Calibration(probability, held).towards_the_rare()
    whole = float(model.card["temperature"]) * float(np.exp(fitted[0]))
    model.card["temperature"] = whole
    model.model.get_layer("logits").bias.assign_add(
        np.array([0.0, fitted[1], fitted[2]], "f4") * np.float32(whole)
    )
