"""Photons to a regular along-track grid of short (2 m) segments.

Three floors: compiled loops (:mod:`is2ice.science.photon_kernels`), :func:`segment_block` on plain arrays, and
:func:`from_photons` on datasets. A block of the grid is computed from the photons that lie within a
margin of it, and its result does not depend on where the block begins or ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import NoSignalError
from is2ice.schema import Quality

from . import core_mean
from .first_photon_bias import FirstPhotonBias, from_model
from .photon_kernels import (
    Cells,
    Photons,
    background_at,
    cell_statistics,
    count_pulses,
    interpolate_nodes,
    photon_masks,
    pool,
    pulse_runs,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Background",
    "Cells",
    "Nodes",
    "PhotonArrays",
    "Selection",
    "from_photons",
    "margin",
    "segment_block",
]

F8 = NDArray[np.float64]

#: Photons farther than this from the segment's median do not count in ``height`` and ``h_spread``, m. The late tail
#: of the pulse and its afterpulses pull a plain mean down by 1.5 cm over ice, but hardly over dark water, where
#: they are too few to be found as signal: the difference would be a bias of freeboard. ATL07 trims too.
CORE = core_mean.TRIM
#: Heights above the mean sea surface that floating ice can have, m: a tabular iceberg is the highest of it.
HEIGHTS = (-20.0, 200.0)
#: Heights above the ellipsoid of anything on Earth, m.
ELLIPSOID_HEIGHTS = (-1000.0, 10_000.0)
#: Stretch over which rate and spread are pooled for the first-photon bias and the standard error, m.
POOL = 20.0
#: Spread of single photons about a flat surface, pulse tail and noise included, m: the pulse alone has 0.095.
NOMINAL_SPREAD = 0.2
#: Longest spacing of geolocation nodes bridged by interpolation, and farthest extrapolation, m.
NODE_GAP, NODE_REACH = 120.0, 30.0
#: Pulses in one background record, and the pulse repetition interval, s.
RECORD_PULSES, PULSE_INTERVAL = 50, 1e-4
#: Columns interpolated from 20 m nodes to segments.
NODE_COLUMNS = (
    "delta_time",
    "latitude",
    "longitude",
    "x",
    "y",
    "mss",
    "geoid",
    "tide_ocean",
    "tide_equilibrium",
    "dac",
    "solar_elevation",
)
TIDES = ("tide_ocean", "tide_equilibrium", "dac")


@dataclass(frozen=True)
class Selection:
    """Which photons are signal.

    Attributes
    ----------
    confidence : int
        Lowest ``signal_conf_ph`` (sea-ice column) accepted.
    quality : tuple of int
        ``quality_ph`` codes accepted, without the saturation decade of release 007 (10 partly, 20 fully
        saturated, plus the code): 0 nominal, 1 afterpulse, 2 impulse response, 4 burst, 5 streak.
    """

    confidence: int = 3
    quality: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.confidence not in range(5):
            raise ValueError(f"confidence={self.confidence!r}: expected a whole number from 0 to 4")

    def masks(
        self, h: F8, conf: NDArray[np.int8], quality: NDArray[np.int8]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Photons that count at all, that are selected, and that quality alone rejects."""
        accepted = np.isin(np.arange(10), self.quality)
        return photon_masks(h, conf, quality, self.confidence, accepted, ELLIPSOID_HEIGHTS)  # type: ignore[no-any-return]


@dataclass
class PhotonArrays:
    """Photons of one beam in file order, as plain arrays of one length."""

    x: F8
    h: NDArray[np.floating]
    conf: NDArray[np.int8]
    quality: NDArray[np.int8]
    pulse: NDArray[np.int64]


@dataclass
class Nodes:
    """Geolocation and correction nodes (one a 20 m geosegment), increasing in x.

    ``columns`` holds any of NODE_COLUMNS; what is missing becomes NaN. ``saturated`` and ``degraded``
    hold, by node, the fraction of fully saturated pulses and whether photons were removed for pointing.
    """

    x: F8
    columns: Mapping[str, F8] = field(default_factory=dict)
    saturated: F8 | None = None
    degraded: NDArray[np.bool_] | None = None


@dataclass
class Background:
    """Background records: start time (s), counts per 50 pulses, rate (1/s)."""

    start: F8
    counts: F8
    rate: F8


def possible(h: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Photon heights (m above the ellipsoid) that are no fill and that some surface or cloud can have."""
    return (h > ELLIPSOID_HEIGHTS[0]) & (h < ELLIPSOID_HEIGHTS[1])


def half_window(length: float) -> int:
    """Cells on each side that are pooled with a cell of the given length (m)."""
    return int(np.ceil(max(0.0, (POOL - length) / 2) / length))


def margin(length: float) -> float:
    """Distance (m) beyond a block within which photons and nodes affect it."""
    return half_window(length) * length + 2 * NODE_GAP


def segment_block(
    photons: PhotonArrays,
    nodes: Nodes,
    background: Background | None,
    bias: FirstPhotonBias | None,
    cells: Cells,
    *,
    selection: Selection,
    reference: str,
    corrections: tuple[str, ...] = TIDES,
) -> dict[str, NDArray]:
    """Every segment variable of some cells (lower edge of the first ``k0 * length``).

    Parameters
    ----------
    photons : PhotonArrays
        At least all photons within :func:`margin` of the block.
    nodes : Nodes
    background : Background or None
    bias : FirstPhotonBias or None
    cells : Cells
    selection : Selection
    reference : {"mss", "geoid"}
        Surface that heights refer to.
    corrections : tuple of str
        Tides removed from the height: some of tide_ocean, tide_equilibrium and dac.

    Returns
    -------
    dict of numpy.ndarray
        Shape (n,) each, with the names and dtypes of :data:`is2ice.schema.SEGMENTS`.
    """
    k0, n, length = cells
    w = half_window(length)
    stats = _photon_statistics(photons, selection, Cells(k0 - w, n + 2 * w, length))
    core_spread, rate = pool(
        stats["n_photons"], stats["core_count"], stats["core_squares"], stats["n_pulses"], w
    )
    inner = slice(w, w + n)
    out = {name: stats[name][inner] for name in _FROM_STATS}
    core_spread, rate = core_spread[inner], rate[inner]
    centre = (k0 + np.arange(n) + 0.5) * length
    out.update(_at_nodes(nodes, centre))

    count = out["n_photons"].astype("f8")
    filled = count > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        out["photon_rate"] = np.where(out["n_pulses"] > 0, count / out["n_pulses"], np.nan)
        out["h_std"] = np.where(count > 1, np.sqrt(stats["squares"][inner] / (count - 1)), np.nan)
        # The spread of sixteen photons is itself uncertain by a fifth and tied to their mean; the
        # pooled spread of the stretch is neither, so it makes the better standard error and weight.
        # Where every segment of the stretch holds one photon there is none: a cautious nominal one serves.
        pooled = np.where(np.isfinite(core_spread), core_spread, NOMINAL_SPREAD)
        core_count = np.maximum(stats["core_count"][inner], 1)
        low, wide = core_mean.FEW[:, np.minimum(out["n_photons"], core_mean.FEW.shape[1] - 1)]
        out["height_uncertainty"] = np.where(filled, wide * pooled / np.sqrt(core_count), np.nan)
    out["h_spread"] = core_spread

    quality = np.zeros(n, np.uint16)
    quality[filled & (count < 3)] |= Quality.FEW_PHOTONS.value
    _set_node_flags(quality, nodes, centre, length)
    quality[stats["bad"][inner]] |= Quality.PHOTONS_REJECTED_BY_QUALITY.value

    out["background_counts"], out["background_rate"] = _background(background, out["delta_time"])
    quality[filled & ~np.isfinite(out["background_rate"])] |= Quality.BACKGROUND_MISSING.value

    fpb, source_bits = _first_photon_bias(bias, rate, core_spread, filled)
    if bias is not None:
        fpb = fpb + low
    out["first_photon_bias"] = fpb
    quality |= source_bits

    correction = out[reference] + sum((out[c] for c in corrections), np.zeros(n))
    height = out["h_core"] - correction - fpb
    absurd = np.isfinite(height) & ~((height >= HEIGHTS[0]) & (height <= HEIGHTS[1]))
    out["height"] = np.where(absurd, np.nan, height)
    quality[absurd] |= Quality.HEIGHT_IMPOSSIBLE.value
    quality[filled & ~np.isfinite(correction)] |= Quality.CORRECTION_MISSING.value
    if reference == "geoid":
        quality[filled] |= Quality.HEIGHT_ABOVE_GEOID.value
    out["segment_quality"] = quality
    table = schema.SEGMENTS
    return {name: np.asarray(a).astype(table[name].dtype, copy=False) for name, a in out.items()}


_FROM_STATS = (
    "n_photons",
    "n_photons_all",
    "n_pulses",
    "n_pulses_empty",
    "pcnth",
    "pcnt",
    "h_mean",
    "h_median",
    "h_core",
)


def _photon_statistics(photons: PhotonArrays, selection: Selection, cells: Cells) -> dict[str, NDArray]:
    counted, selected, rejected = selection.masks(photons.h, photons.conf, photons.quality)
    x, pulse = photons.x, photons.pulse
    number, where, n_all, n_sel, row, seen = pulse_runs(pulse, counted, selected, x)
    if seen < 0:
        # Pulse numbers are out of order (a damaged or merged file): group them by sorting instead.
        unique, first, inverse = np.unique(pulse[counted], return_index=True, return_inverse=True)
        rows = np.flatnonzero(counted)
        number, where, seen = unique, x[rows[first]], unique.size
        row = np.full(x.size, -1, np.int32)
        row[rows] = inverse
        n_all = np.bincount(inverse, minlength=seen).astype(np.int32)
        n_sel = np.bincount(row[selected], minlength=seen).astype(np.int32)
    fired, empty = count_pulses(number, where, n_sel, seen, *cells)
    names: tuple[str, ...] = (
        "n_photons_all",
        "n_photons",
        "bad",
        "h_mean",
        "h_median",
        "h_core",
        "squares",
        "core_squares",
    )
    names += ("core_count", "pcnth", "pcnt")
    values = cell_statistics(
        Photons(x, photons.h, counted, selected, rejected, row), n_all, n_sel, cells, CORE
    )
    return dict(zip(names, values, strict=True)) | {"n_pulses": fired, "n_pulses_empty": empty}


def _at_nodes(nodes: Nodes, centre: F8) -> dict[str, F8]:
    names = [c for c in NODE_COLUMNS if c in nodes.columns]
    out = {c: np.full(centre.size, np.nan) for c in NODE_COLUMNS if c not in names}
    values = np.empty((nodes.x.size, len(names)))
    for j, c in enumerate(names):
        values[:, j] = nodes.columns[c]
    period = np.array([360.0 if c == "longitude" else 0.0 for c in names])
    for name, a in zip(
        names, interpolate_nodes(centre, nodes.x, values, period, NODE_GAP, NODE_REACH), strict=True
    ):
        out[name] = a
    return out


def _set_node_flags(quality: NDArray[np.uint16], nodes: Nodes, centre: F8, length: float) -> None:
    """Bits that a 20 m geosegment gives to the segments nearest to its node."""
    if nodes.x.size == 0:
        return
    j = np.clip(np.searchsorted(nodes.x, centre), 1, max(nodes.x.size - 1, 1)) if nodes.x.size > 1 else None
    if j is None:
        near = np.zeros(centre.size, np.int64)
    else:
        near = np.where(centre - nodes.x[j - 1] < nodes.x[j] - centre, j - 1, j)
    within = np.abs(nodes.x[near] - centre) <= 10.5 + length
    if nodes.saturated is not None:
        quality[within & (nodes.saturated[near] >= 0.5)] |= Quality.HALF_OF_PULSES_FULLY_SATURATED.value
    if nodes.degraded is not None:
        quality[within & nodes.degraded[near]] |= Quality.DEGRADED_POINTING_REMOVED.value


def _background(background: Background | None, time: F8) -> tuple[F8, F8]:
    if background is None:
        return np.full(time.size, np.nan), np.full(time.size, np.nan)
    span = RECORD_PULSES * PULSE_INTERVAL
    counts, rate = background_at(
        time, background.start, background.counts, background.rate, span, max_gap=5 * span
    )
    return counts, rate


def _first_photon_bias(
    bias: FirstPhotonBias | None, rate: F8, spread: F8, filled: NDArray[np.bool_]
) -> tuple[F8, NDArray[np.uint16]]:
    bits = np.zeros(rate.size, np.uint16)
    if bias is None:
        return np.where(filled, 0.0, np.nan), bits
    # A stretch with one photon a cell shows no spread; the bare pulse is the best guess.
    value, clipped = bias(rate, np.where(np.isfinite(spread), spread, 0.1))
    value = np.where(filled, value, np.nan)
    if bias.source == "model":
        bits[filled] |= Quality.FIRST_PHOTON_BIAS_FROM_MODEL.value
    bits[filled & clipped] |= Quality.FIRST_PHOTON_BIAS_OUTSIDE_RANGE.value
    bits[filled & (rate > bias.limit)] |= Quality.PHOTON_RATE_SATURATED.value
    return value, bits


def from_photons(
    photons: xr.Dataset,
    *,
    length: float = schema.SEGMENT_LENGTH,
    selection: Selection | None = None,
    nodes: Nodes | None = None,
    background: Background | None = None,
    bias: FirstPhotonBias | str | None = "model",
    reference: str = "mss",
) -> xr.Dataset:
    """Segments of one beam from photons in memory.

    Parameters
    ----------
    photons : xarray.Dataset
        :data:`is2ice.schema.PHOTONS` along ``photon``, in the order of the product.
    length : float
        Segment length, m.
    selection : Selection, optional
        Confidence 3 and nominal quality by default.
    nodes : Nodes, optional
        Geolocation and corrections; without them positions are the photons' own and heights stay
        uncorrected (``height`` NaN, flagged ``correction_missing``).
    background : Background, optional
    bias : FirstPhotonBias, "model" or None
        Source of the first-photon bias; ``"model"`` takes the strength from ``photons.attrs["spot"]``
        (odd strong, even weak; strong if absent).
    reference : {"mss", "geoid"}

    Returns
    -------
    xarray.Dataset
        :data:`is2ice.schema.SEGMENTS` along ``x_atc``.

    Raises
    ------
    ValueError
        For a length that is not positive.
    NoSignalError
        When no photon is selected.
    SchemaError
        When photon variables are missing or of another type.

    Examples
    --------
    >>> segments = from_photons(schema.mock_photons(500))
    >>> float(segments.n_photons.sum()), segments.sizes["x_atc"]
    (2981.0, 178)
    """
    length = check_length(length)
    selection = selection or Selection()
    schema.conform(photons, "photons", values=False)
    arrays = PhotonArrays(
        x=photons["x_atc"].values.astype("f8", copy=False),
        h=photons["h_ph"].values,
        conf=photons["signal_conf"].values,
        quality=photons["quality"].values,
        pulse=photons["pulse"].values,
    )
    require_signal(arrays, selection, where=photons.attrs.get("granule", "photons"))
    k0 = int(np.floor(arrays.x.min() / length))
    n = int(np.floor(arrays.x.max() / length)) - k0 + 1
    if isinstance(bias, str):
        strength = "weak" if int(photons.attrs.get("spot", 1)) % 2 == 0 else "strong"
        bias = core_mean.of_core(from_model(strength), strength)
    if nodes is None:
        nodes = _nodes_from_photons(photons)
    data = segment_block(
        arrays,
        nodes,
        background,
        bias,
        Cells(k0, n, length),
        selection=selection,
        reference=reference,
    )
    return to_dataset(data, k0, length, photons.attrs | {"height_reference": reference})


def to_dataset(data: Mapping[str, NDArray], k0: int, length: float, attrs: Mapping) -> xr.Dataset:
    """Segment arrays as a dataset on the regular grid, with the schema's attributes and order."""
    import xarray as xr

    n = next(iter(data.values())).shape[0]
    order = [name for name, var in schema.SEGMENTS.items() if not var.coord]
    ds = xr.Dataset(
        {name: ("x_atc", data[name]) for name in order},
        coords={"x_atc": (k0 + np.arange(n)) * length},
        attrs=dict(attrs) | {"segment_length": length, "schema_version": schema.SCHEMA_VERSION},
    )
    return schema.annotate(ds)


def check_length(length: float) -> float:
    """Return the segment length as a float, refused unless positive and finite."""
    length = float(length)
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"segment length: expected a positive number of metres, got {length!r}")
    return length


def require_signal(photons: PhotonArrays, selection: Selection, where: str) -> None:
    """Refuse a track in which no photon is selected.

    Raises
    ------
    NoSignalError
    """
    _, selected, _ = selection.masks(photons.h, photons.conf, photons.quality)
    if selected.any():
        return
    raise NoSignalError(no_signal_text(where, (photons.h, photons.conf, photons.quality), selection))


def no_signal_text(
    where: str,
    photons: tuple[NDArray, NDArray[np.int8], NDArray[np.int8]],
    selection: Selection,
    taken: Mapping[str, NDArray[np.bool_]] | None = None,
    left: NDArray[np.bool_] | None = None,
    in_mask: bool = True,
) -> str:
    """Say which rule took how many photons where none is left.

    Parameters
    ----------
    where : str
        Granule and beam.
    photons : (h, conf, quality)
    selection : Selection
    taken : mapping of str to numpy.ndarray of bool, optional
        Photons that rules before the selection took, by rule.
    left : numpy.ndarray of bool, optional
        Photons that came to the selection; all by default.
    in_mask : bool
        The track lies in the sea-ice mask.
    """
    h, conf, quality = photons
    left = np.ones(conf.size, bool) if left is None else left
    counts = {name: int(mask.sum()) for name, mask in (taken or {}).items()}
    weak = left & ~((conf >= selection.confidence) & (conf <= 4))
    counts[f"of sea-ice confidence below {selection.confidence} (signal_conf_ph[:, 2])"] = int(weak.sum())
    rest = left & ~weak
    poor = rest & ~np.isin(quality % 10, selection.quality)
    counts[f"of quality other than {list(selection.quality)} (quality_ph)"] = int(poor.sum())
    counts["without a height that can be (h_ph)"] = int((rest & ~poor & ~possible(h)).sum())
    codes, n = np.unique(conf[left], return_counts=True)
    found = ", ".join(f"{c}: {k:,}" for c, k in zip(codes, n, strict=True)) or "none"
    rules = "; ".join(f"{k:,} are {name}" for name, k in counts.items() if k) or "the file holds none"
    worst = max(counts, key=lambda name: counts[name])
    hint = "use another granule, or fetch this one again"
    if "confidence" in worst or not in_mask:
        hint = "is this track over sea ice, or under thick cloud? A lower confidence= takes weaker signal"
        if not in_mask or (conf.size and (conf < 0).all()):
            hint = "the product did not look for sea ice here (surf_type); is this track inside the sea-ice mask?"
    elif "podppd" in worst:
        hint = "the spacecraft's pointing or orbit is degraded here; use another granule"
    return (
        f"{where}: of {conf.size:,} photons none is left: {rules} (confidence of those left {found}); {hint}"
    )


def impossible_heights(segments: xr.Dataset) -> int:
    """Count segments whose height was impossible: it is NaN and flagged."""
    return int(np.count_nonzero(np.asarray(segments["segment_quality"]) & Quality.HEIGHT_IMPOSSIBLE.value))


def _nodes_from_photons(photons: xr.Dataset) -> Nodes:
    """Nodes every 20 m from the photons' own positions, where no geolocation table is at hand."""
    x = photons["x_atc"].values
    bin_ = np.floor(x / 20.0).astype(np.int64)
    _, first, inverse = np.unique(bin_, return_index=True, return_inverse=True)
    count = np.bincount(inverse)

    def mean(a: NDArray) -> F8:
        base = a[first][inverse]
        return a[first] + np.bincount(inverse, a - base) / count

    columns = {"delta_time": mean(photons["delta_time"].values)}
    if "latitude" in photons and "longitude" in photons:
        lon = photons["longitude"].values
        base = lon[first][inverse]
        turn = (lon - base + 180.0) % 360.0 - 180.0
        mean_lon = lon[first] + np.bincount(inverse, turn) / count
        columns["latitude"] = mean(photons["latitude"].values)
        columns["longitude"] = (mean_lon + 180.0) % 360.0 - 180.0
    return Nodes(mean(x), columns)
