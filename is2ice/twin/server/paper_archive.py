"""Simulated coincident passes and images under the names of real ones: what a recipe finds in the archives, offline."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from is2ice.twin.icesat2.atl03 import make_granule
from is2ice.twin.icesat2.atl07 import make_atl07
from is2ice.twin.icesat2.atl10 import make_atl10
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene

__all__ = ["SimulatedPair", "make_pair"]


@dataclass(frozen=True)
class SimulatedPair:
    """A pass and an image to simulate, as plain values that travel to a worker.

    Attributes
    ----------
    granule : str
        Beginning of the granule's name, up to cycle and region: ``ATL03_20191103184432_05780510``.
    scene_time : str
        UTC of the image.
    folder : str
        Folder of the archive; the pair gets a folder of its own in it.
    length_km, size_km : float
        Length of the pass and side of the image.
    beams : tuple of str
    seed : int
    overcast : bool
        Close the sky over the image (not over the pass).
    """

    granule: str
    scene_time: str
    folder: str
    length_km: float = 60.0
    size_km: float = 20.0
    beams: tuple[str, ...] = ("gt1r", "gt2r")
    seed: int = 1
    overcast: bool = False

    def __str__(self) -> str:
        return self.granule

    @property
    def place(self) -> Path:
        """Folder of the pair."""
        return Path(self.folder) / self.granule


def make_pair(pair: SimulatedPair) -> dict[str, str]:
    """Simulate a pair: ATL03, ATL07 and ATL10 of the pass, and the image with its STAC item.

    Returns
    -------
    dict of str to str
        Paths of ``granule``, ``atl07``, ``atl10`` and ``scene``. A pair that lies there whole, made with the same
        values, is not made again.
    """
    done = pair.place / "pair.json"
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(pair).items() if k != "folder"}
    if done.is_file() and (have := json.loads(done.read_text()))["values"] == values:
        return {k: str(pair.place / v) for k, v in have["paths"].items()}
    pair.place.mkdir(parents=True, exist_ok=True)
    _, start, orbit = pair.granule.split("_")
    overpass = datetime.strptime(start, "%Y%m%d%H%M%S")
    scene = _scene(pair, overpass)
    rgt, cycle, region = int(orbit[:4]), int(orbit[4:6]), int(orbit[6:])
    granule = make_granule(scene, pair.place, beams=pair.beams, rgt=rgt, cycle=cycle, region=region)
    seven = make_atl07(granule, pair.place)
    ten = make_atl10(seven, pair.place)
    minutes = (datetime.fromisoformat(pair.scene_time) - overpass).total_seconds() / 60
    sky = _scene(pair, overpass, cloud_cover=1.0, cloud_depth=8.0) if pair.overcast else scene
    item = make_scene(sky, pair.place, minutes=minutes, size_km=pair.size_km, samples=1)
    paths = {"granule": granule, "atl07": seven, "atl10": ten, "scene": item}
    relative = {k: os.path.relpath(v, pair.place) for k, v in paths.items()}
    part = done.with_suffix(".part")
    part.write_text(json.dumps({"values": values, "paths": relative}, indent=1))
    part.replace(done)
    return {k: str(v) for k, v in paths.items()}


def _scene(pair: SimulatedPair, overpass: datetime, **changes: float) -> Scene:
    return Scene.preset(
        "ross_sea_november",
        seed=pair.seed,
        length_km=pair.length_km,
        overpass=overpass.isoformat(),
        **changes,
    )
