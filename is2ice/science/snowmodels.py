"""Snow models as a command line names them: a word, a word with a number, or a file with a climatology."""

from __future__ import annotations

import os
from functools import lru_cache

import xarray as xr

from .thickness import SNOW, Climatology, Constant, Snow, Warren

__all__ = ["HELP", "snow_model"]

HELP = "auto, olmi, warren[:SHARE], constant[:DEPTH[,ERROR]] (m), or a NetCDF file with a monthly field."


def snow_model(text: str) -> str | Snow:
    """The snow that a word stands for.

    Parameters
    ----------
    text : str
        ``auto``, ``olmi``, ``warren``, ``constant``; ``warren:0.5`` (half the depth, for first-year ice);
        ``constant:0.25`` or ``constant:0.25,0.08`` (depth and standard error, m); or a NetCDF file whose variable
        ``snow_depth`` (or only one) has dims month and latitude, longitude or y, x, and if it has ``snow_depth_error``
        its standard error. A global attribute ``crs`` says of what x and y are.

    Raises
    ------
    ValueError
        Nothing of these.
    """
    if text in ("auto", *SNOW):
        return text
    kind, _, rest = text.partition(":")
    if kind in ("constant", "warren") and rest:
        try:
            numbers = [float(v) for v in rest.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) in ((1, 2) if kind == "constant" else (1,)) and min(numbers) >= 0:
            if kind == "warren":
                return Warren(scale=numbers[0])
            return Constant(value=numbers[0], error=numbers[1] if len(numbers) > 1 else Constant.error)
    elif text.endswith(".nc"):
        return _field(os.path.abspath(text))
    raise ValueError(f"snow {text!r}: expected {HELP}")


@lru_cache(maxsize=4)
def _field(path: str) -> Climatology:
    if not os.path.isfile(path):
        raise ValueError(f"snow {path}: no such file; expected {HELP}")
    with xr.open_dataset(path, decode_times=False) as ds:
        name = "snow_depth" if "snow_depth" in ds else str(next(iter(ds.data_vars), ""))
        if not name or "month" not in ds[name].dims:
            raise ValueError(
                f"{path}: expected a variable snow_depth with a dimension month (1 to 12), found "
                + (f"{name} with {', '.join(map(str, ds[name].dims))}" if name else "no variable")
            )
        field = ds[name].load()
        error = ds["snow_depth_error"].load() if "snow_depth_error" in ds else 0.1
        return Climatology(field, error, crs=str(ds.attrs.get("crs", "EPSG:3976")))
