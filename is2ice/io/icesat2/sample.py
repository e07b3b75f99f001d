"""The sample that is shipped with the package: a simulated pass with its NASA products, image and truth."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SAMPLE", "sample"]

_PACKAGE = Path(__file__).resolve().parents[2]
#: Part of the sample -> pattern of its files below the folder of the sample.
SAMPLE = {
    "ATL03": "ATL03_*.h5",
    "ATL07": "ATL07-*.h5",
    "ATL10": "ATL10-*.h5",
    "image": "sentinel-2-l2a/S2*/S2*.json",
    "truth": "truth/truth.nc",
    "folder": "SHA256SUMS",
}


def sample(part: str = "ATL03") -> Path:
    """Return the path of the simulated sample that the package ships.

    Parameters
    ----------
    part : {"ATL03", "ATL07", "ATL10", "image", "truth", "folder"}
        Photons by default; the sea-ice products of the same pass; the STAC item of a Sentinel-2 image of the same ice;
        the truth; the folder of all.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For an unknown part.
    FileNotFoundError
        If the sample was not installed with the package.
    """
    if part not in SAMPLE:
        raise ValueError(f"sample({part!r}): expected one of {', '.join(SAMPLE)}")
    folders = _PACKAGE / "_sample", _PACKAGE.parent / "sample_data"
    for folder in folders:
        if found := sorted(folder.glob(SAMPLE[part])) if folder.is_dir() else []:
            return folder if part == "folder" else found[0]
    raise FileNotFoundError(
        f"sample({part!r}): no {SAMPLE[part]} in {' or '.join(map(str, folders))}; install the package from its "
        "wheel or a full checkout, or make the files again with `is2ice twin sample FOLDER`"
    )
