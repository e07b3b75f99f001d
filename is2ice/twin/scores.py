"""Scores of a result against the twin's truth: classes, sea surface, freeboard and their uncertainties.

Every segment with truth counts. A segment the result leaves unlabelled is a miss in recall and accuracy and
has a column of its own in the confusion matrix; one without sea surface or freeboard lowers the coverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science.metrics import Confusion, Errors

__all__ = ["BOUNDARY", "Confusion", "Errors", "Region", "Score", "score", "truth_for"]

#: Segments this near to a change of class lie within half a footprint of it, m.
BOUNDARY = 6.0
_FLAGS = {value: name for value, name in schema.H_REF_FLAGS.items() if value >= 0}
_N = len(schema.CLASSES)


@dataclass(frozen=True)
class Region:
    """Scores of one set of segments: all, interior (away from class edges) or boundary.

    ``point`` and ``footprint`` compare classes with the truth at the segment's centre and with the class that
    fills most of the 11 m footprint; None where the result holds no classes. ``h_ref_by_flag`` and
    ``freeboard_by_flag`` are keyed by the names of ``h_ref_flag``.
    """

    point: Confusion | None = None
    footprint: Confusion | None = None
    h_ref: Errors | None = None
    freeboard: Errors | None = None
    h_ref_by_flag: Mapping[str, Errors] = field(default_factory=dict)
    freeboard_by_flag: Mapping[str, Errors] = field(default_factory=dict)

    def __add__(self, other: Region) -> Region:
        return Region(
            _plus(self.point, other.point),
            _plus(self.footprint, other.footprint),
            _plus(self.h_ref, other.h_ref),
            _plus(self.freeboard, other.freeboard),
            _merge(self.h_ref_by_flag, other.h_ref_by_flag),
            _merge(self.freeboard_by_flag, other.freeboard_by_flag),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers; what the result lacks is None."""
        out: dict[str, Any] = {
            name: None if (part := getattr(self, name)) is None else part.to_dict()
            for name in ("point", "footprint", "h_ref", "freeboard")
        }
        for name in ("h_ref_by_flag", "freeboard_by_flag"):
            out[name] = {flag: part.to_dict() for flag, part in getattr(self, name).items()}
        return out


@dataclass(frozen=True)
class Score:
    """Result of :func:`score`.

    Attributes
    ----------
    n : int
        Segments with truth.
    outside : int
        Segments of the result where no truth is known; they are not scored.
    boundary_m : float
        Distance to an edge up to which a segment is a boundary segment, m.
    all, interior, boundary : Region
    beams : dict of str to Score
        The same for each beam.
    """

    n: int
    outside: int
    boundary_m: float
    all: Region
    interior: Region
    boundary: Region
    beams: Mapping[str, Score] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and dictionaries (JSON holds it; NaN is None)."""
        return {
            "n": self.n,
            "outside": self.outside,
            "boundary_m": self.boundary_m,
            **{name: getattr(self, name).to_dict() for name in ("all", "interior", "boundary")},
            "beams": {beam: part.to_dict() for beam, part in self.beams.items()},
        }

    def table(self) -> str:
        """Return the scores as text for a terminal."""
        return "\n".join(_lines(self))


def score(
    result: xr.Dataset,
    truth: str | Path | xr.Dataset | Mapping[str, xr.Dataset],
    *,
    boundary: float = BOUNDARY,
) -> Score:
    """Score classes, sea surface and freeboard against the truth of the twin.

    Parameters
    ----------
    result : xarray.Dataset
        Segments, dims (beam, x_atc) or (x_atc,), with any of ``surface_class``, ``h_ref``, ``freeboard`` and
        their uncertainties and ``h_ref_flag``.
    truth : path, Dataset or mapping
        The truth file of :func:`is2ice.twin.make_granule`, the truth of one beam, or of each by name.
    boundary : float
        Segments at most this far along the track from a change of class are scored apart, m.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        Nothing to score, a beam without truth, or truth of another granule.
    """
    if not {"surface_class", "h_ref", "freeboard"} & set(result.data_vars):
        raise ValueError(
            "score: the result holds none of surface_class, h_ref, freeboard; classify it or estimate its "
            f"sea surface first (variables: {', '.join(map(str, result.data_vars)) or 'none'})"
        )
    beams = {
        name: _score_track(track, _aligned(track, theirs), boundary)
        for name, track, theirs in _tracks(result, truth)
    }
    parts = list(beams.values())
    if len(parts) == 1 and "beam" not in result.dims:
        return parts[0]
    return Score(
        n=sum(p.n for p in parts),
        outside=sum(p.outside for p in parts),
        boundary_m=boundary,
        all=reduce(add, (p.all for p in parts)),
        interior=reduce(add, (p.interior for p in parts)),
        boundary=reduce(add, (p.boundary for p in parts)),
        beams=beams,
    )


def truth_for(result: xr.Dataset, truth: str | Path | xr.Dataset | Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Truth on the grid of a result, for pictures and tests.

    Parameters
    ----------
    result : xarray.Dataset
        Segments, dims (beam, x_atc) or (x_atc,).
    truth : path, Dataset or mapping
        As for :func:`score`.

    Returns
    -------
    xarray.Dataset
        Dims and coordinates of the result: ``surface_class_truth`` (at the centre), ``footprint_class_truth`` (-1
        where unknown), ``height_truth`` (above the mean sea surface), ``h_ref_truth``, ``freeboard_truth`` (means over
        the footprint, m), ``edge_distance`` (m).

    Raises
    ------
    ValueError
        A beam without truth, or truth of another granule.
    """
    tracks = [_aligned(track, theirs) for _, track, theirs in _tracks(result, truth)]
    out = xr.concat(tracks, "beam") if "beam" in result.dims else tracks[0]
    return out.assign_coords({str(n): c for n, c in result.coords.items() if set(c.dims) <= set(out.dims)})


# ---- alignment ----


def _tracks(
    result: xr.Dataset, truth: str | Path | xr.Dataset | Mapping[str, xr.Dataset]
) -> Iterator[tuple[str, xr.Dataset, xr.Dataset]]:
    """Each beam of a result with its truth."""
    tables = _by_beam(truth)
    names = [str(b) for b in result["beam"].values] if "beam" in result.dims else None
    for k, wanted in enumerate(names or [str(result.attrs.get("beam", ""))]):
        track = result.isel(beam=k) if names else result
        beam = wanted if wanted in tables or wanted or len(tables) > 1 else next(iter(tables))
        if beam not in tables:
            raise ValueError(f"score: no truth for beam {beam or '(unnamed)'}; there is {', '.join(tables)}")
        theirs = tables[beam]
        made, known = str(result.attrs.get("granule", "")), str(theirs.attrs.get("granule", ""))
        if made and known and made != known:
            raise ValueError(f"score: the result is of granule {made}, the truth of {known}")
        yield beam, track, theirs


def _by_beam(truth: str | Path | xr.Dataset | Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    if isinstance(truth, str | Path):
        from .truth import open_truth

        return cast(dict[str, xr.Dataset], open_truth(truth))
    if isinstance(truth, xr.Dataset):
        return {str(truth.attrs.get("beam", "")): truth}
    return dict(truth)


def _aligned(track: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Truth at the centre of each segment of one track."""
    length = schema.segment_length(track)
    x, cell = track["x_atc"].values, truth["x_atc"].values
    k = np.searchsorted(cell, x + 0.5 * length, side="right") - 1
    known = (k >= 0) & (x + 0.5 * length < cell[-1] + schema.SEGMENT_LENGTH)
    k = np.where(known, k, 0)

    def pick(name: str, missing: float) -> NDArray:
        values = truth[name].values[k]
        return np.where(known, values, np.array(missing, values.dtype))

    nan = float("nan")
    h_ref, freeboard = pick("h_ref", nan), pick("freeboard", nan)
    data = {
        "surface_class_truth": (pick("point_class", -1), "1", "surface class at the centre"),
        "footprint_class_truth": (pick("footprint_class", -1), "1", "surface class of most of the footprint"),
        "height_truth": (
            h_ref + pick("footprint_height", nan),
            "m",
            "surface height above the mean sea surface",
        ),
        "h_ref_truth": (h_ref, "m", "local sea surface height above the mean sea surface"),
        "freeboard_truth": (freeboard, "m", "total freeboard"),
        "edge_distance": (pick("edge_distance", nan), "m", "distance along the track to a change of class"),
    }
    return xr.Dataset(
        {n: ("x_atc", v, {"units": u, "long_name": text}) for n, (v, u, text) in data.items()},
        {"x_atc": track["x_atc"]},
    )


# ---- scoring ----


def _score_track(track: xr.Dataset, truth: xr.Dataset, boundary: float) -> Score:
    known = truth["surface_class_truth"].values >= 0
    values: dict[str, NDArray] = {
        name: np.asarray(track[name].values)[known]
        for name in (
            "surface_class",
            "h_ref",
            "h_ref_uncertainty",
            "h_ref_flag",
            "freeboard",
            "freeboard_uncertainty",
        )
        if name in track
    }
    there = {str(n): truth[n].values[known] for n in truth.data_vars}
    edge = there["edge_distance"] <= boundary
    return Score(
        n=int(known.sum()),
        outside=int((~known).sum()),
        boundary_m=boundary,
        all=_region(values, there, np.ones(edge.shape, bool)),
        interior=_region(values, there, ~edge),
        boundary=_region(values, there, edge),
    )


def _region(values: dict[str, NDArray], truth: dict[str, NDArray], where: NDArray[np.bool_]) -> Region:
    parts: dict[str, Any] = {}
    if "surface_class" in values:
        predicted = values["surface_class"][where]
        parts["point"] = Confusion.of(truth["surface_class_truth"][where], predicted)
        parts["footprint"] = Confusion.of(truth["footprint_class_truth"][where], predicted)
    for name in ("h_ref", "freeboard"):
        if name not in values:
            continue
        error = values[name][where] - truth[f"{name}_truth"][where]
        sigma = values.get(f"{name}_uncertainty")
        sigma = None if sigma is None else sigma[where]
        parts[name] = Errors.of(error, sigma)
        if "h_ref_flag" in values:
            flag = values["h_ref_flag"][where]
            parts[f"{name}_by_flag"] = {
                text: Errors.of(error[flag == code], None if sigma is None else sigma[flag == code])
                for code, text in _FLAGS.items()
                if (flag == code).any()
            }
    return Region(**parts)


def _plus(a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else a + b


def _merge(a: Mapping[str, Errors], b: Mapping[str, Errors]) -> dict[str, Errors]:
    return {name: _plus(a.get(name), b.get(name)) for name in _FLAGS.values() if name in a or name in b}


# ---- text ----


def _lines(s: Score) -> Iterator[str]:
    yield f"{s.n:,} segments with truth, {s.outside:,} without"
    near = f"boundary (<= {s.boundary_m:g} m)"
    regions = {"all": s.all, "interior": s.interior, near: s.boundary}
    if s.all.point is not None and s.all.footprint is not None:
        yield from _matrix(s.all.point)
        yield ""
        short = [name.replace("_", " ") for name in schema.CLASSES]
        yield f"{'classes':34}{'segments':>10}{'labelled':>10}{'accuracy':>10}{'macro-F1':>10}" + "".join(
            f"{name:>20}" for name in short
        )
        yield f"{'':74}" + f"{'precision recall F1':>20}" * _N
        for name, region in regions.items():
            for kind in ("point", "footprint"):
                c: Confusion = getattr(region, kind)
                row = f"{name + ', ' + kind:34}{c.n:>10,}{c.coverage:>10.3f}{c.accuracy:>10.4f}{c.macro_f1:>10.4f}"
                yield row + "".join(
                    f"{c.precision[k]:>8.3f}{c.recall[k]:>6.3f}{c.f1[k]:>6.3f}" for k in range(_N)
                )
    for quantity in ("h_ref", "freeboard"):
        if getattr(s.all, quantity) is None:
            continue
        yield ""
        yield f"{quantity:34}{'segments':>10}{'coverage':>10}{'bias cm':>10}{'RMSE cm':>10}{'z mean':>10}{'z rms':>10}"
        for name, region in regions.items():
            yield _error_row(name, getattr(region, quantity))
        for flag, part in getattr(s.all, f"{quantity}_by_flag").items():
            yield _error_row(f"flag {flag}", part)
        for beam, one in s.beams.items():
            yield _error_row(beam, getattr(one.all, quantity))


def _matrix(c: Confusion) -> Iterator[str]:
    columns = [*schema.CLASSES, "unlabelled"]
    yield ""
    yield f"{'true class (centre) / predicted':34}" + "".join(f"{name:>12}" for name in columns)
    for k, name in enumerate(schema.CLASSES):
        yield f"{name:34}" + "".join(f"{int(v):>12,}" for v in c.matrix[k])


def _error_row(name: str, e: Errors) -> str:
    return (
        f"{name:34}{e.n:>10,}{e.coverage:>10.3f}{100 * e.bias:>10.2f}{100 * e.rmse:>10.2f}"
        f"{e.z_bias:>10.2f}{e.z_spread:>10.2f}"
    )
