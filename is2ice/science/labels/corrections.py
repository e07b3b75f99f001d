"""Labels corrected by hand: a small text file of intervals, laid on top of the labels from images.

The file is CSV with one interval a line, so that it can be read, compared and kept under version control,
and relabelling gives the same result again::

    # lines like this one are comments
    track,x_atc_from,x_atc_to,label,who,why
    ATL03_20191104195311_05940510_006_01/gt2r,28400120,28400310,thin_ice,A. Person,refrozen: smooth and grey

An interval holds the segments whose middle lies in [from, to); where intervals overlap the later line wins, and
where they say different things that is logged, as is an interval that holds no segment.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.io.documents import read_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "Correction", "Corrections", "agreement", "review"]

log = logging.getLogger("is2ice")

_NAMES = {name: code for code, name in enumerate(schema.CLASSES)} | {"unlabelled": schema.UNLABELLED}
_HEADER = "# Labels corrected by hand; the later line wins. Distances in m along the track.\n"


@dataclass(frozen=True)
class Correction:
    """One interval of one track that gets a label by hand.

    Attributes
    ----------
    track : str
        Granule and beam, ``"ATL03_..._006_01/gt2r"``.
    x_atc_from, x_atc_to : float
        m; segments whose middle lies in [from, to).
    label : str
        A class name, or "unlabelled".
    who, why : str
        Never empty: a label by hand answers to somebody.

    Raises
    ------
    ValueError
        Naming all that is wrong.
    """

    track: str
    x_atc_from: float
    x_atc_to: float
    label: str
    who: str
    why: str

    def __post_init__(self) -> None:
        faults = []
        granule, _, beam = self.track.rpartition("/")
        if not granule or beam not in schema.BEAMS:
            faults.append(f"track: expected granule/beam such as ATL03_..._006_01/gt2r, got {self.track!r}")
        if not (np.isfinite([self.x_atc_from, self.x_atc_to]).all() and self.x_atc_from < self.x_atc_to):
            faults.append(f"x_atc: expected from < to in m, got {self.x_atc_from!r} and {self.x_atc_to!r}")
        if self.label not in _NAMES:
            faults.append(f"label: expected one of {', '.join(_NAMES)}, got {self.label!r}")
        faults += [
            f"{name}: expected a line of text, got {getattr(self, name)!r}"
            for name in ("who", "why")
            if len(getattr(self, name).strip().splitlines()) != 1
        ]
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def code(self) -> int:
        """Class code of the label."""
        return _NAMES[self.label]

    def __str__(self) -> str:
        return f"{self.track} {self.x_atc_from:.12g} to {self.x_atc_to:.12g} {self.label}"


_COLUMNS = tuple(f.name for f in fields(Correction))


@dataclass(frozen=True)
class Corrections:
    """Corrections in the order in which they are laid on.

    Attributes
    ----------
    entries : tuple of Correction
    """

    entries: tuple[Correction, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Corrections:
        """Read a file.

        Raises
        ------
        FileNotFoundError
        SchemaError
            Not text, empty, or faulty: with every fault and its line.
        """
        lines = _read_text(Path(path)).splitlines()
        rows = [(k, line) for k, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
        if not rows:
            raise SchemaError(f"{path}: empty; expected a first line {','.join(_COLUMNS)}, then corrections")
        header = tuple(c.strip() for c in rows[0][1].split(","))
        if header != _COLUMNS:
            raise SchemaError(f"{path}: expected the columns {','.join(_COLUMNS)}, got {','.join(header)}")
        entries, faults = [], []
        for k, line in rows[1:]:
            try:
                entries.append(_parse(next(csv.reader([line]))))
            except (ValueError, csv.Error) as error:
                faults.append(f"line {k}: {error}")
        if faults:
            raise SchemaError(f"{path}: {len(faults)} lines at fault:\n  " + "\n  ".join(faults), faults)
        return cls(tuple(entries))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write a file, whole or not at all."""
        text = io.StringIO()
        text.write(_HEADER)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for entry in self.entries:
            writer.writerow([f"{v:.12g}" if isinstance(v, float) else v for v in astuple(entry)])
        target = Path(path)
        part = target.with_name(target.name + ".part")
        part.write_text(text.getvalue(), encoding="utf-8")
        part.replace(target)
        return target

    def add(self, entries: Iterable[Correction]) -> Corrections:
        """With further entries on top."""
        return Corrections((*self.entries, *entries))

    def contradictions(self) -> list[tuple[Correction, Correction]]:
        """Pairs of entries that overlap and say different things: the overruled one and the one that holds."""
        out = []
        order = sorted(
            range(len(self.entries)), key=lambda k: (self.entries[k].track, self.entries[k].x_atc_from)
        )
        for i, k in enumerate(order):
            one = self.entries[k]
            for j in order[i + 1 :]:
                other = self.entries[j]
                if other.track != one.track or other.x_atc_from >= one.x_atc_to:
                    break
                if other.label != one.label:
                    out.append((one, other) if k < j else (other, one))
        return out

    def codes(self, granule: str, beam: str, middle: NDArray[np.float64]) -> NDArray[np.int8]:
        """Class code by hand of segments with some middles; -2 where there is none."""
        out = np.full(middle.size, -2, np.int8)
        for e in self.entries:
            if e.track == f"{granule}/{beam}":
                out[(middle >= e.x_atc_from) & (middle < e.x_atc_to)] = e.code
        return out

    def apply(self, segments: xr.Dataset) -> xr.Dataset:
        """Lay the corrections on labelled segments.

        Parameters
        ----------
        segments : xarray.Dataset
            With ``label`` and ``label_flags``, in memory or lazy; ``attrs["granule"]`` and the beam (a
            dimension or an attribute) tell the tracks apart.

        Returns
        -------
        xarray.Dataset
            Corrected segments get ``corrected_by_hand`` beside the flags they had. Corrections of other granules
            are left alone; of this one's, those that hold no segment, or contradict each other, are logged.

        Raises
        ------
        SchemaError
            No labels, or no granule.
        """
        granule = segments.attrs.get("granule")
        if granule is None or "label" not in segments or "label_flags" not in segments:
            raise SchemaError("corrections need labelled segments: label, label_flags and attrs['granule']")
        length = schema.segment_length(segments)
        middle = segments["x_atc"].values + 0.5 * length
        if "beam" in segments.dims:
            beams = [str(b) for b in segments["beam"].values]
            codes = np.stack([self.codes(granule, b, middle) for b in beams])
        else:
            beams = [_beam(segments)]
            codes = self.codes(granule, beams[0], middle)
        self._warn(granule, beams, middle)
        by_hand = xr.DataArray(codes, dims=segments["label"].dims)
        corrected = by_hand > -2
        label = xr.where(corrected, by_hand, segments["label"].variable)
        bit = np.uint16(schema.LabelFlag.CORRECTED_BY_HAND)
        flags = segments["label_flags"] | (corrected * bit).astype(np.uint16)
        dims = segments["label"].dims
        ds = segments.assign(label=(dims, label.data.astype(np.int8)), label_flags=(dims, flags.data))
        ds = schema.annotate(ds, "labels")
        ds.attrs["label_corrections"] = int((codes > -2).sum())
        return ds

    def _warn(self, granule: str, beams: list[str], middle: NDArray[np.float64]) -> None:
        """Log what a person who wrote the file would want to hear of it."""
        mine = {f"{granule}/{b}" for b in beams}
        own = Corrections(tuple(e for e in self.entries if e.track.rpartition("/")[0] == granule))
        lost = [
            e
            for e in own.entries
            if e.track not in mine or not ((middle >= e.x_atc_from) & (middle < e.x_atc_to)).any()
        ]
        if lost:
            reach = f"{middle.min():.0f} to {middle.max():.0f} m" if middle.size else "nowhere"
            log.warning(
                "corrections: %d of %d hold no segment, the first: %s; %s reaches %s with beams %s",
                len(lost),
                len(own.entries),
                lost[0],
                granule,
                reach,
                ", ".join(beams),
            )
        for overruled, holds in own.contradictions()[:1]:
            log.warning(
                "corrections: %d contradict each other and the later line holds, the first: %s over %s",
                len(own.contradictions()),
                holds,
                overruled,
            )


@dataclass(frozen=True)
class Agreement:
    """Agreement of two annotators over the segments that both labelled.

    Attributes
    ----------
    matrix : (4, 4) array of int
        Segments by label of the first (rows) and of the second (columns): thick ice, thin ice, open water, unlabelled.
    only_first, only_second : int
        Segments that one of them labelled alone.
    """

    matrix: NDArray[np.int64]
    only_first: int
    only_second: int

    @property
    def n(self) -> int:
        """Segments that both labelled."""
        return int(self.matrix.sum())

    @property
    def observed(self) -> float:
        """Share of them with the same label; NaN without any."""
        return float(np.trace(self.matrix) / self.n) if self.n else np.nan

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance; NaN without segments, or where both gave one label throughout."""
        if not self.n:
            return np.nan
        chance = float((self.matrix.sum(0) * self.matrix.sum(1)).sum()) / self.n**2
        return (self.observed - chance) / (1 - chance) if chance < 1 else np.nan


def agreement(first: Corrections, second: Corrections, *, length: float = schema.SEGMENT_LENGTH) -> Agreement:
    """Compare two annotators' files segment by segment.

    Parameters
    ----------
    first, second : Corrections
    length : float
        Length of a segment, m.

    References
    ----------
    Cohen (1960), A coefficient of agreement for nominal scales.
    """
    matrix, alone = np.zeros((4, 4), np.int64), [0, 0]
    tracks = sorted({e.track for e in (*first.entries, *second.entries)})
    for track in tracks:
        mine = [e for e in (*first.entries, *second.entries) if e.track == track]
        low, high = min(e.x_atc_from for e in mine), max(e.x_atc_to for e in mine)
        middle = (np.arange(np.floor(low / length), np.ceil(high / length)) + 0.5) * length
        granule, _, beam = track.rpartition("/")
        a, b = (c.codes(granule, beam, middle) for c in (first, second))
        both = (a > -2) & (b > -2)
        np.add.at(matrix, (a[both] % 4, b[both] % 4), 1)  # -1, unlabelled, is the last
        alone[0] += int(((a > -2) & (b == -2)).sum())
        alone[1] += int(((b > -2) & (a == -2)).sum())
    return Agreement(matrix, *alone)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise FileNotFoundError
        return read_text(path, error=SchemaError)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such corrections file; `is2ice labels correct {path} ...` makes one"
        ) from None


def _beam(segments: xr.Dataset) -> str:
    beam = segments.attrs.get("beam") or (segments["beam"].item() if "beam" in segments.coords else None)
    if beam is None:
        raise SchemaError("segments say nothing of their beam: expected attrs['beam']")
    return str(beam)


def _parse(row: list[str]) -> Correction:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"expected {len(_COLUMNS)} fields, got {len(row)} (quote a text that holds a comma)")
    track, start, end, label, who, why = (v.strip() for v in row)
    try:
        return Correction(track, float(start), float(end), label, who, why)
    except ValueError as error:
        raise ValueError(str(error)) from None


def review(segments: xr.Dataset, *, shortest: float = 20.0, bridge: float = 10.0) -> pd.DataFrame:
    """Stretches where label and predicted class disagree: where a person should look first.

    Parameters
    ----------
    segments : xarray.Dataset
        With ``label`` and ``surface_class``.
    shortest : float
        Shortest stretch reported, m.
    bridge : float
        Agreeing or unlabelled gaps up to this length do not part a stretch, m.

    Returns
    -------
    pandas.DataFrame
        ``track``, ``x_atc_from``, ``x_atc_to``, ``label`` and ``surface_class`` (the most common of each),
        ``segments`` that disagree, mean ``height``, ``latitude`` and ``longitude``; the longest first.

    Raises
    ------
    SchemaError
        A variable is missing.
    """
    import pandas as pd

    needed = ("label", "surface_class", "height", "latitude", "longitude")
    if missing := [n for n in needed if n not in segments]:
        raise SchemaError(f"review needs {', '.join(needed)}; missing {', '.join(missing)}")
    rows: list[dict[str, object]] = []
    if "beam" in segments.dims:
        tracks = [(str(b), segments.sel(beam=b)) for b in segments["beam"].values]
    else:
        tracks = [(_beam(segments), segments)]
    for beam, ds in tracks:
        rows += _stretches(ds, f"{ds.attrs.get('granule', 'track')}/{beam}", shortest, bridge)
    columns = ["track", "x_atc_from", "x_atc_to", "label", "surface_class", "segments", *needed[2:]]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("segments", ascending=False, ignore_index=True)


def _stretches(ds: xr.Dataset, track: str, shortest: float, bridge: float) -> list[dict[str, object]]:
    label, predicted = ds["label"].values, ds["surface_class"].values
    x, length = ds["x_atc"].values, schema.segment_length(ds)
    (wrong,) = np.nonzero((label >= 0) & (predicted >= 0) & (label != predicted))
    out: list[dict[str, object]] = []
    if not wrong.size:
        return out
    for run in np.split(wrong, np.flatnonzero(np.diff(x[wrong]) > bridge + length) + 1):
        if x[run[-1]] + length - x[run[0]] < shortest:
            continue
        row: dict[str, object] = {
            "track": track,
            "x_atc_from": x[run[0]],
            "x_atc_to": x[run[-1]] + length,
            "label": schema.CLASSES[np.bincount(label[run]).argmax()],
            "surface_class": schema.CLASSES[np.bincount(predicted[run]).argmax()],
            "segments": run.size,
        }
        for name in ("height", "latitude", "longitude"):
            values = ds[name].values[run]
            row[name] = float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan
        out.append(row)
    return out
