"""ATL03 granules: from a file, URL or Earthdata granule to photons and 2 m segments of a beam.

HDF5 paths of the product live here and nowhere else. Photons are read in blocks of 20 m geosegments,
so memory is bounded whatever the granule's length, and a subset reads only its own photons.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import GranuleError, NoSignalError
from is2ice.io.remote import byte_index
from is2ice.io.remote.hdf5_chunks import prefetch, read_columns
from is2ice.io.remote.hdf5_file import Hdf5, damage
from is2ice.io.remote.hdf5_prefetch import warm
from is2ice.io.remote.range_file import KEEP_RANGES, RemoteFile, Traffic
from is2ice.io.remote.source import Source
from is2ice.science.area import crs_of
from is2ice.science.core_mean import of_core
from is2ice.science.first_photon_bias import PIXELS, FirstPhotonBias, from_cal19, from_model
from is2ice.science.segments import (
    ELLIPSOID_HEIGHTS,
    HEIGHTS,
    TIDES,
    Cells,
    Nodes,
    PhotonArrays,
    Selection,
    check_length,
    impossible_heights,
    margin,
    no_signal_text,
    possible,
    segment_block,
    to_dataset,
)

from .cleaning import MENDED, clean, increasing_rows, mended_pulses, never_written, sound_photons
from .geolocation import (
    PHOTON_COLUMNS,
    SEA_ICE,
    BeamTable,
    Subset,
    gap_notes,
    last_length,
    photon_notes,
    read_table,
    table_paths,
)
from .identity import ORIENTATION, PLACES, Identity

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Granule", "Subset", "open_granule"]

log = logging.getLogger("is2ice")
CALIBRATIONS, CAL19 = "ancillary_data/calibrations", ("dead_time", "strength", "width", "ffb_corr")
#: Photons in a row with one place or pulse, beyond what a shot can have.
STANDING = 500
#: Least and greatest ``dist_ph_along``, m, in a geosegment of 20 m, with its margins.
WITHIN = (-5.0, 25.0)
#: Types of :data:`PHOTON_COLUMNS` in the product.
SOUND = ("<f4", "<f4", "|i1", "|i1", "<u4", "|u1")
NO_CALIBRATION = "no ancillary_data: first-photon bias from the dead-time model, not CAL-19"
#: Beginning of the names of what was found beside the variables of a block.
FOUND = "found "
EVERY_ROW, FIRST_ROW = (0, 2**62), (0, 1)
F8 = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Settings of a track that each block needs, computed once."""

    beam: str
    k0: int
    n: int
    length: float
    selection: Selection
    subset: Subset
    reference: str
    corrections: tuple[str, ...]
    first_photon: str | None


class Granule(Identity):
    """An ATL03 file: what it is, its beams and orientation, and their photons and segments.

    Parameters
    ----------
    source : str, Path, file object or earthaccess granule
        Local path, ``https://`` or ``s3://`` URL, open binary file, or a search result.
    ahead : iterable of str
        Beams that will be read: of a remote file their tables are fetched together with the rest.

    Attributes
    ----------
    id : str
        ``ATL03_yyyymmddhhmmss_ttttccss_vvv_rr``.
    release : str
        Three digits, such as ``"006"``.
    rgt, cycle, region : int or None
    orientation : int or None
        ``sc_orient``: 0 backward, 1 forward, 2 transition; None when the file does not say.
    beams : tuple of str
        Beams that hold photons.
    simulated : str
        Generator, preset and seed of a simulated granule; empty for a measured one.
    notes : list of str
        Notes on what the file lacks, and what replaces it.

    Raises
    ------
    GranuleError
        Not HDF5, truncated, another product, or without any beam with photons.

    References
    ----------
    ATL03 Algorithm Theoretical Basis Document and data dictionary, releases 005 to 007.
    """

    def __init__(self, source: Any, ahead: Iterable[str] = ()) -> None:
        self.source = Source.of(source)
        self._file: Hdf5 | None = None
        self._tables: dict[str, BeamTable] = {}
        self._noted: dict[str, set[str]] = {}
        self._lock = threading.RLock()
        self._fetching: list[threading.Thread] = []
        self._ahead = tuple(beam for beam in ahead if beam in schema.BEAMS)
        f = self.file
        if f.stream is not None:
            self._fetch_identity(f, f.stream, self._ahead)
        super().__init__(f, self.source.name)
        if "ancillary_data" not in f:
            self.notes.append(NO_CALIBRATION)

    def _fetch_identity(self, f: Hdf5, stream: RemoteFile, beams: Sequence[str]) -> None:
        """Fetch what tells the identity of a remote file, and the tables of some beams, in few rounds of requests."""
        ends = ("heights/h_ph", "geolocation/ph_index_beg") + (
            () if beams else ("geophys_corr", "bckgrd_atlas")
        )
        paths: dict[str, Any] = dict.fromkeys(f"{beam}/{end}" for beam in schema.BEAMS for end in ends)
        paths |= dict.fromkeys(f"{CALIBRATIONS}/{kind}" for kind in ("first_photon_bias", "dead_time"))
        paths |= dict.fromkeys(PLACES, EVERY_ROW)
        tables = [path for beam in beams for path in table_paths(beam)]
        paths |= dict.fromkeys((f"{b}/heights/{name}" for b in beams for name in PHOTON_COLUMNS), FIRST_ROW)
        warm(f, stream, paths | dict.fromkeys(tables, EVERY_ROW))
        self._fetch_calibrations(f, stream, beams)
        small = [(d, 0, 1) for path in PLACES if (d := _dataset(f, path)) is not None]
        prefetch(stream, small + _whole(f, tables))

    def _fetch_calibrations(self, f: Hdf5, stream: RemoteFile, beams: Sequence[str]) -> None:
        """Fetch the calibrations of beams beside what is fetched meanwhile: they lie deep, and are needed last."""
        names = [f"{CALIBRATIONS}/first_photon_bias/{beam}/{name}" for beam in beams for name in CAL19]
        names += [f"{CALIBRATIONS}/dead_time/{beam}/dead_time" for beam in beams]

        def fetch() -> None:
            # Takes no lock of this granule: whoever waits for this thread may hold it.
            try:
                warm(f, stream, dict.fromkeys(names, EVERY_ROW))
                prefetch(stream, _whole(f, names))
                byte_index.save(stream)
            except Exception as error:  # the reading itself will say so
                log.debug("%s: calibrations are not fetched ahead (%s)", self.source.name, error)

        # No daemon: one that the end of the program stops while it holds HDF5's lock would keep all others waiting.
        self._fetching.append(thread := threading.Thread(target=fetch))
        thread.start()

    def _fetched(self) -> None:
        """Wait for what is fetched in other threads."""
        for thread in tuple(self._fetching):
            thread.join()

    # -- the file -------------------------------------------------------------------------------------
    @property
    def file(self) -> Hdf5:
        """The open HDF5 file (opened again after pickling)."""
        with self._lock:
            if self._file is None or not self._file:
                self._file = self.source.open_hdf5()
            return self._file

    @property
    def stream(self) -> RemoteFile | None:
        """The remote file beneath, None of a local one."""
        return self.file.stream

    @property
    def traffic(self) -> Traffic | None:
        """Bytes and requests that reading has taken since the file was opened, None of a local one."""
        return None if (stream := self.stream) is None else stream.traffic

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        self._fetched()
        with self._lock:
            if self._file and self._file.stream is not None:
                log.info("%s: %s", self.id, self._file.stream.traffic)
            if self._file is not None and self._file:
                self._file.close()
            self._file = None

    def __enter__(self) -> Granule:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        facing = ORIENTATION.get(self.orientation, "unknown orientation")  # type: ignore[arg-type]
        return f"<Granule {self.id} release {self.release}, {facing}, beams {', '.join(self.beams)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.source,)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return ("is2ice.Granule", *self.source.fingerprint())

    # -- segments -------------------------------------------------------------------------------------
    def table(self, beam: str) -> BeamTable:
        """Geolocation table of a beam, read once.

        Raises
        ------
        GranuleError
            When a needed dataset is missing or the distances do not increase.
        """
        with self._lock:
            if beam not in self._tables:
                if self.stream is not None:
                    ahead = table_paths(beam)
                    heights = dict.fromkeys((f"{beam}/heights/{name}" for name in PHOTON_COLUMNS), FIRST_ROW)
                    warm(self.file, self.stream, dict.fromkeys(ahead, EVERY_ROW) | heights)
                    if beam not in self._ahead:
                        self._fetch_calibrations(self.file, self.stream, [beam])
                    prefetch(self.stream, _whole(self.file, ahead))
                with damage(self.id, beam):
                    self._tables[beam] = read_table(self.file, beam, self.id)
            return self._tables[beam]

    def first_photon_bias(self, beam: str, source: str | None = "auto") -> FirstPhotonBias | None:
        """Bias of the core mean of a beam: by CAL-19 where the granule brings it, else by the model.

        Parameters
        ----------
        beam : str
        source : {"auto", "cal19", "model", None}
        """
        if source is None:
            return None
        if source not in ("auto", "cal19", "model"):
            raise ValueError(f"first_photon={source!r}: expected 'auto', 'cal19', 'model' or None")
        self._fetched()
        strength = self.strength(beam)
        dead = self._dead_time(beam, strength)
        tables = f"{CALIBRATIONS}/first_photon_bias/{beam}"
        if source != "model" and tables in self.file:
            try:
                dead_times, strengths, widths, corr = (
                    self.file.need(f"{tables}/{n}", ndim=d)[()]
                    for n, d in zip(CAL19, (1, 2, 2, 3), strict=True)
                )
                table = from_cal19(dead or 3.0, dead_times, strengths, widths, corr, PIXELS[strength])
                return of_core(table, strength, dead)
            except (GranuleError, ValueError) as error:
                if source == "cal19":
                    raise GranuleError(
                        f"{self.id}: {tables} cannot be used: {error}; first_photon='model' does"
                    ) from error
                self._note(beam, f"{beam}: first-photon bias from the model, not CAL-19: {error}")
        elif source != "model":
            if source == "cal19":
                raise GranuleError(f"{self.id}: {tables} is missing; first_photon='model' does without it")
            self._note_calibration(beam, f"first-photon bias from the model, not CAL-19: {tables} is missing")
        return of_core(from_model(strength, dead), strength, dead)

    def _note_calibration(self, beam: str, text: str) -> None:
        """Note what calibration a beam lacks, where a note on the whole file does not say so."""
        if NO_CALIBRATION not in self.notes:
            self._note(beam, f"{beam}: {text}")

    def _dead_time(self, beam: str, strength: str) -> float | None:
        """Mean dead time of a beam's channels, ns; None where the file has none that can be."""
        path = f"{CALIBRATIONS}/dead_time/{beam}/dead_time"
        if path not in self.file:
            self._note_calibration(beam, f"nominal dead time: {path} is missing")
            return None
        try:
            channels = clean(self.file.need(path)[()], "dead_time")
        except GranuleError as error:
            self._note(beam, f"{beam}: nominal dead time: {error}")
            return None
        own = channels[:16] if PIXELS[strength] == 16 else channels[16:20]
        if np.isnan(own).any() or not own.size:
            self._note(
                beam,
                f"{beam}: dead times of {np.isnan(own).sum()} of {own.size} channels are fills or impossible",
            )
        return float(np.nanmean(own)) * 1e9 if np.isfinite(own).any() else None

    def _note(self, beam: str, text: str) -> None:
        notes = self.table(beam).notes
        if text not in notes:
            notes.append(text)

    def plan(
        self,
        beam: str,
        subset: Subset | None = None,
        *,
        length: float = schema.SEGMENT_LENGTH,
        selection: Selection | None = None,
        reference: str = "auto",
        corrections: Sequence[str] = TIDES,
        first_photon: str | None = "auto",
    ) -> Plan:
        """Settle everything about a track before any photon is read.

        Raises
        ------
        GranuleError
            For a missing correction, an empty subset, an unusable table.
        NoSignalError
            When no geosegment of the beam is in the sea-ice mask.
        """
        length = check_length(length)
        (beam,) = self.resolve_beams(beam)
        table = self.table(beam)
        subset = subset or Subset()
        selection = selection or Selection()
        where = f"{self.id} {beam}"
        corrections = tuple(corrections)
        unknown = set(corrections) - set(TIDES)
        if unknown:
            raise ValueError(f"corrections {sorted(unknown)}: expected a choice of {', '.join(TIDES)}")
        reference = table.height_reference if reference == "auto" else reference
        if reference not in ("mss", "geoid"):
            raise ValueError(f"reference={reference!r}: expected 'auto', 'mss' or 'geoid'")
        for name in (*corrections, *(("geoid",) if reference == "geoid" else ())):
            if name not in table.columns:
                left = tuple(c for c in corrections if c != name)
                raise GranuleError(
                    f"{self.id}: {beam}/geophys_corr/{name} is missing; without it heights are not comparable along "
                    f"the track. corrections={left!r} leaves it out knowingly."
                )
        if not table.sea_ice:
            raise NoSignalError(self._why_nothing(beam, selection, (0, table.dist_x.size)))
        rows = np.flatnonzero(subset.rows(table, where))
        lo, hi = table.dist_x[rows[0]], table.dist_x[rows[-1]] + last_length(table, int(rows[-1]))
        if subset.x_atc is not None:
            lo, hi = max(lo, subset.x_atc[0]), min(hi, subset.x_atc[1])
        k0 = int(np.floor(lo / length))
        n = max(1, int(np.ceil(hi / length)) - k0)
        return Plan(beam, k0, n, length, selection, subset, reference, corrections, first_photon)

    def block(self, plan: Plan, k0: int, n: int) -> dict[str, NDArray]:
        """Segment variables of cells ``k0`` to ``k0 + n`` of a planned track, reading only their photons."""
        table, length = self.table(plan.beam), plan.length
        g0, g1 = self._reach(table, plan, k0, n)
        keep = self._cells(table, plan, k0, n)
        if not keep.any() or table.count[g0:g1].sum() == 0:
            return blank(n)
        photons, nodes = self._read(plan.beam, table, g0, g1)
        data = segment_block(
            photons,
            nodes,
            table.background,
            self._bias(plan),
            Cells(k0, n, length),
            selection=plan.selection,
            reference=plan.reference,
            corrections=plan.corrections,
        )
        if not keep.all():
            nothing = blank(n)
            data = {name: np.where(keep, a, nothing[name]) for name, a in data.items()}
        return data

    @staticmethod
    def _reach(table: BeamTable, plan: Plan, k0: int, n: int) -> tuple[int, int]:
        """Geosegments whose photons and nodes affect n cells from index k0."""
        pad = margin(plan.length) + 40.0
        ends = [k0 * plan.length - pad, (k0 + n) * plan.length + pad]
        g0, g1 = np.searchsorted(table.dist_x, ends)
        return int(g0), int(g1)

    def _bias(self, plan: Plan) -> FirstPhotonBias | None:
        key = f"bias/{plan.beam}/{plan.first_photon}"
        with self._lock:
            cache: dict[str, Any] = self.__dict__.setdefault("_biases", {})
            if key not in cache:
                cache[key] = self.first_photon_bias(plan.beam, plan.first_photon)
            return cache[key]

    def _cells(self, table: BeamTable, plan: Plan, k0: int, n: int) -> NDArray[np.bool_]:
        """Cells of a block whose middle lies in a kept geosegment and in the planned range."""
        k = k0 + np.arange(n)
        centre = (k + 0.5) * plan.length
        inside = (k >= plan.k0) & (k < plan.k0 + plan.n)
        if plan.subset.x_atc is not None:
            inside &= (centre >= plan.subset.x_atc[0]) & (centre < plan.subset.x_atc[1])
        row = np.searchsorted(table.dist_x, centre, side="right") - 1
        if plan.subset.bbox is not None or plan.subset.time is not None:
            kept = plan.subset.rows(table, self.id)
            # The first cell may begin, and have its middle, before the first geosegment.
            inside &= kept[np.clip(row, 0, None)]
        return inside

    def _read(self, beam: str, table: BeamTable, g0: int, g1: int) -> tuple[PhotonArrays, Nodes]:
        """Photons of geosegments g0 to g1 in file order, and their nodes."""
        rows = self._photon_range(table, g0, g1)
        read = self._columns(beam, PHOTON_COLUMNS, rows.start, rows.stop)
        photons = self._sound(beam, read, table, g0, g1)
        if photons is None:
            photons = self._mended(beam, read, table, self._photon_rows(table, g0, g1)[1])
        ref = table.reference_row[g0:g1]
        has = ref >= 0
        node_x = table.dist_x[g0:g1][has] + clean(
            read["dist_ph_along"][ref[has] - rows.start], "dist_ph_along"
        )
        order = np.flatnonzero(increasing_rows(node_x))
        index = np.flatnonzero(has)[order] + g0
        nodes = Nodes(
            node_x[order],
            {name: a[index] for name, a in table.columns.items()},
            None if table.saturated is None else table.saturated[index],
            table.degraded[index],
        )
        return photons, nodes

    def _sound(
        self, beam: str, read: Mapping[str, NDArray], table: BeamTable, g0: int, g1: int
    ) -> PhotonArrays | None:
        """Photons of geosegments g0 to g1 where nothing about them is odd, looked at in one pass; else None."""
        h = read["h_ph"]
        if tuple(a.dtype.str for a in read.values()) != SOUND or self._fill(beam) is not None:
            return None
        if any(a.shape != h.shape for a in read.values()) or table.count[g0:g1].sum() > h.size:
            return None  # compiled code checks no bounds
        x, pulse = np.empty(h.size), np.empty(h.size, np.int64)
        geosegments = table.dist_x[g0:g1], table.first[g0:g1], table.count[g0:g1], table.degraded[g0:g1]
        columns = tuple(read[name] for name in PHOTON_COLUMNS)
        if not sound_photons(columns, geosegments, (WITHIN, ELLIPSOID_HEIGHTS), STANDING, x, pulse):
            return None
        return PhotonArrays(x, h, read["signal_conf_ph"], read["quality_ph"], pulse)

    def _mended(
        self, beam: str, read: Mapping[str, NDArray], table: BeamTable, segment: NDArray[np.int64]
    ) -> PhotonArrays:
        """Photons with what is damaged among them counted, noted, and mended or left out."""
        along, h = clean(read["dist_ph_along"], "dist_ph_along"), self._heights(beam, read["h_ph"])
        table.count_damage("height", segment, ~possible(h))
        lost = np.isnan(along) | never_written(along, STANDING)
        if lost.any():
            self._note(
                beam, f"{beam}: dist_ph_along of photons is a fill, or stands still: these count as rejected"
            )
        if (blank_heights := never_written(h)).any():
            self._note(beam, f"{beam}: h_ph stands the same in many photons in a row: these are left out")
            h = np.where(blank_heights, h.dtype.type(np.nan), h)
        if lost.any():
            # A photon of no known place counts as rejected, in the middle of its geosegment.
            h = np.where(lost, h.dtype.type(np.nan), h)
        x = table.dist_x[segment] + np.where(lost, 10.0, along)
        conf, unknown = _codes(read["signal_conf_ph"], -2, 4, -1)
        table.count_damage("confidence", segment, unknown)
        quality, unknown = _codes(read["quality_ph"], 0, 29, 29)
        table.count_damage("quality", segment, unknown)
        table.count_damage("along", segment, ~lost & ((along < WITHIN[0]) | (along > WITHIN[1])))
        pulse, odd = mended_pulses(read["pce_mframe_cnt"], read["ph_id_pulse"])
        mended = np.count_nonzero(odd) <= MENDED * odd.size
        table.count_damage("mended pulse" if mended else "pulse", segment, odd)
        if never_written(pulse, 10 * STANDING).any() or never_written(read["ph_id_pulse"], STANDING).any():
            self._note(
                beam, f"{beam}: pce_mframe_cnt and ph_id_pulse stand still: rates per pulse are wrong there"
            )
        drop = (segment < 0) | table.degraded[segment]
        if drop.any():
            x, h, conf, quality, pulse = (a[~drop] for a in (x, h, conf, quality, pulse))
        return PhotonArrays(x, h, np.ascontiguousarray(conf), quality, pulse)

    def _columns(self, beam: str, names: Iterable[str], start: int, stop: int) -> dict[str, NDArray]:
        """Rows of variables of the heights group; of the confidences those of sea ice."""
        if self.stream is not None:
            warm(self.file, self.stream, dict.fromkeys((f"{beam}/heights/{n}" for n in names), (start, stop)))
        columns = {
            name: self.file.need(f"{beam}/heights/{name}", ndim=1 + (name == "signal_conf_ph"))
            for name in names
        }
        with damage(self.id, f"{beam}/heights"):
            return read_columns(columns, start, stop, self.stream, {"signal_conf_ph": SEA_ICE})

    def _heights(self, beam: str, h: NDArray) -> NDArray[np.floating]:
        """Heights as native floats; the fill that the file declares becomes NaN."""
        if h.dtype != np.float32:  # kernels are compiled for native floats
            h = np.asarray(h, "f8")
        fill = self._fill(beam)
        return h if fill is None else np.where(h == h.dtype.type(fill), h.dtype.type(np.nan), h)

    def _fill(self, beam: str) -> float | None:
        """Fill that the file declares for heights; None where it is no possible height, such as NaN or 3.4e38."""
        fill = np.ravel(self.file[f"{beam}/heights/h_ph"].attrs.get("_FillValue", ()))
        if fill.size != 1 or fill.dtype.kind not in "fiu" or not possible(fill.astype("f8")).all():
            return None
        return float(fill[0])

    @staticmethod
    def _photon_range(table: BeamTable, g0: int, g1: int) -> range:
        """Range of photon rows of geosegments g0 to g1."""
        first, count = table.first[g0:g1], table.count[g0:g1]
        used = count > 0
        return range(int(first[used].min()), int((first + count)[used].max()))

    @staticmethod
    def _photon_rows(table: BeamTable, g0: int, g1: int) -> tuple[range, NDArray[np.int64]]:
        """Range of photon rows of geosegments g0 to g1, and the geosegment of each row (-1: of none)."""
        first, count = table.first[g0:g1], table.count[g0:g1]
        used = count > 0
        rows = Granule._photon_range(table, g0, g1)
        if np.array_equal(first[used][1:], (first + count)[used][:-1]):
            return rows, np.repeat(np.arange(g0, g1), count)
        segment = np.full(len(rows), -1, np.int64)
        for g in np.flatnonzero(used):
            segment[first[g] - rows.start : first[g] - rows.start + count[g]] = g0 + g
        return rows, segment

    def track(
        self,
        beam: str,
        subset: Subset | None = None,
        *,
        block: int | None = None,
        workers: int = 2,
        blocks: Callable[[Plan, int, int], Mapping[str, NDArray] | None] | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Segments of one beam, in memory.

        Parameters
        ----------
        beam : str
        subset : Subset, optional
        block : int, optional
            Cells computed at a time, which bounds the photons in memory; at most 131 km by default.
        workers : int
            Threads; while one reads, the others resample.
        blocks : callable, optional
            Gives a block's variables as another process computed them, with its :meth:`findings`, or None where it
            is to be done here.
        **options
            As for :meth:`plan`.

        Returns
        -------
        xarray.Dataset
            :data:`is2ice.schema.SEGMENTS` along ``x_atc``.

        Raises
        ------
        NoSignalError
            When no photon is selected in the whole track.
        """
        plan = self.plan(beam, subset, **options)
        out = blank(plan.n)
        if block is None:
            block = int(np.clip(plan.n // (2 * workers) + 1, schema.CHUNK // 4, 4 * schema.CHUNK))
        starts = range(0, plan.n, block)
        self._read_ahead(plan)

        def fill(i: int) -> None:
            m = min(block, plan.n - i)
            given = blocks(plan, plan.k0 + i, m) if blocks is not None else None
            if given is not None:
                given = self.adopt_findings(beam, given)
            for name, a in (given or self.block(plan, plan.k0 + i, m)).items():
                out[name][i : i + m] = a

        if workers > 1 and len(starts) > 1:
            # Of a remote file more blocks are under way, since each spends most of its time waiting.
            with ThreadPoolExecutor(workers if self.stream is None else 2 * workers) as pool:
                list(pool.map(fill, starts))
        else:
            for i in starts:
                fill(i)
        if self.stream is not None:
            byte_index.save(self.stream)
        if not out["n_photons"].any():
            raise NoSignalError(self._why_nothing(beam, plan.selection, self._span(plan)))
        ds = to_dataset(out, plan.k0, plan.length, self.attrs(plan))
        notes = self.notes_of(beam)
        if (n := impossible_heights(ds)) > 0:
            notes.append(
                f"{beam}: heights of {n:,} segments cannot be ({HEIGHTS[0]:g} to {HEIGHTS[1]:g} m are possible): NaN "
                "and flagged"
            )
        if plan.subset != Subset():
            notes.append(
                f"{beam}: only a part of the track was read; classes and sea surface within 10 km of its ends rest on "
                "less than the whole track would give"
            )
        return ds.assign_attrs(notes=notes)

    def _read_ahead(self, plan: Plan) -> None:
        """Request all photons of a plan from a remote file in one round, if memory can hold them."""
        if self.stream is None:
            return
        table = self.table(plan.beam)
        g0, g1 = self._reach(table, plan, plan.k0, plan.n)
        if not table.count[g0:g1].any():
            return
        rows = self._photon_range(table, g0, g1)
        paths = [f"{plan.beam}/heights/{name}" for name in PHOTON_COLUMNS]
        # Uncompressed sizes: asking HDF5 for the stored ones would walk every chunk index.
        width = sum(d.dtype.itemsize * (d.size // max(1, d.shape[0])) for d in map(self.file.get, paths))
        if (rows.stop - rows.start) * width < KEEP_RANGES:
            warm(self.file, self.stream, dict.fromkeys(paths, (rows.start, rows.stop)))
            prefetch(self.stream, [(self.file[path], rows.start, rows.stop) for path in paths])

    def notes_of(self, beam: str) -> list[str]:
        """List the notes on one beam: its file, its tables, its gaps."""
        table = self.table(beam)
        weak = self.strength(beam) == "weak" and all(self.strength(b) == "weak" for b in self.beams)
        fallback = ["no strong beam in the file: only weak ones"] if weak else []
        return [
            *self.notes,
            *fallback,
            *table.notes,
            *photon_notes(beam, table).values(),
            *gap_notes(beam, table.dist_x),
        ]

    def findings(self, beam: str) -> dict[str, NDArray]:
        """Return notes and counts of damaged photons of a beam as arrays, to be kept beside a block."""
        table = self.table(beam)
        out = {
            f"{FOUND}{kind}": np.stack([rows := np.flatnonzero(counts), counts[rows]])
            for kind, counts in table.damage_found().items()
        }
        return out | {f"{FOUND}notes": np.array(table.notes, str)}

    def adopt_findings(self, beam: str, block: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Take over the :meth:`findings` among the arrays of a block; return its variables."""
        table = self.table(beam)
        with self._lock:
            for name in (n for n in block if n.startswith(FOUND)):
                kind = name.removeprefix(FOUND)
                if kind == "notes":
                    table.notes += [n for n in map(str, block[name]) if n not in table.notes]
                else:
                    counts = np.zeros(table.dist_x.size, np.int64)
                    counts[block[name][0]] = block[name][1]
                    table.add_damage(kind, counts)
        return {name: a for name, a in block.items() if not name.startswith(FOUND)}

    def new_notes(self, beam: str) -> list[str]:
        """List the notes on one beam that no earlier call has returned; a kind of damaged photons counts once."""
        table = self.table(beam)
        with self._lock:
            seen = self._noted.setdefault(beam, set())
            texts = {note: note for note in table.notes} | photon_notes(beam, table)
            new = [text for key, text in texts.items() if key not in seen]
            seen.update(texts)
        return new

    def _span(self, plan: Plan) -> tuple[int, int]:
        rows = np.flatnonzero(plan.subset.rows(self.table(plan.beam), self.id))
        return int(rows[0]), int(rows[-1]) + 1

    def attrs(self, plan: Plan) -> dict[str, Any]:
        """Global attributes of a track's segments."""
        table = self.table(plan.beam)
        south = float(np.nanmean(table.latitude)) < 0
        out: dict[str, Any] = {
            "granule": self.id,
            "beam": plan.beam,
            "spot": self.spot(plan.beam) or 0,
            "beam_strength": self.strength(plan.beam),
            "release": self.release,
            "hemisphere": "south" if south else "north",
            "crs": crs_of(south),
            "height_reference": plan.reference,
            "corrections": list(plan.corrections),
            "confidence": plan.selection.confidence,
            "first_photon": (b.source if (b := self._bias(plan)) else "none"),
            "source": self.source.name,
        }
        for name in ("rgt", "cycle", "region"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        if self.orientation is not None:
            out["sc_orient"] = self.orientation
        if self.simulated:
            out[schema.SIMULATED] = self.simulated
        if (traffic := self.traffic) is not None:
            out["traffic"] = str(traffic)
        return out

    # -- photons --------------------------------------------------------------------------------------
    def _why_nothing(self, beam: str, selection: Selection, span: tuple[int, int]) -> str:
        """Name the rules that took all photons of geosegments, with counts of each (of the first million)."""
        table = self.table(beam)
        where = f"{self.id} {beam}"
        if not table.count[span[0] : span[1]].any():
            return f"{where}: no geosegment here holds a photon (segment_ph_cnt, ph_index_beg)"
        rows, segment = self._photon_rows(table, *span)
        rows, segment = rows[:1_000_000], segment[:1_000_000]
        names = ("signal_conf_ph", "quality_ph", "h_ph", "dist_ph_along")
        read = self._columns(beam, names, rows.start, rows.stop)
        conf, _ = _codes(read["signal_conf_ph"], -2, 4, -1)
        quality, _ = _codes(read["quality_ph"], 0, 29, 29)
        taken = {
            "of no geosegment (ph_index_beg)": segment < 0,
            "of degraded pointing or orbit (podppd_flag)": (segment >= 0) & table.degraded[segment],
        }
        along = clean(read["dist_ph_along"], "dist_ph_along")
        taken["without a place (dist_ph_along)"] = ~np.logical_or.reduce(list(taken.values())) & (
            np.isnan(along) | never_written(along, STANDING)
        )
        left = ~np.logical_or.reduce(list(taken.values()))
        h = np.where(never_written(read["h_ph"]), np.nan, read["h_ph"])
        return no_signal_text(where, (h, conf, quality), selection, taken, left, table.sea_ice)

    def photons(
        self, beam: str, subset: Subset | None = None, photon_fields: Iterable[str] = ()
    ) -> xr.Dataset:
        """Read the photons of one beam, in file order, into memory.

        Parameters
        ----------
        beam : str
        subset : Subset, optional
            Read only these geosegments.
        photon_fields : iterable of str
            Further variables of the group ``heights`` of ATL03, one value a photon, under their own names and with
            their own attributes, such as ``"ph_id_count"``.

        Returns
        -------
        xarray.Dataset
            :data:`is2ice.schema.PHOTONS` along ``photon``; photons of degraded geosegments (podppd) and
            transmit echoes are left out.
        """
        import xarray as xr

        (beam,) = self.resolve_beams(beam)
        table = self.table(beam)
        keep = (subset or Subset()).rows(table, f"{self.id} {beam}") & ~table.degraded
        rows_used = np.flatnonzero(keep & (table.count > 0))
        if rows_used.size == 0:
            raise NoSignalError(f"{self.id} {beam}: the subset holds no photon")
        g0, g1 = int(rows_used[0]), int(rows_used[-1]) + 1
        rows, segment = self._photon_rows(table, g0, g1)
        there = self.file[f"{beam}/heights"]
        optional = {"channel": "ph_id_channel", "weight": "weight_ph", "signal_class": "signal_class_ph"}
        optional = {name: path for name, path in optional.items() if path in there}
        needed = (*PHOTON_COLUMNS, "delta_time", "lat_ph", "lon_ph")
        more = self._photon_fields(beam, photon_fields)
        heights = self._columns(
            beam, (*dict.fromkeys((*needed, *optional.values(), *more)),), rows.start, rows.stop
        )
        conf, _ = _codes(heights["signal_conf_ph"], -2, 4, -1)
        quality, _ = _codes(heights["quality_ph"], 0, 29, 29)
        ok = (segment >= 0) & keep[segment] & (conf != -2) & (quality % 10 != 3)
        x = table.dist_x[segment] + clean(heights["dist_ph_along"], "dist_ph_along")
        ok &= np.isfinite(x)
        if subset is not None and subset.x_atc is not None:
            ok &= (x >= subset.x_atc[0]) & (x < subset.x_atc[1])
        data: dict[str, Any] = {
            "delta_time": heights["delta_time"],
            "latitude": heights["lat_ph"],
            "longitude": heights["lon_ph"],
            "x_atc": x,
            "h_ph": np.where(possible(h := self._heights(beam, heights["h_ph"])), h, np.float32(np.nan)),
            "signal_conf": conf,
            "quality": quality,
            "pulse": mended_pulses(heights["pce_mframe_cnt"], heights["ph_id_pulse"])[0],
            "geosegment": segment,
        }
        data |= {name: heights[path] for name, path in optional.items()}
        dtypes = {name: var.dtype for name, var in schema.PHOTONS.items()}
        ds = xr.Dataset(
            {name: ("photon", np.asarray(a)[ok].astype(dtypes[name])) for name, a in data.items()},
            attrs={"granule": self.id, "beam": beam, "spot": self.spot(beam) or 0, "release": self.release},
        )
        if self.simulated:
            ds.attrs[schema.SIMULATED] = self.simulated
        ds = schema.annotate(ds, "photons")
        return ds.assign({name: ("photon", heights[name][ok], about) for name, about in more.items()})

    def _photon_fields(self, beam: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Further variables of the photons with their attributes of text; refuse what is not one value a photon."""
        group = self.file[f"{beam}/heights"]
        out = {}
        for name in [names] if isinstance(names, str) else names:
            if name not in group or group[name].shape != group["h_ph"].shape:
                one_each = [n for n in group if group[n].shape == group["h_ph"].shape]
                raise GranuleError(
                    f"{self.id} {beam}/heights: photon_fields: no {name!r} with one value a photon; there are "
                    f"{', '.join(one_each)}"
                )
            about = {k: group[name].attrs[k] for k in ("long_name", "units") if k in group[name].attrs}
            out[name] = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in about.items()}
        return out


def _codes(values: NDArray, low: int, high: int, other: int) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Codes as int8, those that the product does not know as another one; and which these are."""
    if values.dtype == np.int8 and (not values.size or (values.min() >= low and values.max() <= high)):
        return values, np.zeros(values.size, bool)
    with np.errstate(invalid="ignore"):
        known = (values >= low) & (values <= high)
    return np.where(known, values, other).astype(np.int8), ~known


def blank(n: int) -> dict[str, NDArray]:
    """Segment variables of n empty cells: counts zero, the rest NaN."""
    out = {}
    for name, var in schema.SEGMENTS.items():
        if not var.coord:
            dtype = np.dtype(var.dtype)
            out[name] = np.full(n, np.nan, dtype) if dtype.kind == "f" else np.zeros(n, dtype)
    return out


_OPEN: OrderedDict[tuple[str, ...], Granule] = OrderedDict()
_OPEN_LOCK = threading.Lock()


def _dataset(file: Hdf5, path: str) -> h5py.Dataset | None:
    """Return a dataset to fetch ahead; None for anything else, which is reported where it is read."""
    try:
        found = file.get(path)
    except GranuleError:
        return None
    return found if isinstance(found, h5py.Dataset) else None


def _whole(file: Hdf5, paths: Iterable[str]) -> list[tuple[h5py.Dataset, int, int]]:
    """All rows of datasets, where they are there."""
    return [(d, 0, d.shape[0]) for path in paths if (d := _dataset(file, path)) is not None and d.ndim]


def _reopen(source: Source) -> Granule:
    """Return the process's own Granule of a source, so that tasks share tables and one open file."""
    key = source.fingerprint()
    with _OPEN_LOCK:
        if key in _OPEN:
            _OPEN.move_to_end(key)
            return _OPEN[key]
    granule = Granule(source)
    with _OPEN_LOCK:
        _OPEN[key] = granule
        while len(_OPEN) > 4:
            _OPEN.popitem(last=False)
    return granule


def open_granule(source: Any, beams: str | Iterable[str] | None = None) -> Granule:
    """Open an ATL03 granule (see :class:`Granule`), with the beams that will be read, where they are named."""
    if isinstance(source, Granule):
        return source
    return Granule(source, [beams] if isinstance(beams, str) else beams or ())
