"""The 20 m geolocation table of an ATL03 beam: geosegments, corrections, background, subsets.

Small next to the photons (about 160,000 rows a granule), so it is read whole, once, and tells which
photons a subset needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice.errors import GranuleError
from is2ice.science.area import box_of, in_box
from is2ice.science.epoch import delta_time, span
from is2ice.science.segments import TIDES, Background

__all__ = [
    "BeamTable",
    "Subset",
    "clean",
    "crs_of",
    "gap_notes",
    "last_length",
    "read_table",
    "table_paths",
    "text",
]

F8 = NDArray[np.float64]

SEA_ICE = 2  # column of signal_conf_ph and surf_type
CORRECTIONS = ("geoid", *TIDES)
#: What the table is made from, by group; what a file lacks of it is told where it is missed.
TABLE = {
    "geolocation": (
        "segment_dist_x", "segment_ph_cnt", "ph_index_beg", "reference_photon_index", "delta_time",
        "reference_photon_lat", "reference_photon_lon", "solar_elevation", "podppd_flag", "surf_type",
        "segment_length", "full_sat_fract",
    ),
    "geophys_corr": (*CORRECTIONS, "dem_h", "dem_flag"),
    "bckgrd_atlas": ("delta_time", "bckgrd_counts", "bckgrd_rate"),
}  # fmt: skip


@dataclass(frozen=True)
class Subset:
    """Part of a track.

    Attributes
    ----------
    bbox : (west, south, east, north), optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC, or delta_time in seconds (:mod:`is2ice.science.epoch`); an end given as a day includes that day.
    x_atc : (first, last), optional
        Along-track distance, m.
    """

    bbox: tuple[float, float, float, float] | None = None
    time: tuple[Any, Any] | None = None
    x_atc: tuple[float, float] | None = None

    def rows(self, table: BeamTable, where: str) -> NDArray[np.bool_]:
        """Which geosegments of a table belong to the subset."""
        keep = np.ones(table.dist_x.size, bool)
        if self.bbox is not None:
            keep &= in_box(table.longitude, table.latitude, box_of(self.bbox))
        if self.time is not None:
            start, end = map(delta_time, span(self.time))
            keep &= (table.time >= start) & (table.time <= end)
        if self.x_atc is not None:
            first, last = self.x_atc
            keep &= (table.dist_x + table.length > first) & (table.dist_x < last)
        if not keep.any():
            lat, lon = table.latitude, table.longitude
            raise GranuleError(
                f"{where}: no geosegment lies in the subset ({self._text()}); the track covers latitude "
                f"{np.nanmin(lat):.3f} to {np.nanmax(lat):.3f}, longitude from {lon[0]:.3f} to {lon[-1]:.3f}, x_atc "
                f"{table.dist_x[0]:.0f} to {table.dist_x[-1]:.0f} m, delta_time {table.time[0]:.3f} to "
                f"{table.time[-1]:.3f} s"
            )
        return keep

    def _text(self) -> str:
        parts = [f"{k}={getattr(self, k)}" for k in ("bbox", "time", "x_atc") if getattr(self, k) is not None]
        return ", ".join(parts) or "everything"


@dataclass
class BeamTable:
    """The 20 m geolocation table of a beam, its corrections and background, in memory."""

    dist_x: F8
    length: F8
    first: NDArray[np.int64]  # 0-based row of the first photon, -1 for none
    count: NDArray[np.int64]
    time: F8
    latitude: F8
    longitude: F8
    reference_row: NDArray[np.int64]  # 0-based photon row of the reference photon, -1 for none
    sea_ice: bool
    degraded: NDArray[np.bool_]
    saturated: F8 | None
    columns: dict[str, F8] = field(default_factory=dict)
    background: Background | None = None
    height_reference: str = "mss"
    notes: list[str] = field(default_factory=list)


def clean(a: NDArray) -> F8:
    """float64 with fill values (about 3.4e38 and 1.8e308) as NaN."""
    out = np.asarray(a, "f8")
    bad = ~(np.abs(out) < 1e30)
    if bad.any():
        out = np.where(bad, np.nan, out)
    return out


def text(value: Any) -> str:
    value = np.asarray(value).ravel()
    value = value[0] if value.size else b""
    return value.decode() if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=4)
def _projector(crs: str):  # type: ignore[no-untyped-def]
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


def crs_of(south: bool) -> str:
    """NSIDC sea-ice polar stereographic of the hemisphere."""
    return "EPSG:3976" if south else "EPSG:3413"


def table_paths(beam: str) -> list[str]:
    """Datasets that the table of a beam is read from."""
    return [f"{beam}/{group}/{name}" for group, names in TABLE.items() for name in names]


def read_table(file: h5py.File, beam: str, granule: str) -> BeamTable:
    """Geolocation table of a beam; its ``notes`` say what the file lacks.

    Raises
    ------
    GranuleError
        When a needed dataset is missing or the distances do not increase.
    """
    return _Reader(file, granule).read(beam)


class _Reader:
    """Reads one beam's tables from an open file, naming what is missing."""

    def __init__(self, file: h5py.File, granule: str) -> None:
        self.file, self.id = file, granule
        self.notes: list[str] = []

    def _get(self, beam: str, path: str, why: str = "") -> NDArray:
        full = f"{beam}/{path}"
        if full not in self.file:
            raise GranuleError(
                f"{self.id}: {full} is missing{why or '; the file may be a subset made without it'}"
            )
        return self.file[full][()]

    def read(self, beam: str) -> BeamTable:
        geo = f"{beam}/geolocation"
        f = self.file
        dist_x = clean(self._get(beam, "geolocation/segment_dist_x"))
        self._check_distances(beam, dist_x)
        n = dist_x.size
        count = np.asarray(self._get(beam, "geolocation/segment_ph_cnt"), "i8")
        first = np.asarray(self._get(beam, "geolocation/ph_index_beg"), "i8") - 1
        total = f[f"{beam}/heights/h_ph"].shape[0]
        used = (count > 0) & (first >= 0)
        if used.any() and int((first + count)[used].max()) > total:
            row = int(np.flatnonzero(used & (first + count > total))[0])
            raise GranuleError(
                f"{self.id} {beam}: geosegment row {row} points to photon {int(first[row] + count[row]):,}, but the "
                f"file holds {total:,}: ph_index_beg was not rebased by whatever cut this file"
            )
        first = np.where(used, first, -1)
        ref = np.asarray(self._get(beam, "geolocation/reference_photon_index"), "i8")
        reference = np.where(used & (ref > 0), first + ref - 1, -1)
        time = clean(self._get(beam, "geolocation/delta_time"))
        latitude = clean(self._get(beam, "geolocation/reference_photon_lat"))
        longitude = clean(self._get(beam, "geolocation/reference_photon_lon"))
        columns: dict[str, F8] = {}
        if f"{geo}/solar_elevation" in f:
            columns["solar_elevation"] = clean(f[f"{geo}/solar_elevation"][()])
        for name in CORRECTIONS:
            if f"{beam}/geophys_corr/{name}" in f:
                columns[name] = clean(f[f"{beam}/geophys_corr/{name}"][()])
        reference_surface = self._mean_sea_surface(beam, columns, n)
        south = float(np.nanmean(latitude)) < 0
        x, y = _projector(crs_of(south)).transform(longitude, latitude)
        columns |= {"x": clean(x), "y": clean(y)}
        degraded = np.zeros(n, bool)
        if f"{geo}/podppd_flag" in f:
            degraded = f[f"{geo}/podppd_flag"][()] != 0
        surf = f[f"{geo}/surf_type"][:, SEA_ICE] if f"{geo}/surf_type" in f else np.ones(n)
        return BeamTable(
            dist_x=dist_x,
            length=clean(self._get(beam, "geolocation/segment_length")),
            first=first,
            count=np.where(used, count, 0),
            time=time,
            latitude=_filled(latitude),
            longitude=_filled(longitude),
            reference_row=reference,
            sea_ice=bool(np.any(surf == 1)),
            degraded=degraded,
            saturated=clean(f[f"{geo}/full_sat_fract"][()]) if f"{geo}/full_sat_fract" in f else None,
            columns=columns | {"delta_time": time, "latitude": latitude, "longitude": longitude},
            background=self._background(beam),
            height_reference=reference_surface,
            notes=self.notes,
        )

    def _check_distances(self, beam: str, dist_x: F8) -> None:
        if dist_x.size == 0:
            raise GranuleError(f"{self.id} {beam}: the geolocation group has no geosegment")
        step = np.diff(dist_x)
        if np.isnan(dist_x).any() or (step <= 0).any():
            row = int(np.flatnonzero(~(step > 0))[0]) if step.size else 0
            raise GranuleError(
                f"{self.id} {beam}: segment_dist_x does not increase: row {row} has {dist_x[row]:.3f} m, row {row + 1} "
                f"{dist_x[min(row + 1, dist_x.size - 1)]:.3f} m. Is the file a merge of several granules?"
            )

    def _mean_sea_surface(self, beam: str, columns: dict[str, F8], n: int) -> str:
        """Put the MSS among the columns; tell which surface heights of this beam refer to."""
        path = f"{beam}/geophys_corr"
        f = self.file
        mss = np.full(n, np.nan)
        if f"{path}/dem_h" in f and f"{path}/dem_flag" in f:
            mss = np.where(f[f"{path}/dem_flag"][()] == 3, clean(f[f"{path}/dem_h"][()]), np.nan)
        columns["mss"] = mss
        # One surface for the whole beam: a switch between the two would be a step of decimetres.
        share = float(np.isfinite(mss).mean())
        if share >= 0.5:
            if share < 1.0:
                self.notes.append(
                    f"{beam}: no mean sea surface for {1 - share:.1%} of geosegments (dem_flag not 3)"
                )
            return "mss"
        self.notes.append(
            f"{beam}: heights refer to the geoid: dem_flag is 3 (MSS) in {share:.0%} of geosegments"
        )
        return "geoid"

    def _background(self, beam: str) -> Background | None:
        path = f"{beam}/bckgrd_atlas"
        f = self.file
        if any(f"{path}/{name}" not in f for name in ("delta_time", "bckgrd_counts", "bckgrd_rate")):
            self.notes.append(f"{beam}: no background (bckgrd_atlas): background variables are NaN")
            return None
        start = clean(f[f"{path}/delta_time"][()])
        order = np.flatnonzero(np.isfinite(start))
        if (np.diff(start[order]) <= 0).any():
            order = order[np.unique(start[order], return_index=True)[1]]
        time = clean(f[f"{beam}/geolocation/delta_time"][()])
        near = time[np.clip(np.searchsorted(time, start[order]), 1, time.size - 1) - np.array([[1], [0]])]
        outside = np.abs(near - start[order]).min(axis=0) > 1.0
        if outside.mean() > 0.05:
            self.notes.append(f"{beam}: background was not cut with the photons ({start.size:,} records)")
        counts, rate = clean(f[f"{path}/bckgrd_counts"][()]), clean(f[f"{path}/bckgrd_rate"][()])
        return Background(start[order], counts[order], rate[order])


def gap_notes(beam: str, dist_x: F8, longer_than: float = 1000.0) -> list[str]:
    """One line on the gaps of a track: how many, and the longest."""
    step = np.diff(dist_x)
    gaps = np.flatnonzero(step > longer_than)
    if gaps.size == 0:
        return []
    worst = gaps[np.argmax(step[gaps])]
    plural = "a gap" if gaps.size == 1 else f"{gaps.size} gaps, the longest"
    return [f"{beam}: {plural} of {step[worst] / 1e3:.0f} km from x_atc {dist_x[worst]:.0f} m"]


def last_length(table: BeamTable, row: int) -> float:
    length = float(table.length[row])
    return length if 0 < length < 100 else 20.0


def _filled(a: F8) -> F8:
    """Values of empty geosegments taken from the nearest one before (or after), for selections only."""
    good = np.flatnonzero(np.isfinite(a))
    if good.size in (0, a.size):
        return a
    return a[good[np.clip(np.searchsorted(good, np.arange(a.size), side="right") - 1, 0, None)]]
