"""A folder of granules as an archive has them, for timing runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from is2ice.twin.icesat2.atl03 import make_granule
from is2ice.twin.scene.scene import Scene
from is2ice.twin.sentinel2.make_scene import make_scene

__all__ = ["Archive", "make_archive"]


@dataclass(frozen=True)
class Archive:
    """Simulated granules on disk, with the image that they share.

    Attributes
    ----------
    granules : tuple of Path
    scene : Path
        STAC item.
    """

    granules: tuple[Path, ...]
    scene: Path

    @property
    def bytes(self) -> int:
        """Bytes of all granules."""
        return sum(p.stat().st_size for p in self.granules)


def make_archive(folder: Path, granules: int, *, length_km: float = 8.0, seed: int = 7) -> Archive:
    """Build an archive of one simulated pass with its image, under many names.

    Every granule is read and computed as if it were alone; that they hold the same photons changes no timing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene.preset(
        "ross_sea_november", seed=seed, length_km=length_km, cloud_cover=0.0, lead_spacing=900.0
    )
    first = folder / "pass.h5"
    if not first.exists():
        make_granule(scene, first)
    item = make_scene(scene, folder, minutes=10, size_km=min(5.0, 0.7 * length_km), samples=1)
    paths = []
    for k in range(granules):
        path = folder / f"ATL03_201911{k // 24 % 28 + 1:02d}{k % 24:02d}{k // 672:02d}11_05940510_006_01.h5"
        if not path.exists():
            os.link(first, path)
        paths.append(path)
    return Archive(tuple(paths), Path(item))
