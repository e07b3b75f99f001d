"""The committed sample: a granule, its ATL07 and ATL10, an image of the same ice, and the truth.

is2ice twin sample sample_data          # make it again
is2ice twin sample sample_data --check  # compare what is there with its hashes
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["LENGTH_KM", "PRESET", "SEED", "SIZE_KM", "check_sample", "make_pass", "make_sample", "true_shift"]

PRESET, SEED, LENGTH_KM, SIZE_KM = "ross_sea_november", 1110, 8.0, 5.0
MINUTES = 12.0
#: Time of the other labelled pass.
OTHER_TIME = "2019-11-17T19:09:49"
SUMS = "SHA256SUMS"
#: What is not listed there: texts, and the labelled tracks, which are made by other parts of the package.
UNLISTED = {SUMS, "README.md", "train.toml"}
LABELLED = "labelled.zarr"


def make_sample(folder: str | Path) -> dict[str, str]:
    """Write the sample and its hashes.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    dict of str to str
        SHA-256 by file, relative to the folder; also written to ``SHA256SUMS``.
    """
    from .icesat2.atl03 import make_granule
    from .icesat2.atl07 import make_atl07
    from .icesat2.atl10 import make_atl10
    from .scene.scene import Scene
    from .sentinel2.make_scene import make_scene

    folder = Path(folder)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    scene = Scene.preset(PRESET, seed=SEED, length_km=LENGTH_KM)
    granule = make_granule(scene, folder, truth_path=folder / "truth" / "truth.nc")
    atl07 = make_atl07(granule, folder)
    make_atl10(atl07, folder)
    make_scene(scene, folder, minutes=MINUTES, size_km=SIZE_KM)
    sums = hashes(folder)
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def make_pass(folder: str | Path, seed: int, size_km: float) -> tuple[Path, Path]:
    """Write another simulated pass of the sample's kind with an image, a day later, to be labelled.

    Parameters
    ----------
    folder : str or Path
    seed : int
    size_km : float
        Side of the image.

    Returns
    -------
    granule, item : Path
    """
    from .icesat2.atl03 import make_granule
    from .scene.scene import Scene
    from .sentinel2.make_scene import make_scene

    scene = Scene.preset(PRESET, seed=seed, length_km=LENGTH_KM, overpass=OTHER_TIME)
    return make_granule(scene, folder), make_scene(scene, folder, minutes=MINUTES, size_km=size_km)


def true_shift() -> tuple[float, float]:
    """Return the displacement of the ice between pass and image, m of the scene's projection."""
    from .scene.presets import PRESETS

    x, y = PRESETS[PRESET].drift
    return 60 * MINUTES * x, 60 * MINUTES * y


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a sample but its README and the list itself."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name not in UNLISTED and LABELLED not in p.parts
    )
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def check_sample(folder: str | Path) -> list[str]:
    """Names of files that are missing, unexpected or differ from their hash; empty when all is well."""
    folder = Path(folder)
    lines = (folder / SUMS).read_text().splitlines()
    expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    found = hashes(folder)
    return sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
