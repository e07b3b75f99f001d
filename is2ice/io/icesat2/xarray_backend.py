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


#: What xarray hands to every backend.
DECODERS = {
    "mask_and_scale",
    "decode_times",
    "concat_characters",
    "use_cftime",
    "decode_timedelta",
    "decode_coords",
}


class IS2IceBackendEntrypoint(BackendEntrypoint):
    """Opens ATL03 granules as 2 m segments.

    ``group`` chooses what is opened: nothing for the cube of the default beams, a beam (``"gt1r"``) for
    its segments, and a beam's heights (``"gt1r/heights"``) for its photons.
    """

    description = "ICESat-2 ATL03 photons as along-track sea-ice segments"
    url = "https://nsidc.org/data/atl03"
    supports_groups = True
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
        **decoders: Any,
    ) -> xr.Dataset:
        """Open a granule (see :func:`is2ice.open_track`); lazily, except for photons.

        Decoders of xarray (``decode_times=False`` and its like) are taken and change nothing: segments are computed,
        so that they hold neither encoded times nor fill values.
        """
        if unknown := set(decoders) - DECODERS:
            raise TypeError(
                f"unknown options {', '.join(sorted(unknown))}; expected {', '.join(self.open_dataset_parameters)}"
            )
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

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, xr.Dataset]:
        """Open every usable beam of a selection as a group of its own, such as ``/gt1r``."""
        from .atl03 import Granule
        from .lazy_cube import usable_plans

        granule = Granule(filename_or_obj)
        plans, notes = usable_plans(granule, options.pop("beams", None))
        root = xr.Dataset(attrs={"granule": granule.id, "notes": notes})
        root.set_close(granule.close)
        return {"/": root} | {
            f"/{plan.beam}": self.open_dataset(filename_or_obj, group=plan.beam, **options) for plan in plans
        }

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> xr.DataTree:
        """Open every usable beam of a selection as a node of a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True for files named as ATL03 granules only."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return bool(_NAME.search(os.fspath(filename_or_obj)))
