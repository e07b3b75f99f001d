"""The vocabulary: every variable once, with its type, units, names, dimensions, range and flags.

Every other module takes names, attributes, Zarr encoding and validation from here; the table in
``stores/SCHEMA.md`` is generated from it (``python -m is2ice schema``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntFlag
from typing import TYPE_CHECKING, Any

import numpy as np

from is2ice.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CLASSES",
    "COORDINATES",
    "OPEN_WATER",
    "SCHEMA_VERSION",
    "SIMULATED",
    "STAGES",
    "THICK_ICE",
    "THIN_ICE",
    "UNLABELLED",
    "LabelFlag",
    "Quality",
    "Var",
    "annotate",
    "conform",
    "encoding",
    "markdown_table",
    "mock_photons",
    "mock_segments",
    "segments_of",
    "simulated_by",
    "titled",
    "with_coordinates",
]

#: Version of the variables and of the store layout. A store of another major version is refused.
SCHEMA_VERSION = "1.1"

#: Start of ``delta_time``: the 18 leap seconds between GPS and UTC are inside the product's epoch.
EPOCH_DATE = "2018-01-01"
EPOCH_TIME = np.datetime64(EPOCH_DATE, "ns")
EPOCH = f"seconds since {EPOCH_DATE}T00:00:00Z"
#: Length of a segment, m, by default.
SEGMENT_LENGTH = 2.0
#: Cells in one Zarr chunk and in one shard (the shard is the write unit) along ``x_atc``.
CHUNK = 16_384
SHARD = 16 * CHUNK

THICK_ICE, THIN_ICE, OPEN_WATER, UNLABELLED = 0, 1, 2, -1
CLASSES = ("thick_ice", "thin_ice", "open_water")
_CLASS_FLAGS = {-1: "unlabelled", 0: "thick_ice", 1: "thin_ice", 2: "open_water"}

BEAMS = ("gt1l", "gt1r", "gt2l", "gt2r", "gt3l", "gt3r")

#: Coordinates of segments besides ``x_atc``. ``time`` is derived from ``delta_time`` when segments are opened; a file
#: holds it instead of ``delta_time`` (the same seconds), so that any reader of CF times has it.
COORDINATES = ("time", "latitude", "longitude", "x", "y")

#: Attribute of all that was made from simulated photons (generator, preset, seed); measured data never have it.
SIMULATED = "simulated"


class Quality(IntFlag):
    """Bits of ``segment_quality``."""

    FEW_PHOTONS = 1
    HALF_OF_PULSES_FULLY_SATURATED = 2
    DEGRADED_POINTING_REMOVED = 4
    CORRECTION_MISSING = 8
    HEIGHT_ABOVE_GEOID = 16
    BACKGROUND_MISSING = 32
    FIRST_PHOTON_BIAS_FROM_MODEL = 64
    FIRST_PHOTON_BIAS_OUTSIDE_RANGE = 128
    PHOTONS_REJECTED_BY_QUALITY = 256
    PHOTON_RATE_SATURATED = 512
    MELT_POND_POSSIBLE = 1024
    HEIGHT_IMPOSSIBLE = 2048
    FREEBOARD_IMPOSSIBLE = 4096


class LabelFlag(IntFlag):
    """Bits of ``label_flags``: reasons why a segment has no label, or a label set by hand."""

    OUTSIDE_SCENE = 1
    NO_DATA = 2
    CLOUD = 4
    CLOUD_SHADOW = 8
    LAND = 16
    CLASS_TRANSITION = 32
    SCENE_CONFLICT = 64
    CORRECTED_BY_HAND = 128


def _names(bits: type[IntFlag]) -> dict[int, str]:
    return {int(bit): str(bit.name).lower() for bit in bits}


#: Names of the bits as they stand in ``flag_meanings``.
QUALITY_BITS = _names(Quality)
LABEL_BITS = _names(LabelFlag)
#: Values of ``h_ref_flag``: those of ATL10's ``beam_refsurf_interp_flag``; 4 where only other beams have leads in
#: reach; 5 where none has, and runs of nilas or dark water carry the surface.
H_REF_FLAGS = {
    -1: "none",
    0: "from_leads",
    1: "interpolated",
    2: "one_point",
    3: "end_point",
    4: "from_other_beams",
    5: "from_nilas",
}


@dataclass(frozen=True)
class Var:
    """One variable of the vocabulary.

    Attributes
    ----------
    dtype : str
        NumPy dtype in memory and in stores.
    units : str
        CF units; "1" for counts, flags and ratios.
    long_name : str
    dims : tuple of str
        Required dimensions, in order. Segment variables may omit ``beam`` (one track).
    standard_name : str, optional
        Only where the CF table has one that fits.
    valid_range : tuple of float, optional
        Physically possible values; NaN and the missing code are always allowed.
    flag_values, flag_masks : mapping of int to str, optional
        Enumerated values or bits.
    coord : bool
        True for coordinates.
    required : bool
        True if :func:`conform` requires it.
    """

    dtype: str
    units: str
    long_name: str
    dims: tuple[str, ...] = ("beam", "x_atc")
    standard_name: str | None = None
    valid_range: tuple[float, float] | None = None
    flag_values: Mapping[int, str] | None = None
    flag_masks: Mapping[int, str] | None = None
    coord: bool = False
    required: bool = True
    ancillary: tuple[str, ...] = field(default=())
    comment: str | None = None

    def attrs(self) -> dict[str, Any]:
        """CF attributes of the variable."""
        out: dict[str, Any] = {"units": self.units, "long_name": self.long_name}
        if self.standard_name:
            out["standard_name"] = self.standard_name
        if self.units.startswith("seconds since"):
            out["calendar"] = "standard"
            out["units_metadata"] = "leap_seconds: utc"
        if self.valid_range is not None:
            out["valid_range"] = list(np.array(self.valid_range, self.dtype).tolist())
        if self.flag_values:
            out["flag_values"] = list(self.flag_values)
            out["flag_meanings"] = " ".join(self.flag_values.values())
        if self.flag_masks:
            out["flag_masks"] = list(self.flag_masks)
            out["flag_meanings"] = " ".join(self.flag_masks.values())
        if self.ancillary:
            out["ancillary_variables"] = " ".join(self.ancillary)
        if self.comment:
            out["comment"] = self.comment
        return out


_P = ("photon",)
PHOTONS: dict[str, Var] = {
    "delta_time": Var("f8", EPOCH, "transmit time of the photon's pulse", _P, "time"),
    "latitude": Var(
        "f8", "degrees_north", "latitude of the photon, WGS84", _P, "latitude", (-90, 90), required=False
    ),
    "longitude": Var(
        "f8", "degrees_east", "longitude of the photon, WGS84", _P, "longitude", (-180, 180), required=False
    ),
    "x_atc": Var("f8", "m", "along-track distance from the equator crossing of the reference track", _P),
    "h_ph": Var(
        "f4",
        "m",
        "photon height above the WGS84 ellipsoid, tide-free",
        _P,
        "height_above_reference_ellipsoid",
    ),
    "signal_conf": Var(
        "i1",
        "1",
        "signal confidence for sea ice (signal_conf_ph column 2)",
        _P,
        flag_values={
            -2: "tep",
            -1: "not_considered",
            0: "noise",
            1: "buffer",
            2: "low",
            3: "medium",
            4: "high",
        },
    ),
    "quality": Var("i1", "1", "photon quality (quality_ph)", _P),
    "pulse": Var("i8", "1", "laser pulse number, 200 pce_mframe_cnt + ph_id_pulse - 1", _P),
    "channel": Var("u1", "1", "receiver channel (ph_id_channel)", _P, valid_range=(0, 120), required=False),
    "geosegment": Var(
        "i4", "1", "row of the photon's 20 m segment in the geolocation group", _P, required=False
    ),
    "weight": Var(
        "u2", "1", "photon weight (weight_ph); its scale depends on the release", _P, required=False
    ),
    "signal_class": Var("i1", "1", "signal class (signal_class_ph, release 007)", _P, required=False),
}

SEGMENTS: dict[str, Var] = {
    "x_atc": Var(
        "f8",
        "m",
        "along-track distance of the lower edge of the segment from the equator crossing",
        ("x_atc",),
        coord=True,
        comment="a regular grid of multiples of the segment length; empty cells have n_photons_all = 0",
    ),
    "beam": Var("str", "1", "ground track of the beam", ("beam",), coord=True),
    "spot": Var(
        "i1", "1", "ATLAS spot number: odd strong, even weak", ("beam",), valid_range=(1, 6), coord=True
    ),
    "delta_time": Var("f8", EPOCH, "time of the middle of the segment", standard_name="time"),
    "latitude": Var(
        "f8", "degrees_north", "latitude, WGS84", standard_name="latitude", valid_range=(-90, 90)
    ),
    "longitude": Var(
        "f8", "degrees_east", "longitude, WGS84", standard_name="longitude", valid_range=(-180, 180)
    ),
    "x": Var("f8", "m", "polar stereographic x", standard_name="projection_x_coordinate"),
    "y": Var("f8", "m", "polar stereographic y", standard_name="projection_y_coordinate"),
    "n_photons": Var("i4", "1", "selected (signal) photons in the segment", valid_range=(0, 1e6)),
    "n_photons_all": Var("i4", "1", "photons of any confidence in the segment", valid_range=(0, 1e6)),
    "n_pulses": Var(
        "i2",
        "1",
        "laser pulses centred in the segment, those without photons included",
        valid_range=(0, 30_000),
    ),
    "n_pulses_empty": Var(
        "i2", "1", "pulses among n_pulses without a selected photon", valid_range=(0, 30_000)
    ),
    "photon_rate": Var("f4", "1", "selected photons per pulse, n_photons / n_pulses", valid_range=(0, 1e4)),
    "pcnth": Var(
        "f4", "1", "selected photons of the same pulse, averaged over the segment's selected photons"
    ),
    "pcnt": Var("f4", "1", "photons of any confidence of the same pulse, averaged over selected photons"),
    "h_mean": Var(
        "f8",
        "m",
        "mean height of the selected photons above the ellipsoid",
        standard_name="height_above_reference_ellipsoid",
    ),
    "h_median": Var("f8", "m", "median height of the selected photons above the ellipsoid"),
    "h_core": Var(
        "f8", "m", "mean of the selected photon heights within 0.5 m of their median, above the ellipsoid"
    ),
    "h_std": Var("f4", "m", "standard deviation of selected photon heights (n - 1)", valid_range=(0, 1e3)),
    "h_spread": Var(
        "f4",
        "m",
        "spread of selected photons about their segment's median, pooled over 22 m, photons within 0.5 m only",
        valid_range=(0, 10),
    ),
    "height": Var(
        "f4",
        "m",
        "surface height (snow included) above the mean sea surface, corrected",
        ancillary=("height_uncertainty", "segment_quality"),
        comment="h_core - (mss or geoid) - tide_ocean - tide_equilibrium - dac - first_photon_bias; tide-free",
    ),
    "height_uncertainty": Var("f4", "m", "standard error of height", valid_range=(0, 1e3)),
    "background_rate": Var("f4", "s-1", "background photon rate (bckgrd_rate), interpolated in time"),
    "background_counts": Var("f4", "1", "50-pulse background sum holding the segment (bckgrd_counts)"),
    "mss": Var("f4", "m", "mean sea surface above the ellipsoid (dem_h where dem_flag is 3)"),
    "geoid": Var("f4", "m", "geoid above the ellipsoid, tide-free (EGM2008)"),
    "tide_ocean": Var("f4", "m", "ocean tide", valid_range=(-20, 20)),
    "tide_equilibrium": Var("f4", "m", "long-period equilibrium tide", valid_range=(-1, 1)),
    "dac": Var("f4", "m", "dynamic atmosphere correction, inverted barometer included", valid_range=(-5, 5)),
    "first_photon_bias": Var("f4", "m", "first-photon bias, removed from height", valid_range=(-0.1, 1)),
    "solar_elevation": Var("f4", "degrees", "elevation of the sun", valid_range=(-90, 90)),
    "segment_quality": Var("u2", "1", "quality bits", flag_masks=QUALITY_BITS),
}

#: What :mod:`is2ice.science.photon_statistics` adds to segments.
STATISTICS: dict[str, Var] = {
    **{
        f"{name}_{kind}": Var("f4", units, f"{text} of {what} over the segment's photons", required=False)
        for name, units, what in (
            ("pcnt", "1", "photons of the same pulse"),
            ("pcnth", "1", "selected photons of the same pulse"),
            ("background_rate", "s-1", "the background rate"),
            ("background_counts", "1", "the 50-pulse background sum"),
        )
        for kind, text in (("median", "median"), ("std", "standard deviation"))
    },
}

LABELS: dict[str, Var] = {
    "label": Var("i1", "1", "surface class from a coincident image (truth)", flag_values=_CLASS_FLAGS),
    "label_flags": Var("u2", "1", "why a segment is unlabelled", flag_masks=LABEL_BITS),
    **{
        f"image_b{band}": Var(
            "f4",
            "1",
            f"reflectance of the image in band B{band}, interpolated to the segment",
            required=False,
        )
        for band in ("02", "03", "04", "08", "11")
    },
    "image_class_probability": Var(
        "f4",
        "1",
        "probability of each surface class in the image, interpolated to the segment",
        ("beam", "x_atc", "surface"),
        required=False,
    ),
}

CLASSIFIED: dict[str, Var] = {
    "surface_class": Var(
        "i1",
        "1",
        "predicted surface class",
        standard_name="sea_ice_classification",
        flag_values=_CLASS_FLAGS,
        ancillary=("class_probability",),
    ),
    "class_probability": Var(
        "f4", "1", "probability of each surface class", ("beam", "x_atc", "surface"), valid_range=(0, 1)
    ),
    "surface": Var("str", "1", "name of the surface class", ("surface",), coord=True),
}

SEASURFACE: dict[str, Var] = {
    "lead_index": Var("i4", "1", "number of the lead a segment belongs to, counted along the track; -1 none"),
    "h_ref": Var(
        "f4",
        "m",
        "local sea surface height above the mean sea surface",
        standard_name="sea_surface_height_above_mean_sea_level",
        ancillary=("h_ref_uncertainty", "h_ref_flag"),
    ),
    "h_ref_uncertainty": Var("f4", "m", "standard error of h_ref", valid_range=(0, 100)),
    "h_ref_flag": Var("i1", "1", "origin of h_ref", flag_values=H_REF_FLAGS),
    "lead_probability": Var(
        "f4",
        "1",
        "probability that the segment's lead is sea surface, by all evidence; NaN outside leads",
        valid_range=(0, 1),
        required=False,
    ),
}

FREEBOARD: dict[str, Var] = {
    "freeboard": Var(
        "f4",
        "m",
        "total freeboard (snow included): height - h_ref",
        ancillary=("freeboard_uncertainty", "h_ref_flag"),
    ),
    "freeboard_uncertainty": Var("f4", "m", "standard error of freeboard", valid_range=(0, 100)),
}

#: What each stage of the chain adds.
STAGES: dict[str, dict[str, Var]] = {
    "photons": PHOTONS,
    "segments": SEGMENTS,
    "statistics": STATISTICS,
    "labels": LABELS,
    "classified": CLASSIFIED,
    "seasurface": SEASURFACE,
    "freeboard": FREEBOARD,
}


def _stage(stage: str) -> dict[str, Var]:
    if stage not in STAGES:
        raise KeyError(f"unknown stage {stage!r}; expected one of {', '.join(STAGES)}")
    return STAGES[stage]


def variables(*stages: str) -> dict[str, Var]:
    """All variables of the named stages (by default every stage on segments)."""
    out: dict[str, Var] = {}
    for stage in stages or tuple(s for s in STAGES if s != "photons"):
        out.update(_stage(stage))
    return out


def annotate(ds: xr.Dataset, *stages: str) -> xr.Dataset:
    """Put the vocabulary's attributes on every known variable of a dataset (a shallow copy).

    Parameters
    ----------
    ds : xarray.Dataset
    *stages : str
        Stages to take names from; all segment stages by default.
    """
    ds = ds.copy(deep=False)
    table = variables(*stages)
    for name in ds.variables:
        var = table.get(str(name))
        if var is not None:
            keep = {k: v for k, v in ds[name].attrs.items() if k in ("grid_mapping", "source", "comment")}
            ds[name].attrs = {**var.attrs(), **keep}
    return ds


def check_dataset(ds: Any, function: str) -> None:
    """Refuse what is no Dataset, such as the path of a granule, before a function of segments starts.

    Raises
    ------
    TypeError
        With the functions that open files.
    """
    import xarray as xr

    if not isinstance(ds, xr.Dataset):
        raise TypeError(
            f"{function}: expected segments as an xarray.Dataset, got {type(ds).__name__}; "
            "is2ice.one_track and is2ice.open_track give them from a granule or a store"
        )


def segment_length(ds: xr.Dataset) -> float:
    """Return the length of segments in m: the attribute, else the median step of ``x_atc``, else 2 m.

    Parameters
    ----------
    ds : xarray.Dataset
        Segments along ``x_atc``.

    Raises
    ------
    SchemaError
        The attribute ``segment_length`` is no positive number; without it, ``x_atc`` does not increase.

    Examples
    --------
    >>> track = mock_segments(4)
    >>> segment_length(track), segment_length(track.isel(x_atc=slice(None, None, 5)).drop_attrs())
    (2.0, 2.0)
    """
    if "segment_length" in ds.attrs:
        try:
            length = float(ds.attrs["segment_length"])
        except (TypeError, ValueError):
            length = np.nan
        if not 0 < length < np.inf:
            raise SchemaError(
                "attribute segment_length: expected a positive number of metres, "
                f"got {ds.attrs['segment_length']!r}"
            )
        return length
    x = ds["x_atc"].values if "x_atc" in ds.variables else np.empty(0)
    if x.ndim != 1 or x.size < 2:
        return SEGMENT_LENGTH
    step = float(np.median(np.diff(x)))
    if not 0 < step < np.inf:
        raise SchemaError(f"x_atc: expected distances that increase, got a median step of {step:g} m")
    return step


def segments_of(ds: xr.Dataset) -> xr.Dataset:
    """Return segments with ``delta_time`` in seconds, as all computations take them, without coordinates of the face.

    Parameters
    ----------
    ds : xarray.Dataset
        Segments as opened by this package, or by plain xarray with or without decoded times.
    """
    import xarray as xr

    have = ds.variables
    if "delta_time" in have and "time" in have:
        ds = ds.drop_vars("time")
    elif "time" in have and ds["time"].dtype.kind in "fM":
        ds = ds.rename(time="delta_time")
    if "delta_time" in ds.variables and ds["delta_time"].dtype.kind == "M":
        seconds = xr.apply_ufunc(
            _seconds, ds["delta_time"].variable, dask="parallelized", output_dtypes=[np.dtype("f8")]
        )
        seconds.attrs = SEGMENTS["delta_time"].attrs()
        ds = ds.assign(delta_time=seconds)
    return ds.reset_coords([n for n in ("delta_time", *COORDINATES) if n in ds.coords and n not in ds.dims])


def with_coordinates(ds: xr.Dataset) -> xr.Dataset:
    """Return segments with ``time`` (UTC, datetime64), positions and ``x``, ``y`` as coordinates."""
    import xarray as xr

    ds = segments_of(ds)
    if "delta_time" in ds:
        time = xr.apply_ufunc(
            _utc, ds["delta_time"].variable, dask="parallelized", output_dtypes=[np.dtype("M8[ns]")]
        )
        time.attrs = {"standard_name": "time", "long_name": "time of the middle of the segment, UTC"}
        ds = ds.assign_coords(time=time)
    return ds.set_coords([name for name in COORDINATES if name in ds])


def _utc(seconds: np.ndarray) -> np.ndarray:
    """UTC of seconds since the epoch, to the nanosecond; whole seconds apart, since their product would round."""
    known = np.isfinite(seconds)
    whole = np.floor(np.where(known, seconds, 0.0))
    rest = np.rint((np.where(known, seconds, 0.0) - whole) * 1e9)
    ns = whole.astype(np.int64) * 1_000_000_000 + rest.astype(np.int64)
    return np.where(known, EPOCH_TIME + ns.astype("m8[ns]"), np.datetime64("NaT", "ns"))


def _seconds(utc: np.ndarray) -> np.ndarray:
    """Seconds since the epoch of UTC; the inverse of :func:`_utc`, bit for bit."""
    ns = (utc.astype("M8[ns]") - EPOCH_TIME).astype(np.int64)
    whole, rest = np.divmod(ns, 1_000_000_000)
    return np.where(np.isnat(utc), np.nan, whole + rest / 1e9)


def encoding(ds: xr.Dataset, *, chunk: int = CHUNK, shard: int = SHARD) -> dict[str, dict[str, Any]]:
    """Zarr encoding of a segment dataset: dtype, chunks and shards along ``x_atc``.

    Parameters
    ----------
    ds : xarray.Dataset
        Segments, with or without a ``beam`` dimension.
    chunk, shard : int
        Cells along ``x_atc``; the shard is a whole number of chunks.

    Returns
    -------
    dict
        For :meth:`xarray.Dataset.to_zarr`.
    """
    table = variables()
    out: dict[str, dict[str, Any]] = {}
    for name, array in ds.variables.items():
        enc: dict[str, Any] = {}
        var = table.get(str(name))
        if var is not None and var.dtype != "str":
            enc["dtype"] = var.dtype
        if array.dtype.kind == "f":
            enc["_FillValue"] = np.nan
        if "x_atc" in array.dims and array.ndim >= 1:
            size = dict(zip(array.dims, array.shape, strict=True))
            n = size["x_atc"]
            inner = max(1, min(chunk, n))
            outer = max(inner, min(shard, -(-n // inner) * inner))
            outer -= outer % inner
            enc["chunks"] = tuple(inner if d == "x_atc" else size[d] for d in array.dims)
            enc["shards"] = tuple(outer if d == "x_atc" else size[d] for d in array.dims)
        out[str(name)] = enc
    return out


def _faults(ds: xr.Dataset, stages: Iterable[str], values: bool) -> list[str]:
    faults = []
    for stage in stages:
        for name, var in _stage(stage).items():
            if name not in ds.variables:
                if var.required and not (var.coord and name in ("beam", "spot", "surface")):
                    near = get_close_matches(
                        name, [str(v) for v in ds.variables if v not in variables()], 1, 0.7
                    )
                    hint = f"; is it {near[0]!r}?" if near else ""
                    faults.append(f"{name}: missing (stage {stage}: {var.long_name}){hint}")
                continue
            array = ds.variables[name]
            dims = tuple(d for d in var.dims if d != "beam" or "beam" in ds.dims)
            if array.dims != dims:
                faults.append(f"{name}: dims {array.dims}, expected {dims}")
            if var.dtype == "str":
                if array.dtype.kind not in "OUT":
                    faults.append(f"{name}: dtype {array.dtype}, expected text")
            elif array.dtype.kind == "M":
                faults.append(
                    f"{name}: decoded times ({array.dtype}), expected {np.dtype(var.dtype)} seconds; open it with "
                    "is2ice.open_track, or with decode_times=False"
                )
                continue
            elif array.dtype != np.dtype(var.dtype):
                faults.append(f"{name}: dtype {array.dtype}, expected {np.dtype(var.dtype)}")
            units = array.attrs.get("units")
            if units != var.units:
                faults.append(f"{name}: units {units!r}, expected {var.units!r}")
            if values and var.dtype != "str" and array.size:
                faults.extend(_value_faults(name, var, np.asarray(array)))
    return faults


def _value_faults(name: str, var: Var, a: np.ndarray) -> list[str]:
    faults = []
    if var.valid_range is not None:
        lo, hi = var.valid_range
        bad = np.isfinite(a) & ((a < lo) | (a > hi)) if a.dtype.kind == "f" else (a < lo) | (a > hi)
        if bad.any():
            first = a[bad].ravel()[0]
            faults.append(f"{name}: {int(bad.sum())} values outside [{lo:g}, {hi:g}], the first {first:g}")
    if a.dtype.kind == "f" and np.isinf(a).any():
        faults.append(f"{name}: {int(np.isinf(a).sum())} infinite values")
    if var.flag_values:
        unknown = sorted(set(np.unique(a).tolist()) - set(var.flag_values))
        if unknown:
            faults.append(f"{name}: flag values {unknown} not in {sorted(var.flag_values)}")
    if var.flag_masks:
        rest = int(np.bitwise_or.reduce(a, axis=None)) & ~sum(var.flag_masks)
        if rest:
            faults.append(f"{name}: unknown flag bits {rest:#x}")
    return faults


def _uneven_steps(ds: xr.Dataset) -> list[str]:
    """Return the fault of a track that is no regular grid of the length of its segments."""
    step = np.diff(ds["x_atc"].values)
    try:
        length = segment_length(ds)
    except SchemaError as fault:
        return [str(fault)]
    if np.allclose(step, length, rtol=0, atol=1e-6 * max(1.0, length)):
        return []
    worst = step[np.argmax(np.abs(step - length))]
    return [f"x_atc: not a regular grid of {length:g} m (a step of {worst:g} m)"]


def conform(ds: xr.Dataset, *stages: str, values: bool = True) -> xr.Dataset:
    """Check a dataset against the vocabulary, naming every fault at once.

    Parameters
    ----------
    ds : xarray.Dataset
    *stages : str
        Stages whose variables must be there; ``"segments"`` by default.
    values : bool
        Also check ranges and flags, which loads lazy variables.

    Returns
    -------
    xarray.Dataset
        The same dataset.

    Raises
    ------
    SchemaError
        With all faults in its text and in ``faults``.

    Examples
    --------
    >>> ds = mock_segments(4)
    >>> _ = conform(ds)
    >>> conform(ds.drop_vars(["dac", "geoid"]))
    Traceback (most recent call last):
    is2ice.errors.SchemaError: 2 faults in mock (stages segments):
      geoid: missing (stage segments: geoid above the ellipsoid, tide-free (EGM2008))
      dac: missing (stage segments: dynamic atmosphere correction, inverted barometer included)
    """
    import xarray as xr

    if not isinstance(ds, xr.Dataset):
        raise TypeError(f"conform: expected an xarray.Dataset, got {type(ds).__name__}")
    stages = stages or ("segments",)
    in_a_file = "delta_time" not in ds.variables and "time" in ds.variables and ds["time"].dtype.kind == "f"
    faults = _faults(ds.rename(time="delta_time") if in_a_file else ds, stages, values)
    if "segments" in stages and "x_atc" in ds.coords and ds["x_atc"].ndim == 1 and ds.sizes["x_atc"] > 1:
        faults += _uneven_steps(ds)
    if faults:
        where = ds.attrs.get("id") or ds.attrs.get("granule") or "dataset"
        plural = "fault" if len(faults) == 1 else "faults"
        text = f"{len(faults)} {plural} in {where} (stages {', '.join(stages)}):\n  " + "\n  ".join(faults)
        raise SchemaError(text, faults)
    return ds


def mock_photons(n: int = 1000, *, seed: int = 0, x0: float = 28_400_000.0) -> xr.Dataset:
    """Photons of a flat strong beam over ice that follow the schema, for tests and examples.

    Parameters
    ----------
    n : int
        Number of pulses (0.71 m apart).
    seed : int
    x0 : float
        Along-track distance of the first pulse, m.
    """
    import xarray as xr

    rng = np.random.default_rng(seed)
    per_pulse = rng.poisson(6.0, n)
    pulse = np.repeat(np.arange(n), per_pulse)
    size = pulse.size
    ds = xr.Dataset(
        {
            "delta_time": (_P, 58_000_000.0 + pulse * 1e-4),
            "x_atc": (_P, x0 + pulse * 0.71),
            "h_ph": (_P, rng.normal(-55.0, 0.12, size).astype("f4")),
            "signal_conf": (_P, np.full(size, 4, "i1")),
            "quality": (_P, np.zeros(size, "i1")),
            "pulse": (_P, pulse.astype("i8") + 200_000),
            "channel": (_P, rng.integers(1, 17, size).astype("u1")),
        }
    )
    return annotate(ds, "photons")


def mock_segments(
    n: int = 100, *, stages: Iterable[str] = (), seed: int = 0, beam: str | None = None
) -> xr.Dataset:
    """Segments of a plausible strong-beam track that follow the schema, for tests and examples.

    Parameters
    ----------
    n : int
        Number of 2 m segments.
    stages : iterable of str
        Further stages to fill beside ``"segments"``.
    seed : int
    beam : str, optional
        With a name, the dataset gets a ``beam`` dimension of length one.
    """
    rng = np.random.default_rng(seed)
    x_atc = 28_400_000.0 + 2.0 * np.arange(n)
    k = np.arange(n)
    height = rng.normal(0.3, 0.05, n)
    n_photons = rng.poisson(16, n)
    fill: dict[str, Any] = {
        "delta_time": 58_000_000.0 + k * 2.0 / 7100.0,
        "latitude": -74.0 - k * 1.8e-5,
        "longitude": -170.0 - k * 5e-6,
        "x": -300_000.0 - k * 0.3,
        "y": -1_700_000.0 - k * 1.9,
        "n_photons": n_photons,
        "n_photons_all": n_photons + 3,
        "n_pulses": np.full(n, 3),
        "n_pulses_empty": 0,
        "photon_rate": n_photons / 3.0,
        "pcnth": 6.0,
        "pcnt": 9.0,
        "h_mean": height - 55.0,
        "h_median": height - 55.0,
        "h_core": height - 55.0,
        "h_std": 0.13,
        "h_spread": 0.12,
        "height": height,
        "height_uncertainty": 0.03,
        "background_rate": 6e6,
        "background_counts": 1400.0,
        "mss": -55.0,
        "geoid": -54.8,
        "tide_ocean": 0.1,
        "tide_equilibrium": 0.01,
        "dac": -0.05,
        "first_photon_bias": 0.015,
        "solar_elevation": 20.0,
        "segment_quality": 0,
        "label": 0,
        "label_flags": 0,
        "surface_class": 0,
        "class_probability": np.tile([0.9, 0.08, 0.02], (n, 1)),
        "lead_index": -1,
        "h_ref": 0.02,
        "h_ref_uncertainty": 0.01,
        "h_ref_flag": 0,
        "lead_probability": np.nan,
        "freeboard": height - 0.02,
        "freeboard_uncertainty": 0.03,
    }
    data = {}
    for stage in ("segments", *stages):
        for name, var in _stage(stage).items():
            if var.coord or (name not in fill and not var.required):
                continue
            dims = tuple(d for d in var.dims if d != "beam")
            shape = (n, len(CLASSES)) if "surface" in dims else (n,)
            data[name] = (dims, np.broadcast_to(np.asarray(fill[name]), shape).astype(var.dtype))
    import xarray as xr

    coords: dict[str, Any] = {"x_atc": x_atc}
    if "classified" in stages:
        coords["surface"] = list(CLASSES)
    ds = xr.Dataset(data, coords=coords)
    ds.attrs.update(segment_length=2.0, granule="mock", release="006", schema_version=SCHEMA_VERSION)
    if beam is not None:
        ds = ds.expand_dims(beam=[beam]).assign_coords(spot=("beam", np.array([3], "i1")))
    else:
        ds.attrs.update(beam="gt2r", spot=3)
    return annotate(ds)


def simulated_by(*attrs: Mapping[Any, Any]) -> str:
    """Return the generators (with preset and seed) of simulated data named by some attributes; empty if measured."""
    each = {name for one in attrs for name in str(one.get(SIMULATED, "")).split("; ") if name}
    return "; ".join(sorted(each))


def titled(title: str, *attrs: Mapping[Any, Any]) -> str:
    """Return a title that says so where the data under it are simulated."""
    return f"SIMULATED: {title}" if simulated_by(*attrs) and not title.startswith("SIMULATED") else title


def markdown_table() -> str:
    """Return the vocabulary as Markdown, as shown in ``stores/SCHEMA.md``."""
    lines = [
        "# Variables",
        "",
        f"Schema version {SCHEMA_VERSION}. Written by `python -m is2ice schema`; do not edit by hand.",
        "",
        "In files, `delta_time` of segments has the name `time`: the same seconds, which readers of CF times decode.",
        "Opened with is2ice, segments have `delta_time` in seconds, and `time` (datetime64, UTC) derived from it.",
        "",
    ]
    for stage, table in STAGES.items():
        lines += [f"## {stage}", "", "| name | dtype | units | dims | meaning |", "|---|---|---|---|---|"]
        for name, var in table.items():
            meaning = var.long_name
            flags = var.flag_values or var.flag_masks
            if flags:
                meaning += ": " + ", ".join(f"{k} {v}" for k, v in flags.items())
            if not var.required:
                meaning += " (optional)"
            units = var.units if not var.units.startswith("seconds since") else f"s since {EPOCH_DATE} UTC"
            lines.append(f"| `{name}` | {var.dtype} | {units} | {', '.join(var.dims)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)
