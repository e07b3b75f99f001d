"""xarray backend: ``xr.open_dataset(path, engine="is2ice", group="gt1r")``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

__all__ = ["IS2IceBackendEntrypoint"]

#: Only files named as ATL03 granules are claimed; every other .h5 file is left to other engines.
_NAME = re.compile(r"ATL03_\d{14}_\d{8}_\d{3}_\d{2}[^/]*\.h5$")


class IS2IceBackendEntrypoint(BackendEntrypoint):
    """Opens ATL03 granules as 2 m segments.

    ``group`` chooses what is opened: nothing for the cube of the default beams, a beam (``"gt1r"``) for
    its segments, and a beam's heights (``"gt1r/heights"``) for its photons.
    """

    description = "ICESat-2 ATL03 photons as along-track sea-ice segments"
    url = "https://nsidc.org/data/atl03"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "group", "beams", "length", "confidence")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        beams: str | Iterable[str] | None = None,
        length: float = 2.0,
        confidence: int = 3,
    ) -> xr.Dataset:
        """Open a granule (see :func:`is2ice.open_track`); lazily, except for photons."""
        from is2ice.science.segments import Selection

        from .atl03 import Granule
        from .lazy_cube import open_cube

        granule = Granule(filename_or_obj)
        beam, _, kind = (group or "").strip("/").partition("/")
        if kind == "heights":
            ds = granule.photons(beam)
        elif kind:
            raise ValueError(
                f"group={group!r}: expected a beam such as 'gt1r', or 'gt1r/heights' for photons"
            )
        else:
            ds = open_cube(
                granule, [beam] if beam else beams, length=length, selection=Selection(confidence=confidence)
            )
            if beam:
                spot = int(ds["spot"].values[0])
                ds = ds.squeeze("beam", drop=True).drop_vars("spot", errors="ignore")
                ds = ds.assign_attrs(beam=beam, spot=spot)
        if drop_variables is not None:
            drop = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables)
            ds = ds.drop_vars(drop, errors="ignore")
        ds.set_close(granule.close)
        return ds

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True for files named as ATL03 granules only."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return bool(_NAME.search(os.fspath(filename_or_obj)))
