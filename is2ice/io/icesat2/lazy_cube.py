"""The segment cube of a granule, lazily: one Dask task a beam and block, reading only its own photons."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from is2ice import schema
from is2ice.errors import GranuleError, NoSignalError, RemoteError, TransitionOrbitError

from .atl03 import Granule, Plan, Subset, open_granule

__all__ = ["open_cube"]

log = logging.getLogger("is2ice")

#: Attributes that belong to one beam, not to the granule.
_PER_BEAM = ("beam", "spot", "beam_strength", "notes")


def open_cube(
    source: Any,
    beams: str | Iterable[str] | None = None,
    subset: Subset | None = None,
    *,
    chunks: int = schema.CHUNK,
    **options: Any,
) -> xr.Dataset:
    """Segments of a granule's beams on one along-track grid, computed when needed.

    Parameters
    ----------
    source : path, URL, file object, earthaccess granule or Granule
    beams : str or names, optional
        As for :meth:`is2ice.io.icesat2.atl03.Granule.resolve_beams`.
    subset : Subset, optional
    chunks : int
        Cells in one block along ``x_atc``.
    **options
        As for :meth:`is2ice.io.icesat2.atl03.Granule.plan`.

    Notes
    -----
    Damage of photons is found when they are read, which is after the notes in the attributes were written: it is
    logged as a warning.

    Returns
    -------
    xarray.Dataset
        :data:`is2ice.schema.SEGMENTS`, dims ``(beam, x_atc)``, Dask-backed. Loaded, it equals
        :meth:`~is2ice.io.icesat2.atl03.Granule.track` bit for bit.

    Raises
    ------
    GranuleError
        When the heights of the beams refer to different surfaces.
    """
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    granule = open_granule(source, beams)
    plans, left_out = usable_plans(granule, beams, subset, **options)
    names = [plan.beam for plan in plans]
    k0 = min(p.k0 for p in plans)
    n = max(p.k0 + p.n for p in plans) - k0
    length = plans[0].length
    data = _lazy_variables(granule, plans, k0, n, max(1, int(chunks)))
    surfaces = {p.beam: p.reference for p in plans}
    if len(set(surfaces.values())) > 1:
        listing = ", ".join(f"{beam} {surface}" for beam, surface in surfaces.items())
        raise GranuleError(
            f"{granule.id}: heights of the beams refer to different surfaces ({listing}), so they do not belong in "
            "one cube; choose reference='mss' or 'geoid', or open the beams one by one"
        )
    each = [granule.attrs(p) for p in plans]
    attrs = {k: v for k, v in each[0].items() if all(a.get(k) == v for a in each) and k not in _PER_BEAM}
    if granule.traffic is not None:
        attrs["traffic"] = f"{granule.traffic} at opening"
    notes = list(dict.fromkeys([*(note for beam in names for note in granule.notes_of(beam)), *left_out]))
    for beam in names:
        granule.new_notes(beam)  # these stand in the attributes
    ds = xr.Dataset(
        {name: (("beam", "x_atc"), a) for name, a in data.items()},
        coords={
            "beam": list(names),
            "x_atc": (k0 + np.arange(n)) * length,
            "spot": ("beam", np.array([granule.spot(b) or 0 for b in names], "i1")),
        },
        attrs=attrs | {"segment_length": length, "schema_version": schema.SCHEMA_VERSION, "notes": notes},
    )
    return schema.annotate(ds)


def usable_plans(
    granule: Granule, beams: str | Iterable[str] | None, subset: Subset | None = None, **options: Any
) -> tuple[list[Plan], list[str]]:
    """Plans of a selection of beams, and a note for each one that cannot be used.

    Raises
    ------
    GranuleError, NoSignalError
        A beam that was named cannot be used, or none of a selection can.
    """
    plans, notes, first = [], [], None
    named = beams is not None and not (isinstance(beams, str) and beams in ("strong", "weak", "all"))
    for beam in granule.resolve_beams(beams):
        try:
            plans.append(granule.plan(beam, subset, **options))
        except (GranuleError, NoSignalError) as error:
            if named or isinstance(error, RemoteError | TransitionOrbitError):
                raise
            first = first or error
            notes.append(f"{beam} is left out: {error}")
    if first is not None and not plans:
        raise first
    return plans, notes


def _lazy_variables(granule: Granule, plans: list[Plan], k0: int, n: int, chunk: int) -> dict[str, Any]:
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    starts = range(0, n, chunk)
    sizes = tuple(min(chunk, n - i) for i in starts)
    token = tokenize(granule, plans, k0, n, chunk)
    blocks = f"is2ice-segments-{token}"
    graph: dict[Any, Any] = {
        (blocks, b, j): (_block, granule, plan, k0 + i, sizes[j])
        for b, plan in enumerate(plans)
        for j, i in enumerate(starts)
    }
    base = HighLevelGraph.from_collections(blocks, graph)
    out = {}
    for name, var in schema.SEGMENTS.items():
        if var.coord:
            continue
        key = f"{name}-{token}"
        layer: dict[Any, Any] = {
            (key, b, j): (_variable, (blocks, b, j), name)
            for b in range(len(plans))
            for j in range(len(sizes))
        }
        high = HighLevelGraph({**base.layers, key: layer}, {**base.dependencies, key: {blocks}})
        out[name] = da.Array(high, key, chunks=((1,) * len(plans), sizes), dtype=np.dtype(var.dtype))
    return out


def _block(granule: Granule, plan: Plan, k0: int, n: int) -> dict[str, np.ndarray]:
    try:
        block = granule.block(plan, k0, n)
        for note in granule.new_notes(plan.beam):
            log.warning("%s: %s", granule.id, note)
        return block
    except Exception as error:
        error.add_note(f"while computing {granule.id} {plan.beam}, x_atc from {k0 * plan.length:.0f} m")
        raise


def _variable(block: dict[str, np.ndarray], name: str) -> np.ndarray:
    return block[name][np.newaxis, :]
