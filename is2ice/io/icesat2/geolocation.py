"""The 20 m geolocation table of an ATL03 beam: geosegments, corrections, background, subsets.

Small next to the photons (about 160,000 rows a granule), so it is read whole, once, and tells which
photons a subset needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from is2ice.errors import GranuleError
from is2ice.io.remote.hdf5_file import Hdf5
from is2ice.science.area import Area, area_of, crs_of, in_area
from is2ice.science.epoch import delta_time, span
from is2ice.science.segments import TIDES, Background

from .cleaning import (
    clean,
    consistent_photons,
    course_ratio,
    increasing_rows,
    isolated_rows,
    jumps,
    position_outliers,
    time_outliers,
)

__all__ = [
    "BeamTable",
    "Subset",
    "gap_notes",
    "last_length",
    "photon_notes",
    "read_table",
    "table_paths",
    "text",
]

F8 = NDArray[np.float64]

#: Variables of the heights group that segments are made from.
PHOTON_COLUMNS = ("dist_ph_along", "h_ph", "signal_conf_ph", "quality_ph", "pce_mframe_cnt", "ph_id_pulse")
#: Longest track that is taken for one, m; a granule has 3,300 km.
LONGEST = 6e6
SEA_ICE = 2  # column of signal_conf_ph and surf_type
CORRECTIONS = ("geoid", *TIDES)
#: Time and region in the name of a granule.
PASS_NAME = re.compile(r"ATL03_(\d{14})_\d{6}(\d\d)_")
#: Variables that change slowly along a track.
SMOOTH = CORRECTIONS
#: What the table is made from, by group; what a file lacks of it is told where it is missed.
TABLE = {
    "geolocation": (
        "segment_dist_x",
        "segment_ph_cnt",
        "ph_index_beg",
        "reference_photon_index",
        "delta_time",
        "reference_photon_lat",
        "reference_photon_lon",
        "solar_elevation",
        "podppd_flag",
        "surf_type",
        "segment_length",
        "full_sat_fract",
    ),
    "geophys_corr": (*CORRECTIONS, "dem_h", "dem_flag"),
    "bckgrd_atlas": ("delta_time", "bckgrd_counts", "bckgrd_rate"),
}
#: Variables that need their digits.
PRECISE = {
    "segment_dist_x": "float64",
    "delta_time": "float64",
    "reference_photon_lat": "float64",
    "reference_photon_lon": "float64",
    "h_ph": "float32",
    "dist_ph_along": "float32",
    **dict.fromkeys(CORRECTIONS, "float32"),
    "dem_h": "float32",
}
#: Latitudes of the regions in granules' names, and 1 where the satellite flies north in all of it, -1 south.
REGIONS = {
    1: (0, 27, 1), 2: (27, 59.5, 1), 3: (59.5, 80, 1), 4: (80, 88, 0), 5: (59.5, 80, -1), 6: (27, 59.5, -1),
    7: (0, 27, -1), 8: (-27, 0, -1), 9: (-50, -27, -1), 10: (-79, -50, -1), 11: (-88, -79, 0), 12: (-79, -50, 1),
    13: (-50, -27, 1), 14: (-27, 0, 1),
}  # fmt: skip
#: Seconds that a granule may take after the time in its name.
LONGEST_SECONDS = 1200.0
#: Held while numbers of damaged photons are counted, since several threads read the blocks of a track.
_COUNTING = Lock()
#: Notes on damaged photons, by kind.
DAMAGE = {
    "confidence": "signal_conf_ph of {n:,} photons is no code of the product: these count as no signal",
    "quality": "quality_ph of {n:,} photons is no code of the product: these count as rejected",
    "along": "dist_ph_along of {n:,} photons lies outside of their geosegment, so their places are doubtful",
    "height": "h_ph of {n:,} photons is a fill or no possible value: these are left out",
    "mended pulse": "pce_mframe_cnt or ph_id_pulse of {n:,} photons cannot be, or is out of order: the pulse of the "
    "photon before is taken",
    "pulse": "pce_mframe_cnt or ph_id_pulse of {n:,} photons cannot be, or is out of order: rates per pulse are wrong "
    "there",
}


@dataclass(frozen=True)
class Subset:
    """Part of a track.

    Attributes
    ----------
    bbox : (west, south, east, north) or polygons, optional
        Degrees; west > east crosses the antimeridian. Polygons as :func:`is2ice.science.area.area_of` takes them.
    time : (start, end), optional
        UTC, or delta_time in seconds (:mod:`is2ice.science.epoch`); an end given as a day includes that day.
    x_atc : (first, last), optional
        Along-track distance, m.
    """

    bbox: Area | None = None
    time: tuple[Any, Any] | None = None
    x_atc: tuple[float, float] | None = None

    def rows(self, table: BeamTable, where: str) -> NDArray[np.bool_]:
        """Return True for each geosegment of a table that belongs to the subset."""
        keep = np.ones(table.dist_x.size, bool)
        if self.bbox is not None:
            keep &= in_area(table.longitude, table.latitude, area_of(self.bbox))
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
    damage: dict[str, NDArray[np.int64]] = field(default_factory=dict)  # photons by kind and geosegment

    def count_damage(self, kind: str, segment: NDArray[np.int64], bad: NDArray[np.bool_]) -> None:
        """Keep the number of damaged photons by geosegment, so that blocks that overlap count each photon once."""
        if (own := bad & (segment >= 0)).any():
            self.add_damage(kind, np.bincount(segment[own], minlength=self.dist_x.size))

    def add_damage(self, kind: str, found: NDArray[np.int64]) -> None:
        """Take over numbers of damaged photons by geosegment; blocks are read by several threads."""
        with _COUNTING:
            counts = self.damage.setdefault(kind, np.zeros(self.dist_x.size, np.int64))
            np.maximum(counts, found, out=counts)

    def damage_found(self) -> dict[str, NDArray[np.int64]]:
        """Return the numbers of damaged photons by kind and geosegment, as they are now."""
        with _COUNTING:
            return {kind: counts.copy() for kind, counts in self.damage.items()}


def text(value: Any) -> str:
    """Return the first element of an attribute as text; empty if there is none."""
    value = np.asarray(value).ravel()
    value = value[0] if value.size else b""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=4)
def _projector(crs: str):  # type: ignore[no-untyped-def]
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


def table_paths(beam: str) -> list[str]:
    """Datasets that the table of a beam is read from."""
    return [f"{beam}/{group}/{name}" for group, names in TABLE.items() for name in names]


def read_table(file: Hdf5, beam: str, granule: str) -> BeamTable:
    """Geolocation table of a beam; its ``notes`` say what the file lacks.

    Raises
    ------
    GranuleError
        When a needed dataset is missing or the distances do not increase.
    """
    return _Reader(file, granule).read(beam)


class _Reader:
    """Reads one beam's tables from an open file, naming what is missing."""

    def __init__(self, file: Hdf5, granule: str) -> None:
        self.file, self.id = file, granule
        self.notes: list[str] = []

    def _get(self, path: str, rows: int | None = None) -> NDArray:
        found = self.file.need(path, rows=rows)
        self._note_rounded(path, found.dtype)
        return np.asarray(found[()])

    def _note_rounded(self, path: str, dtype: np.dtype[Any]) -> None:
        """Note a variable of the product's precise ones that is stored in fewer digits."""
        expected = PRECISE.get(path.rpartition("/")[2])
        if expected and (dtype.kind != "f" or dtype.itemsize < np.dtype(expected).itemsize):
            self.notes.append(f"{path} is stored as {dtype}, expected {expected}: its values are rounded")

    def _maybe(self, path: str, rows: int) -> NDArray | None:
        """Values of a variable that a file may lack; one that cannot be used is noted as well."""
        if path not in self.file:
            return None
        try:
            return self._get(path, rows)
        except GranuleError as error:
            self.notes.append(f"left out: {error}")
            return None

    def _note(self, beam: str, what: str, bad: NDArray[np.bool_], why: str) -> None:
        if n := int(np.count_nonzero(bad)):
            self.notes.append(f"{beam}: {what} of {n:,} of {bad.size:,} geosegments {why}")

    def read(self, beam: str) -> BeamTable:
        """Read the table; rows whose distance cannot be are left out."""
        geo = f"{beam}/geolocation"
        total = self._photons(beam)
        dist_x, rows, n_file = self._distances(beam)
        n = dist_x.size

        def column(name: str) -> NDArray:
            return self._get(f"{geo}/{name}", n_file)[rows]

        def cleaned(group: str, name: str, used: NDArray[np.bool_]) -> F8 | None:
            raw = self._maybe(f"{beam}/{group}/{name}", n_file)
            if raw is None:
                return None
            values = clean(raw[rows], name)
            if name in SMOOTH:
                values = self._smooth(beam, name, values, dist_x)
            if name != "dem_h":
                self._note(beam, name, used & np.isnan(values), "is a fill or no possible value")
            return values

        first, count, used = self._index(beam, column("ph_index_beg"), column("segment_ph_cnt"), total)
        ref = np.asarray(column("reference_photon_index"), "i8")
        inside = used & (ref > 0) & (ref <= count)
        self._note(beam, "reference_photon_index", used & ~inside, "points to none of their photons")
        time, latitude, longitude = self._nodes(beam, dist_x, used, column)
        columns: dict[str, F8] = {}
        for group, name in (("geolocation", "solar_elevation"), *(("geophys_corr", c) for c in CORRECTIONS)):
            if (values := cleaned(group, name, used)) is not None:
                columns[name] = values
        if "solar_elevation" not in columns:
            self.notes.append(f"{beam}: no usable solar_elevation: day and night are not distinguished")
        reference_surface = self._mean_sea_surface(beam, columns, cleaned, used, dist_x)
        south = float(np.nanmean(latitude)) < 0 if np.isfinite(latitude).any() else False
        x, y = _projector(crs_of(south)).transform(longitude, latitude)
        columns |= {"x": clean(x), "y": clean(y)}
        flag = self._maybe(f"{geo}/podppd_flag", n_file)
        degraded = np.zeros(n, bool) if flag is None else np.asarray(flag[rows] != 0)
        if flag is None:
            self.notes.append(f"{beam}: no podppd_flag: degraded pointing is not known")
        self._note(
            beam, "photons", degraded & used, "are left out: pointing or orbit is degraded (podppd_flag)"
        )
        saturated = cleaned("geolocation", "full_sat_fract", used)
        return BeamTable(
            dist_x=dist_x,
            length=clean(column("segment_length"), "segment_length"),
            first=np.where(used, first, -1),
            count=np.where(used, count, 0),
            time=time,
            latitude=_filled(latitude),
            longitude=_filled(longitude),
            reference_row=np.where(inside, first + ref - 1, -1),
            sea_ice=self._sea_ice(beam, n_file),
            degraded=degraded,
            saturated=saturated,
            columns=columns | {"delta_time": time, "latitude": latitude, "longitude": longitude},
            background=self._background(beam, time),
            height_reference=reference_surface,
            notes=self.notes,
        )

    def _smooth(self, beam: str, name: str, values: F8, dist_x: F8) -> F8:
        """Leave out the rows of a correction that jump away from their neighbours; note the jumps that remain."""
        outliers, left = jumps(values, dist_x)
        self._note(beam, name, outliers, "jumps away from the others: left out")
        if left.size:
            self.notes.append(
                f"{beam}: {name} jumps by up to {np.abs(left).max():.3g} m, {left.size:,} times: heights on the two "
                "sides are not comparable"
            )
        return np.where(outliers, np.nan, values) if outliers.any() else values

    def _photons(self, beam: str) -> int:
        """Return the number of photons, after a look at every column that segments are made from."""
        total = int(self.file.need(f"{beam}/heights/h_ph").shape[0])
        for name in PHOTON_COLUMNS:
            two = name == "signal_conf_ph"
            found = self.file.need(f"{beam}/heights/{name}", rows=total, ndim=2 if two else 1)
            self._note_rounded(f"{beam}/heights/{name}", found.dtype)
            if two and found.shape[1] <= SEA_ICE:
                raise GranuleError(
                    f"{self.id}: {beam}/heights/{name}: expected 5 columns, a surface type each, got {found.shape[1]}"
                )
        return total

    def _distances(self, beam: str) -> tuple[F8, NDArray[np.intp], int]:
        """Distances that can be and increase, their rows, and the number of rows of the table."""
        dist_x = clean(self._get(f"{beam}/geolocation/segment_dist_x"), "segment_dist_x")
        if dist_x.size == 0:
            raise GranuleError(f"{self.id} {beam}: the geolocation group has no geosegment")
        keep = increasing_rows(dist_x)
        if keep.any():
            keep[np.flatnonzero(keep)[isolated_rows(dist_x[keep])]] = False
        lost = dist_x.size - int(keep.sum())
        if lost > max(1, 0.05 * dist_x.size):
            step = np.diff(dist_x)
            row = int(np.flatnonzero(~(step > 0))[0]) if (~(step > 0)).any() else 0
            raise GranuleError(
                f"{self.id} {beam}: segment_dist_x does not increase, or cannot be, in {lost:,} of {dist_x.size:,} "
                "rows: row "
                f"{row} has {dist_x[row]:.3f} m, row {row + 1} {dist_x[min(row + 1, dist_x.size - 1)]:.3f} m. Is the "
                "file a "
                "merge of several granules?"
            )
        self._note(beam, "segment_dist_x", ~keep, "cannot be: they are left out")
        kept = dist_x[keep]
        if kept[-1] - kept[0] > LONGEST:
            raise GranuleError(
                f"{self.id} {beam}: segment_dist_x spans {(kept[-1] - kept[0]) / 1e3:,.0f} km, and a granule 3,300 "
                "km; is the "
                "file a merge of several granules?"
            )
        return kept, np.flatnonzero(keep), dist_x.size

    def _index(
        self, beam: str, begin: NDArray, count: NDArray, total: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """First photon, number of photons, and which geosegments have photons that are theirs alone."""
        with np.errstate(invalid="ignore"):
            first, count = np.asarray(begin, "i8") - 1, np.asarray(count, "i8")
        used, outside, doubled = consistent_photons(first, count, total)
        absent = (count > 0) & (first < 0)
        claimed = int((count > 0).sum())
        bad = int((outside | doubled | absent).sum())
        if bad and bad > 0.5 * max(claimed, 1):
            row = int(np.flatnonzero(outside | doubled | absent)[0])
            why = (
                "was not rebased by whatever cut this file" if outside.any() else "contradicts segment_ph_cnt"
            )
            raise GranuleError(
                f"{self.id} {beam}: ph_index_beg {why}: of {claimed:,} geosegments with photons {int(absent.sum()):,} "
                "have no "
                f"first photon, {int(outside.sum()):,} point out of the file and {int(doubled.sum()):,} share photons; "
                f"geosegment row {row} points to photon {int(first[row]) + 1:,} and {int(count[row]):,} photons, but "
                "the file "
                f"holds {total:,}"
            )
        self._note(beam, "ph_index_beg", absent, "is 0 though they count photons: these are left out")
        self._note(
            beam, "ph_index_beg or segment_ph_cnt", outside, "points out of the file: they are left out"
        )
        self._note(beam, "ph_index_beg", doubled, "gives photons to two of them: they are left out")
        if (orphans := total - int(count[used].sum())) > 0:
            self.notes.append(
                f"{beam}: {orphans:,} of {total:,} photons belong to no geosegment: they are left out"
            )
        return first, count, used

    def _nodes(
        self, beam: str, dist_x: F8, used: NDArray[np.bool_], column: Callable[[str], NDArray]
    ) -> tuple[F8, F8, F8]:
        """Return times and positions of the reference photons; those of geosegments without photons mean nothing."""
        time = clean(column("delta_time"), "delta_time")
        late = time_outliers(time, dist_x)
        time = np.where(late, np.nan, time)
        latitude = clean(column("reference_photon_lat"), "reference_photon_lat")
        longitude = clean(column("reference_photon_lon"), "reference_photon_lon")
        lost = np.isnan(latitude) | np.isnan(longitude) | ~used
        latitude, longitude = (np.where(lost, np.nan, a) for a in (latitude, longitude))
        far = position_outliers(latitude, longitude, dist_x)
        latitude, longitude = (np.where(far, np.nan, a) for a in (latitude, longitude))
        self._note(beam, "delta_time", used & np.isnan(time), "is a fill or no possible value")
        self._note(beam, "the position", used & np.isnan(latitude), "is a fill or no possible value")
        self._check_course(beam, dist_x, time, latitude, longitude)
        if used.any() and not (np.isfinite(latitude).any() and np.isfinite(time).any()):
            raise GranuleError(
                f"{self.id} {beam}: no geosegment with photons has a position and a time that can be"
            )
        return time, latitude, longitude

    def _check_course(self, beam: str, dist_x: F8, time: F8, latitude: F8, longitude: F8) -> None:
        """Note times and positions that contradict the distances or the name of the granule."""
        known = time[np.isfinite(time)]
        if (falls := int((np.diff(known) < 0).sum())) > 0:
            self.notes.append(f"{beam}: delta_time falls {falls:,} times along the track: times are doubtful")
        rows = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
        ratio = course_ratio(latitude[rows], longitude[rows], dist_x[rows])
        if np.isfinite(ratio) and abs(ratio - 1) > 0.1:
            self.notes.append(
                f"{beam}: positions move {ratio:.2g} m per m of segment_dist_x: positions or distances are wrong"
            )
        named = PASS_NAME.search(self.id)
        if named is None:
            return
        try:
            named_time = delta_time(named[1])
        except ValueError:
            named_time = np.nan
            self.notes.append(f"{beam}: the name of the granule holds no possible time ({named[1]})")
        if known.size and np.isfinite(named_time):
            late = float(np.median(known)) - named_time
            if not -60.0 < late < LONGEST_SECONDS:
                self.notes.append(
                    f"{beam}: delta_time lies {late:,.0f} s after the time in the granule's name: times are doubtful"
                )
        low, high, course = REGIONS.get(int(named[2]), (-90, 90, 0))
        if rows.size:
            middle = float(np.median(latitude[rows]))
            moved = float(latitude[rows[-1]] - latitude[rows[0]])
            if not low - 2 <= middle <= high + 2 or moved * course < 0:
                self.notes.append(
                    f"{beam}: positions about latitude {middle:.1f} contradict region {named[2]} of the granule's name "
                    f"({low:g} to {high:g}): positions are doubtful"
                )

    def _sea_ice(self, beam: str, rows: int) -> bool:
        """Return True if a geosegment lies in the sea-ice mask; assumed, with a note, if the file has no mask."""
        path = f"{beam}/geolocation/surf_type"
        try:
            found = self.file.need(path, rows=rows, ndim=2)
            return bool(np.any(np.asarray(found[()])[:, SEA_ICE] == 1))
        except (GranuleError, IndexError):
            self.notes.append(
                f"{beam}: no usable surf_type: whether it lies in the sea-ice mask is not known"
            )
            return True

    def _mean_sea_surface(
        self,
        beam: str,
        columns: dict[str, F8],
        cleaned: Callable[..., F8 | None],
        used: NDArray[np.bool_],
        dist_x: F8,
    ) -> str:
        """Put the MSS among the columns; return the surface that heights of this beam refer to."""
        dem, flag = (cleaned("geophys_corr", name, used) for name in ("dem_h", "dem_flag"))
        mss = np.full(used.size, np.nan)
        if dem is not None and flag is not None:
            mss = np.where((flag == 3) & (np.abs(dem) < 200.0), dem, np.nan)
            mss = self._smooth(beam, "the mean sea surface (dem_h)", mss, dist_x)
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

    def _background(self, beam: str, time: F8) -> Background | None:
        path, names = f"{beam}/bckgrd_atlas", TABLE["bckgrd_atlas"]
        if any(f"{path}/{name}" not in self.file for name in names):
            self.notes.append(f"{beam}: no background (bckgrd_atlas): background variables are NaN")
            return None
        try:
            start = clean(self._get(f"{path}/delta_time"), "delta_time")
            counts, rate = (clean(self._get(f"{path}/{name}", start.size), name) for name in names[1:])
        except GranuleError as error:
            self.notes.append(f"{beam}: no background: {error}")
            return None
        if start.size > 50 and (rate == 0.0).all():
            rate = np.full(rate.size, np.nan)
            self.notes.append(f"{beam}: background is 0 in all records, as never written: it is not used")
        order = np.flatnonzero(np.isfinite(start))
        if (np.diff(start[order]) <= 0).any():
            self.notes.append(f"{beam}: records of background are not in the order of time: sorted here")
            order = order[np.unique(start[order], return_index=True)[1]]
        known = time[np.isfinite(time)]
        if order.size and known.size > 1:
            near = known[
                np.clip(np.searchsorted(known, start[order]), 1, known.size - 1) - np.array([[1], [0]])
            ]
            outside = np.abs(near - start[order]).min(axis=0) > 1.0
            if outside.mean() > 0.05:
                self.notes.append(f"{beam}: background was not cut with the photons ({start.size:,} records)")
        if lost := start.size - order.size + int((np.isnan(counts) | np.isnan(rate))[order].sum()):
            self.notes.append(
                f"{beam}: {lost:,} of {start.size:,} records of background are fills or impossible"
            )
        return Background(start[order], counts[order], rate[order])


def photon_notes(beam: str, table: BeamTable) -> dict[str, str]:
    """Return notes by kind on what was damaged of the photons that were read, with their number."""
    counts = {kind: int(by_segment.sum()) for kind, by_segment in table.damage_found().items()}
    return {kind: f"{beam}: {DAMAGE[kind].format(n=counts[kind])}" for kind in DAMAGE if counts.get(kind)}


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
    """Return the length of a geosegment in metres, 20 where its own is not possible."""
    length = float(table.length[row])
    return length if 0 < length < 100 else 20.0


def _filled(a: F8) -> F8:
    """Values of empty geosegments taken from the nearest one before (or after), for selections only."""
    good = np.flatnonzero(np.isfinite(a))
    if good.size in (0, a.size):
        return a
    return a[good[np.clip(np.searchsorted(good, np.arange(a.size), side="right") - 1, 0, None)]]
