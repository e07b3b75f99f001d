"""NASA's sea-ice products beside ours: ATL07 heights and ATL10 freeboard, leads and reference surfaces.

Releases 003 to 007 are read: both layouts of ATL10, ``freeboard_segment`` (006 and 007) and
``freeboard_beam_segment`` (005 and before), and, as they are, the further segment tables of ATL07 release 007.
Names lose their prefixes (``height_segment_``, ``beam_``, ``lead_``, ``beam_refsurf_``), and where the meaning is
that of a word of :mod:`is2ice.schema` the word is used (see :data:`NAMES`); units and descriptions of the product
are kept. ``x_atc`` is that of a segment's centre here. Fill values become NaN: 3.4028235e38 and 1.797693e308
whether the file declares them or not (subsetted files often do not), and the largest value of an integer type, or the
fill an integer declares, which turns that variable into floats.

Values that the product cannot hold (:data:`LIMITS`) become NaN as well, and rows without a distance along the track
are left out; both are counted in ``attrs["notes"]``, with the beams that cannot be used.

Indices in these products (``ssh_ndx``, ``lead_ndx``, ``refsurf_ndx``, ``fbswath_ndx``) count from 1 and refer to the
whole granule. In a subset they point nowhere: match by ``segment_id`` or by distance
(:func:`match_leads`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice.errors import GranuleError, RemoteError
from is2ice.io.remote.hdf5_file import Group, Hdf5, damage
from is2ice.io.remote.source import Source
from is2ice.io.urls import local_path
from is2ice.schema import BEAMS, SIMULATED

from .identity import simulation, whole_number

__all__ = ["match_leads", "named_variables", "open_atl07", "open_atl10"]

SEGMENT_GROUPS = ("freeboard_segment", "freeboard_beam_segment")
#: Clear names, given after the prefixes are gone.
NAMES = {
    "segments": {
        "seg_dist_x": "x_atc",
        "id": "segment_id",
        "length_seg": "length",
        "type": "surface_type",
        "surface_error_est": "height_uncertainty",
        "sigma": "height_uncertainty",
        "fb_height": "freeboard",
        "fb_unc": "freeboard_uncertainty",
        "fb_confidence": "freeboard_confidence",
        "fb_quality_flag": "freeboard_quality",
        "backgr_r_200": "background_rate",
        "ocean": "tide_ocean",
        "lpe": "tide_equilibrium",
        "fpb_corr": "first_photon_bias",
    },
    "leads": {"dist_x": "x_atc", "sigma": "height_uncertainty"},
    "sections": {
        "dist_x": "x_atc",
        "height": "h_ref",
        "sigma": "h_ref_uncertainty",
        "interp_flag": "h_ref_flag",
        "fb_refsurf": "mean_freeboard",
        "fb_unc_refsurf": "mean_freeboard_uncertainty",
    },
}
_PREFIX = {
    "segments": re.compile("^(height_segment_|beam_(?=fb_|refsurf_))"),
    "leads": re.compile("^lead_"),
    "sections": re.compile("^(beam_refsurf_|beam_)"),
}
_LEADING = {
    "segments": (
        "delta_time",
        "x_atc",
        "height",
        "height_uncertainty",
        "length",
        "surface_type",
        "ssh_flag",
        "segment_id",
    ),
    "leads": ("delta_time", "x_atc", "height", "height_uncertainty", "length", "ssh_n", "ssh_ndx"),
    "sections": ("delta_time", "x_atc", "h_ref", "h_ref_uncertainty", "h_ref_flag", "lead_n", "lead_ndx"),
}
#: Types of ATL07: 0 cloud, 1 ice, 2-5 specular, 6-9 dark.
SPECULAR, DARK = (2, 3, 4, 5), (6, 7, 8, 9)
#: Further tables of ATL07 release 007.
_FURTHER = {"sea_ice_segments_10m": "segments_10m", "dda_surface_segments": "dda_surface"}
#: Variables of two dimensions.
HISTOGRAMS = ("hist_photon_heights", "beam_fb_hist_refsurf")
#: Least and greatest value that a variable can hold, under its clear name.
LIMITS: dict[str, tuple[float, float]] = {
    "x_atc": (0.0, 4.1e7),  # m; the Earth's circumference
    "delta_time": (0.0, 3.2e9),
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 360.0),
    "height": (-100.0, 200.0),  # m above the mean sea surface
    "height_uncertainty": (0.0, 100.0),
    "length": (0.1, 1e5),
    "freeboard": (-100.0, 200.0),
    "freeboard_uncertainty": (0.0, 100.0),
    "h_ref": (-100.0, 100.0),
    "h_ref_uncertainty": (0.0, 100.0),
    "surface_type": (-1.0, 127.0),
    "photon_rate": (0.0, 1e4),
    "background_rate": (0.0, 1e9),
    "w_gaussian": (0.0, 100.0),
    "n_photons_actual": (0.0, 1e6),
    "n_photons_used": (0.0, 1e6),
    "ssh_n": (0.0, 1e6),
    "solar_elevation": (-90.0, 90.0),
}
#: Largest share of segments that may lie at or behind the one before; genuine files hold a few.
BACKWARD = 0.2
#: Track and cycle in the name of a granule.
_PASS = re.compile(r"ATL\d\d-\d\d_\d{14}_(\d{4})(\d{2})\d{2}_")
_KEPT = ("units", "long_name", "description", "flag_meanings")


def _text(value: Any) -> Any:
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _values(data: h5py.Dataset) -> np.ndarray:
    """Values of a variable with every kind of fill as NaN."""
    values = data[()]
    fill = np.ravel(data.attrs["_FillValue"])[0] if "_FillValue" in data.attrs else None
    if values.dtype.kind == "f":
        bad = np.isfinite(values) & (np.abs(values) >= (3.4028e38 if values.itemsize == 4 else 1.797e308))
        bad |= np.abs(values.astype("f8")) == 3.4028234663852886e38
        if fill is not None:
            bad |= values == fill
        return np.where(bad, values.dtype.type(np.nan), values)
    if values.dtype.kind in "iu":
        bad = np.isin(values, [np.iinfo(values.dtype).max] if fill is None else [fill])
        if bad.any():
            return np.where(bad, np.nan, values.astype("f4" if values.itemsize < 4 else "f8"))
    return values


def _possible(name: str, values: np.ndarray, original: str, notes: list[str]) -> np.ndarray:
    """Values with those that the product cannot hold as NaN, which a note counts."""
    if values.dtype.kind not in "fiu":
        return values
    low, high = LIMITS.get(name, (-1e30, 1e30))
    bad = ~((values >= low) & (values <= high)) & ~np.isnan(values)
    if not (n := int(np.count_nonzero(bad))):
        return values
    notes.append(
        f"{original}: {n:,} of {values.size:,} values cannot be ({low:g} to {high:g} are possible): NaN here"
    )
    return np.where(bad, np.nan, values if values.dtype.kind == "f" else values.astype("f8"))


def _placed(ds: xr.Dataset, dim: str, where: str, notes: list[str]) -> xr.Dataset:
    """Rows that have a distance along the track.

    Raises
    ------
    GranuleError
        None has one, or the distances are in no order.
    """
    if "x_atc" not in ds or not ds.sizes[dim]:
        return ds
    x = ds["x_atc"].values
    if (lost := int(np.isnan(x).sum())) == x.size:
        raise GranuleError(
            f"{where}: no row has a distance along the track that can be; fetch the file again"
        )
    if lost:
        notes.append(f"{where}: {lost:,} of {x.size:,} rows have no distance along the track: left out")
        ds = ds.isel({dim: np.flatnonzero(np.isfinite(x))})
    back = int((np.diff(ds["x_atc"].values) <= 0).sum())
    if back > max(2, BACKWARD * x.size):
        raise GranuleError(
            f"{where}: the distances along the track do not rise {back:,} times in {x.size:,} rows, so they are in no "
            "order; fetch the file again"
        )
    return ds


def _variables(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Datasets of a group and its subgroups, nearest first; of equal names the first counts."""
    seen = set()
    groups = [group]
    while groups:
        here = groups.pop(0)
        for name, item in here.items():
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset) and name not in seen:  # a broken link is nothing
                seen.add(name)
                yield name, item


def _table(group: Group | None, kind: str) -> xr.Dataset:
    """Read all variables of a group along its one rate; without rows, the leading variables of length zero."""
    dim = kind[:-1]
    if group is not None and not isinstance(group, h5py.Group):
        raise GranuleError(f"{group.name.lstrip('/')}: expected a group, got a dataset; fetch the file again")  # type: ignore[unreachable]
    found = dict(_variables(group)) if group is not None else {}
    found = {name: item for name, item in found.items() if not name.startswith("ds_")}
    lengths = Counter(item.shape[0] for item in found.values() if item.ndim)
    size = max(lengths, key=lambda n: (lengths[n], n), default=0)
    notes = []
    if group is not None and not found:
        notes.append(f"{group.name.lstrip('/')} holds no variable: taken as an empty table")
    data = _columns(found, kind, size, notes)
    if (
        group is None or not size or not {"x_atc", "height", "delta_time"} & set(data)
    ):  # a beam without segments
        return xr.Dataset({name: (dim, np.empty(0)) for name in _LEADING[kind]}, attrs={"notes": notes})
    where = f"{group.granule}: {group.name.lstrip('/')}"
    return _placed(xr.Dataset(data, attrs={"table": where}), dim, where, notes).assign_attrs(notes=notes)


def _columns(
    found: Mapping[str, h5py.Dataset], kind: str, size: int, notes: list[str]
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Variables of a table under clear names; one that is no column of it is noted."""
    dim, data = kind[:-1], {}
    for original, item in found.items():
        path = item.name.lstrip("/")
        if item.dtype.kind not in "fiub" or item.shape[:1] != (size,):
            got = f"the shape {item.shape}" if item.dtype.kind in "fiub" else f"values of {item.dtype}"
            notes.append(
                f"{path}: expected {size:,} numbers as in the rest of its table, got {got}: left out"
            )
            continue
        name = _PREFIX[kind].sub("", original)
        name = NAMES[kind].get(name, name)
        if name in data:
            name = original
        expected = 2 if original in HISTOGRAMS else 1
        if item.ndim != expected:
            raise GranuleError(
                f"{path}: expected {expected} dimensions, got the shape {item.shape}; fetch the file again"
            )
        attrs = {k: _text(item.attrs[k]) for k in _KEPT if k in item.attrs}
        attrs["original"] = item.name
        if name.endswith("_ndx"):
            attrs["comment"] = "counts from 1 and refers to the whole granule, not to a subset"
        extra = tuple(f"{name}_{k}" for k in range(1, item.ndim))
        data[name] = ((dim, *extra), _possible(name, _values(item), path, notes), attrs)
    return data


@contextmanager
def named_variables(where: str) -> Iterator[None]:
    """Name the variable that a partial product lacks, for code that asks for variables by name.

    Parameters
    ----------
    where : str
        Product or beam, for the message.

    Raises
    ------
    GranuleError
        In place of the KeyError of a variable or table that is not there.
    """
    try:
        yield
    except KeyError as error:
        text = str(error.args[0] if error.args else error)
        found = re.search(r"No variable named '([^']*)'", text)
        name = found[1] if found else text.splitlines()[0][:120]
        own = {new: old for names in reversed(NAMES.values()) for old, new in names.items()}
        name = f"{name} ({own[name]})" if name in own else name
        raise GranuleError(f"{where} holds no {name}; the file may be a subset made without it") from error


def _open(path: Any, product: str) -> Hdf5:
    """Open a granule of a product: a file, an address or an open file."""
    local = isinstance(path, str | os.PathLike) and "://" not in os.fspath(path)
    if local and not os.path.exists(local_path(os.fspath(path))):
        raise FileNotFoundError(f"{path}: no such file; expected a granule of {product}")
    try:
        return Source.of(path).open_hdf5()
    except RemoteError:
        raise
    except GranuleError as error:
        raise GranuleError(f"{product} granule {error}") from error


def _attributes(file: Hdf5, product: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {"product": product}
    attrs["granule"] = Path(file.granule).stem
    if made_by := simulation(file):
        attrs[SIMULATED] = made_by
    for key, where in {
        "release": "ancillary_data/release",
        "rgt": "orbit_info/rgt",
        "cycle": "orbit_info/cycle_number",
        "sc_orient": "orbit_info/sc_orient",
    }.items():
        if where in file and (values := np.ravel(file[where][()])).size:
            try:
                attrs[key] = _text(values[0]).strip() if isinstance(values[0], bytes) else int(values[0])
            except (TypeError, ValueError, OverflowError):
                continue
    if named := _PASS.search(attrs["granule"]):  # what a subset made without orbit_info lacks
        attrs = {"rgt": int(named[1]), "cycle": int(named[2])} | attrs
    return attrs


def _beams(file: h5py.File, path: Any, beam: str | None, inside: tuple[str, ...], product: str) -> list[str]:
    """Beams to read: all that have the product's segment group, or the one asked for."""
    groups = [b for b in BEAMS if isinstance(file.get(b), h5py.Group)]
    there = [b for b in groups if any(g in file[b] for g in inside)]
    if not there:
        raise GranuleError(
            f"{path}: expected {product} with {' or '.join(f'gtx/{g}' for g in inside)}, found the groups "
            f"{', '.join(file)}. Is this another product?"
        )
    if beam is None:
        return there
    if beam not in BEAMS:
        raise GranuleError(f"{path}: unknown beam {beam!r}; expected one of {', '.join(BEAMS)}")
    if beam not in there:
        raise GranuleError(f"{path}: no {product} segments in beam {beam}; the file has {', '.join(there)}")
    return [beam]


def _beam_attributes(group: h5py.Group, name: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {"beam": name}
    if (spot := whole_number(group.attrs.get("atlas_spot_number"), 1, 6)) is not None:
        attrs["spot"] = spot
    if "atlas_beam_type" in group.attrs:
        attrs["beam_strength"] = _text(group.attrs["atlas_beam_type"])
    return attrs


def open_atl10(path: Any, beam: str | None = None) -> xr.DataTree:
    """Read an ATL10 granule.

    Parameters
    ----------
    path : str, Path or open binary file
    beam : str, optional
        One beam ("gt1l"); by default all beams that hold freeboard segments.

    Returns
    -------
    xarray.DataTree
        With `beam`: nodes ``segments``, ``leads`` and ``sections`` (reference surfaces); without: one such
        tree per beam (``tree["gt1l/leads"]``). Lengths and heights in m, ``delta_time`` in seconds since 2018.
        Segments: x_atc, height, height_uncertainty, length, surface_type, ssh_flag, freeboard,
        freeboard_uncertainty, segment_id, refsurf_ndx and the rest under the product's own names. Leads: x_atc,
        height, height_uncertainty, length, ssh_n, ssh_ndx. Sections: x_atc, h_ref, h_ref_uncertainty, h_ref_flag,
        lead_n, lead_ndx. A table that a file lacks is empty.

    Raises
    ------
    GranuleError
        Not HDF5, another product, or a beam that is not there.

    References
    ----------
    NSIDC ATL10 user guides, versions 5 to 7.
    """

    def read(group: Group) -> xr.DataTree:
        layout = next(g for g in SEGMENT_GROUPS if g in group)
        lacks = [g for g in ("leads", "reference_surface_section") if g not in group]
        tree = xr.DataTree.from_dict(
            {
                "segments": _table(group[layout], "segments"),
                "leads": _table(group.get("leads"), "leads"),
                "sections": _table(group.get("reference_surface_section"), "sections"),
            }
        )
        tree.attrs["layout"] = layout
        where = group.name.lstrip("/")
        tree.attrs["notes"] = [f"{where}/{g} is missing: taken as an empty table" for g in lacks]
        return tree

    with _open(path, "ATL10") as file, damage(file.granule):
        attrs = _attributes(file, "ATL10")
        trees, attrs["notes"] = _usable(
            file, _beams(file, path, beam, SEGMENT_GROUPS, "ATL10"), SEGMENT_GROUPS, read, beam
        )
        for name, tree in trees.items():
            tree.attrs = {**attrs, **_beam_attributes(file[name], name), **tree.attrs}
    if beam is not None:
        return trees[beam]
    tree = xr.DataTree(children=trees)
    tree.attrs = attrs
    return tree


def _usable(
    file: Hdf5,
    names: list[str],
    inside: tuple[str, ...],
    read: Callable[[Group], xr.DataTree],
    beam: str | None,
) -> tuple[dict[str, xr.DataTree], list[str]]:
    """Read beams; one that cannot be used is noted, unless it was asked for or no other can."""
    found: dict[str, xr.DataTree] = {}
    lacking = [b for b in BEAMS if beam is None and b not in names and isinstance(file.get(b), h5py.Group)]
    notes = [f"{name} is left out: {name}/{' or '.join(inside)} is missing" for name in lacking]
    first: GranuleError | None = None
    for name in names:
        try:
            with damage(file.granule, name):
                found[name] = read(file[name])
            for node in found[name].subtree:
                notes += node.attrs.pop("notes", [])
        except GranuleError as error:
            if beam is not None:
                raise
            first = first or error
            notes.append(f"{name} is left out: {error}")
    if first is not None and not found:
        raise first
    return found, notes


@overload
def open_atl07(path: Any, beam: str) -> xr.Dataset: ...
@overload
def open_atl07(path: Any, beam: None = None) -> xr.DataTree: ...
def open_atl07(path: Any, beam: str | None = None) -> xr.Dataset | xr.DataTree:
    """Read an ATL07 granule: the segments of one beam, or the tables of all beams.

    Parameters
    ----------
    path : str, Path or open binary file
    beam : str, optional
        One beam ("gt1l"); by default all.

    Returns
    -------
    xarray.Dataset
        With `beam`, on ``segment`` (none where the beam has no segments, as in beams over land): x_atc, height,
        height_uncertainty, length, surface_type, ssh_flag, segment_id, photon_rate, w_gaussian and the rest under
        the product's own names, without the prefix ``height_segment_``. Heights in m above the mean sea surface.
    xarray.DataTree
        Without: such a node ``segments`` per beam (``tree["gt1l/segments"]``), and, in release 007,
        ``segments_10m`` and ``dda_surface`` under the product's own names.

    Raises
    ------
    GranuleError
        Not HDF5, another product, or a beam that is not there.
    """

    def read(group: Group) -> xr.DataTree:
        tables = {"segments": _table(group["sea_ice_segments"], "segments")}
        tables |= {
            to: _table(group[g], "segments") for g, to in _FURTHER.items() if g in group and beam is None
        }
        return xr.DataTree.from_dict(tables)

    with _open(path, "ATL07") as file, damage(file.granule):
        attrs = _attributes(file, "ATL07")
        inside = ("sea_ice_segments",)
        found, attrs["notes"] = _usable(file, _beams(file, path, beam, inside, "ATL07"), inside, read, beam)
        for name, tree in found.items():
            tree.attrs = {**attrs, **_beam_attributes(file[name], name)}
    if beam is not None:
        return found[beam]["segments"].to_dataset().assign_attrs(found[beam].attrs)
    tree = xr.DataTree(children=found)
    tree.attrs = attrs
    return tree


@named_variables("the ATL10 granule")
def match_leads(tree: xr.DataTree) -> NDArray[np.intp]:
    """First row of every ATL10 lead among the segments of its beam, -1 where the segments are not there.

    Leads are found by distance, since their indices refer to the uncut granule: the run of `ssh_n`
    consecutive sea-surface segments (ssh_flag above 0, segment_id rising by one) whose middle lies within half
    the lead's length of the lead.

    Parameters
    ----------
    tree : xarray.DataTree
        One beam, of :func:`open_atl10`.

    Returns
    -------
    numpy.ndarray of int, shape (lead,)
    """
    segments, leads = tree["segments"].to_dataset(), tree["leads"].to_dataset()
    out = np.full(leads.sizes.get("lead", 0), -1, np.intp)
    if not out.size or not segments.sizes.get("segment", 0):
        return out
    x, surface = segments["x_atc"].values, segments["ssh_flag"].values > 0
    ident = segments["segment_id"].values
    follows = np.concatenate([[False], (np.diff(ident) == 1) & surface[1:] & surface[:-1]])
    first = np.flatnonzero(surface & ~follows)
    last = np.append(first[1:], 0) - 1
    for k, i in enumerate(first):
        stop = np.flatnonzero(~follows[i + 1 :])
        last[k] = i + (stop[0] if stop.size else x.size - 1 - i)
    middle = (x[first] + x[last]) / 2
    for k in range(out.size):
        near = np.abs(middle - leads["x_atc"].values[k]) <= leads["length"].values[k] / 2
        fits = np.flatnonzero(near & (last - first + 1 == leads["ssh_n"].values[k]))
        if fits.size == 1:
            out[k] = first[fits[0]]
    return out
