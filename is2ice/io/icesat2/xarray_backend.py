"""xarray backend: ``xr.open_dataset(path, engine="is2ice", group="gt1r")`` for granules and stores."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from is2ice import schema

__all__ = ["IS2IceBackendEntrypoint"]

#: Only files named as ATL03 granules are claimed; every other .h5 file is left to other engines.
_NAME = re.compile(r"ATL03_\d{14}_\d{8}_\d{3}_\d{2}[^/]*\.h5$")


class IS2IceBackendEntrypoint(BackendEntrypoint):
    """Opens ATL03 granules as 2 m segments, and the tracks of stores.

    ``group`` chooses what is opened. Of a granule: nothing for the cube of the default beams, a beam (``"gt1r"``)
    for its segments, a beam's heights (``"gt1r/heights"``) for its photons. Of a store: a granule, or
    ``"<granule>/<beam>"``; nothing where it holds a single granule.
    """

    description = "ICESat-2 ATL03 photons as along-track sea-ice segments, and stores of them"
    url = "https://nsidc.org/data/atl03"
    supports_groups = True
    open_dataset_parameters = (
        "filename_or_obj",
        "mask_and_scale",
        "decode_times",
        "concat_characters",
        "decode_coords",
        "use_cftime",
        "decode_timedelta",
        "drop_variables",
        "group",
        "beams",
        "length",
        "confidence",
        "photon_fields",
    )

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        beams: str | Iterable[str] | None = None,
        length: float | None = None,
        confidence: int | None = None,
        photon_fields: Iterable[str] = (),
    ) -> xr.Dataset:
        """Open a granule or a store (see :func:`is2ice.open_track`); lazily, except for photons.

        Parameters
        ----------
        filename_or_obj : path, URL or file object
        mask_and_scale, concat_characters, use_cftime, decode_timedelta : optional
            Decoders of xarray that change nothing here: no variable is packed, and no time is in another calendar.
        decode_times : bool
            Add ``time`` (datetime64); ``delta_time`` stays in seconds.
        decode_coords : bool or str
            Make ``time``, positions, ``x`` and ``y`` coordinates; else they are variables.
        drop_variables : str or iterable of str, optional
        group : str, optional
        beams : str or iterable of str, optional
        length, confidence : optional
            Length (m) and lowest signal confidence of the segments of a granule.
        photon_fields : iterable of str
            Further variables of the photons (:meth:`is2ice.Granule.photons`).

        Raises
        ------
        ValueError
            For a group that is not there, or `length` or `confidence` with a store.
        """
        from is2ice.io.stores.store import is_store

        path = (group or "").strip("/")
        if is_store(filename_or_obj):
            if (length, confidence) != (None, None):
                raise ValueError("length, confidence: a store's segments are made; open the granule instead")
            ds = _open_stored(filename_or_obj, path, beams)
        else:
            ds = _open_granule(
                filename_or_obj,
                path,
                beams,
                2.0 if length is None else length,
                3 if confidence is None else confidence,
                photon_fields,
            )
        if "x_atc" in ds.dims:  # segments, not photons
            close = ds._close
            ds = schema.with_coordinates(ds)
            if not _asked(decode_times):
                ds = ds.drop_vars("time")
            if not decode_coords:
                ds = ds.reset_coords([n for n in schema.COORDINATES if n in ds.coords])
            ds.set_close(close)
        if drop_variables is not None:
            drop = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables)
            close, ds = ds._close, ds.drop_vars(drop, errors="ignore")
            ds.set_close(close)
        return ds

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, xr.Dataset]:  # type: ignore[override]
        """Open every beam of a granule, or every track of a store, by its group."""
        from is2ice.io.stores.store import is_store, open_store

        from .atl03 import Granule
        from .lazy_cube import usable_plans

        only, root = str(options.pop("group", None) or "").strip("/"), xr.Dataset()
        if is_store(filename_or_obj):
            names = [f"{granule}/{beam}" for granule, beam in open_store(filename_or_obj).tracks]
        else:
            with Granule(filename_or_obj) as granule:
                plans, notes = usable_plans(granule, options.pop("beams", None))
                names = [plan.beam for plan in plans]
                root = xr.Dataset(attrs={"granule": granule.id, "notes": notes})
        names = [n for n in names if n == only or n.startswith(only and f"{only}/")]
        if not names:
            raise ValueError(f"group={only!r}: no such group")
        above = {
            "/".join(["", *n.split("/")[:k]]) or "/": xr.Dataset()
            for n in names
            for k in range(n.count("/") + 1)
        }
        return (
            above
            | {"/": root}
            | {f"/{n}": self.open_dataset(filename_or_obj, group=n, **options) for n in names}
        )

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> xr.DataTree:  # type: ignore[override]
        """Open a tree with a node a beam, or in a store a node a granule and below it one a beam."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for files named as ATL03 granules only."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return bool(_NAME.search(os.fspath(filename_or_obj)))


def _asked(decoder: Any) -> bool:
    """Return the flag of a variable from a decoder, which is one flag or a mapping of flags by variable."""
    return bool(decoder.get("time", True) if isinstance(decoder, dict) else decoder)


def _open_stored(store: Any, group: str, beams: str | Iterable[str] | None) -> xr.Dataset:
    """Return a stored granule as a cube, or one beam of it."""
    from is2ice.io.stores.store import open_track

    granule, _, beam = group.partition("/")
    ds = open_track(store, granule or None, [beam] if beam else beams)
    return _one_beam(ds, beam) if beam and "beam" in ds.dims else ds


def _open_granule(
    source: Any,
    group: str,
    beams: str | Iterable[str] | None,
    length: float,
    confidence: int,
    photon_fields: Iterable[str],
) -> xr.Dataset:
    from is2ice.science.segments import Selection

    from .atl03 import Granule
    from .lazy_cube import open_cube

    beam, _, kind = group.partition("/")
    granule = Granule(source, [beam])
    if kind == "heights":
        ds = granule.photons(beam, photon_fields=photon_fields)
    elif kind:
        raise ValueError(f"group={group!r}: expected a beam such as 'gt1r', or 'gt1r/heights' for photons")
    else:
        selection = Selection(confidence=confidence)
        ds = open_cube(granule, [beam] if beam else beams, length=length, selection=selection)
        ds = _one_beam(ds, beam) if beam else ds
    ds.set_close(granule.close)
    return ds


def _one_beam(cube: xr.Dataset, beam: str) -> xr.Dataset:
    spot = int(cube["spot"].values[0])
    ds = cube.squeeze("beam", drop=True).drop_vars("spot", errors="ignore")
    return ds.assign_attrs(beam=beam, spot=spot)
